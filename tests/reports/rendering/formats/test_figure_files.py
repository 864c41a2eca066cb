"""Pictures as files: data that can be read back, PDF where it can be made, and one line where it cannot."""

import csv
import io
import sys

import pytest

from reports.rendering.formats.figure_files import NoPdfError, picture_csv, picture_pdf
from reports.rendering.pictures.drawing.elements import Text, picture_markup
from reports.rendering.pictures.picture import Picture

HOSTILE = "</text> & \"quoted\",\n'x' \x00 \ud800 \u4e2d"


def _picture(words="words"):
    svg = picture_markup(200, 100, words, words, [Text(10, 50, words)])
    return Picture("differences", words, svg, "", ("name", "value"), ((words, 0.1), ("none", None)))


def test_data_can_be_read_back():
    """In full precision; what is missing is empty, and a comma or a line break in a name is quoted."""
    text = picture_csv(_picture('a, "b"\nc'))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["name", "value"], ['a, "b"\nc', "0.1"], ["none", ""]]


@pytest.mark.parametrize("words", ["words", HOSTILE])
def test_a_picture_becomes_a_pdf_of_its_size(words):
    """One page of 200 x 100 pixels, which are 150 x 75 points."""
    pytest.importorskip("cairosvg")
    pdf = picture_pdf(_picture(words))
    assert pdf.startswith(b"%PDF-")
    assert b"/MediaBox [ 0 0 150 75 ]" in pdf
    assert b"/Count 1" in pdf


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    """No traceback, and what works without it."""
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(
        NoPdfError, match=r"^--figures pdf: .*pip install 'dpo-harness\[figures\]', or take --figures svg$"
    ):
        picture_pdf(_picture())


def test_without_the_library_one_line_says_what_to_install(monkeypatch, tmp_path):
    """The package is there, and what it draws with is not."""
    (tmp_path / "cairosvg.py").write_text("raise OSError('no library called cairo was found')")
    monkeypatch.delitem(sys.modules, "cairosvg", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NoPdfError, match="apt install libcairo2"):
        picture_pdf(_picture())
