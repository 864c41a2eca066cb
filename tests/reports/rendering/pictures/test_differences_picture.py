"""The forest plot: every difference, nothing on top of anything, whatever the names and numbers are."""

import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from reports.comparing.compare import compare
from reports.rendering.content.differences import DifferenceTable
from reports.rendering.content.display import cells
from reports.rendering.pictures.differences import MOST_CANDIDATES, differences_picture


@pytest.fixture(scope="module")
def rows(fakes):
    """The primary rows of a realistic candidate."""
    return [row for row in compare(fakes.realistic_run()) if row.primary and row.difference is not None]


def _words(picture, pictures):
    return [each.words for each in pictures.drawn_texts(picture.svg)]


def _check(picture, pictures):
    pictures.check_geometry(picture.svg)
    pictures.check_lines_of_zero(picture.svg)


def test_every_difference_stands_with_its_name_and_numbers(rows, pictures):
    """Names at the left, numbers of the table at the right, nothing overlapping."""
    picture = differences_picture(pictures.difference_table(rows))
    words = _words(picture, pictures)
    for row in rows:
        shown = cells(row)
        assert {f"{row.metric.evaluation}, {row.metric.name}", shown.difference, shown.interval} <= set(words)
    _check(picture, pictures)
    assert picture.name == "differences"


def test_the_data_are_those_of_the_rows(rows, pictures):
    """In full precision, a line a difference."""
    picture = differences_picture(pictures.difference_table(rows))
    assert len(picture.rows) == len(rows)
    of_metric = {line[picture.header.index("metric")]: line for line in picture.rows}
    for row in rows:
        line = dict(zip(picture.header, of_metric[f"{row.metric.evaluation}, {row.metric.name}"], strict=True))
        assert line["difference"] == cells(row).difference_number
        assert (line["low"], line["high"], line["outcome"]) == (cells(row).low, cells(row).high, row.outcome)


def test_several_candidates_stand_below_each_metric(fakes, pictures):
    """A line a candidate, with the interval beside its difference, and the chosen one marked."""
    picture = differences_picture(pictures.matrix(fakes.realistic_run(("one", "two", "three"))))
    words = _words(picture, pictures)
    assert words.count("two") == 4
    assert words.count("one \u2605") == 4
    _check(picture, pictures)


def test_of_many_candidates_the_first_is_shown(fakes, pictures):
    """More rows than can be read are not drawn, and the note says whose are."""
    names = tuple(f"candidate {place}" for place in range(MOST_CANDIDATES + 1))
    matrix = pictures.matrix(fakes.realistic_run(names))
    picture = differences_picture(matrix)
    assert f"Of {len(names)} candidates only candidate 0 is shown." in picture.note
    assert {row[2] for row in picture.rows} == {"candidate 0"}
    fewer = replace(matrix, rows=matrix.rows[:-1])
    assert "only" not in differences_picture(fewer).note
    _check(differences_picture(fewer), pictures)


@pytest.mark.parametrize("name", ["HOSTILE", "RIGHT_TO_LEFT", "CHINESE", "LONG"])
def test_any_name_stays_text_and_in_its_place(fakes, rows, pictures, name):
    """Markup, letters of other scripts and names of several lines, of metrics and candidates alike."""
    name = getattr(pictures, name)
    table = pictures.difference_table(rows, [f"{place} {name}" for place in range(len(rows))], title=name)
    several = pictures.matrix(pictures.renamed(fakes.realistic_run(("a", "b")), [f"{name} a", f"{name} b"]))
    for picture in (differences_picture(table), differences_picture(several)):
        ET.fromstring(picture.svg)
        assert "<script" not in picture.svg
        _check(picture, pictures)


def test_names_that_differ_at_their_end_stay_apart(fakes, pictures):
    """They are cut in the middle."""
    names = [f"{pictures.LONG} {pictures.LONG} {end}" for end in ("one", "two")]
    words = _words(
        differences_picture(pictures.matrix(pictures.renamed(fakes.realistic_run(("a", "b")), names))), pictures
    )
    assert any(word.endswith("two") for word in words)
    assert any("one" in word for word in words)


@pytest.mark.parametrize(
    ("difference", "interval"),
    [
        (0.0, (0.0, 0.0)),
        (800.0, (790.0, 810.0)),
        (math.inf, (0.5, math.inf)),
        (-0.3, (-math.inf, math.inf)),
        (1e-9, (-1e-9, 3e-9)),
        (12.3456, (-1234.5678, 12345.678)),
    ],
)
def test_numbers_of_any_size_keep_their_place(rows, pictures, difference, interval):
    """Zero, infinite, and numbers so long that they need a column of their own."""
    odd = [replace(row, difference=difference, interval=interval) for row in rows]
    _check(differences_picture(pictures.difference_table([*odd, rows[-1]])), pictures)


def test_without_differences_there_is_no_picture(rows, pictures):
    """No parts, and a row without a number."""
    assert differences_picture(DifferenceTable("dpo", "base", ())) is None
    assert differences_picture(pictures.difference_table([replace(rows[0], difference=None)])) is None


def test_one_row_is_a_picture(rows, pictures):
    """With its axis and its legend."""
    picture = differences_picture(pictures.difference_table(rows[:1]))
    assert "no change seen" in _words(picture, pictures) or rows[0].outcome in _words(picture, pictures)
    _check(picture, pictures)


def test_the_same_rows_give_the_same_bytes(rows, pictures):
    """No ids, no dates, no order of a set."""
    table = pictures.difference_table(rows)
    assert differences_picture(table) == differences_picture(table)
