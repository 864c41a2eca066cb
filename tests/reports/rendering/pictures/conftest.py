"""What the tests of pictures share: reading an SVG back, the space its texts take, and tables to draw."""

from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from reports.comparing.compare import compare
from reports.rendering.content.differences import (
    DifferencePart,
    DifferenceRow,
    DifferenceTable,
    Matrix,
    MatrixCell,
    MatrixRow,
)
from reports.rendering.content.display import cells
from reports.rendering.pictures.drawing.elements import Box, Text

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>hacked = 1</script> & \"quoted\" 'x' ]]> \x00\x1b\ud800 \u202e $x^2$ {0} %s"
RIGHT_TO_LEFT = "\u0645\u062a\u063a\u064a\u0631 \u0645\u0639\u062f\u0644 \u0627\u0644\u062a\u0639\u0644\u0645 " * 4
CHINESE = "\u4f7f\u7528\u504f\u597d\u6570\u636e\u8bad\u7ec3\u7684\u9002\u914d\u5668" * 5
LONG = "control: supervised fine-tuning on the chosen answers alone, learning_rate=1e-5, beta=0.1"


def drawn_texts(svg):
    """The texts of a picture as they are in its markup, with the estimate of the space of each."""
    return [
        Text(
            float(each.get("x")),
            float(each.get("y")),
            each.text or "",
            each.get("class"),
            float(each.get("font-size")),
            each.get("text-anchor", "start"),
            int(each.get("font-weight", "400")),
        )
        for each in ET.fromstring(svg).iter(f"{SVG}text")
    ]


def view(svg):
    """The space of a picture."""
    return Box(*map(float, ET.fromstring(svg).get("viewBox").split()))


def check_geometry(svg):
    """No two texts overlap, and nothing leaves the picture."""
    texts = [each for each in drawn_texts(svg) if each.words]
    inside = view(svg)
    for place, text in enumerate(texts):
        assert inside.holds(text.box), (text, inside)
        for other in texts[place + 1 :]:
            assert not text.box.overlaps(other.box), (text, other)
    for name in ("x1", "x2", "cx"):
        for each in ET.fromstring(svg).iter():
            if each.get(name) is not None:
                assert inside.left <= float(each.get(name)) <= inside.right
    for name in ("y1", "y2", "cy"):
        for each in ET.fromstring(svg).iter():
            if each.get(name) is not None:
                assert inside.top <= float(each.get(name)) <= inside.bottom


def check_lines_of_zero(svg):
    """No text lies on an upright line, so that the line of zero can be seen."""
    upright = [each for each in ET.fromstring(svg).iter(f"{SVG}line") if each.get("x1") == each.get("x2")]
    assert upright
    for each in upright:
        x, (top, bottom) = float(each.get("x1")), sorted((float(each.get("y1")), float(each.get("y2"))))
        for text in drawn_texts(svg):
            assert not text.box.overlaps(Box(x, top, x, bottom)), (text, x)


def difference_table(rows, names=None, title="What it was trained for"):
    """A table of comparisons, in a part for each unit."""
    parts = {}
    for place, row in enumerate(rows):
        shown = cells(row)
        name = names[place] if names else f"{row.metric.evaluation}, {row.metric.name}"
        difference = DifferenceRow(row, name, f"{row.n} rows", shown, row.outcome)
        parts.setdefault((shown.unit, row.metric.higher_is_better), []).append(difference)
    return DifferenceTable(
        rows[0].candidate if rows else "dpo",
        "base",
        tuple(DifferencePart(title, *part, tuple(of_part)) for part, of_part in parts.items()),
    )


def matrix(run, chosen=0):
    """A matrix of a run's primary metrics with a row a candidate."""
    comparisons = [row for row in compare(run) if row.primary]
    metrics = list(dict.fromkeys(row.metric for row in comparisons))
    found = {(row.candidate, row.metric): row for row in comparisons}
    rows = []
    for place, subject in enumerate(run.candidates):
        of_subject = [found.get((subject.name, metric)) for metric in metrics]
        matrix_cells = tuple(
            MatrixCell(row, cells(row).difference if row else "", row.outcome if row else "not measured")
            for row in of_subject
        )
        rows.append(MatrixRow(subject.name, 1, place == chosen, subject.is_control, matrix_cells))
    names = tuple(f"{metric.evaluation}, {metric.name}" for metric in metrics)
    return Matrix(names, "base", ("",) * len(metrics), tuple(rows))


def renamed(run, names):
    """The run with other names of its candidates, in their order."""
    of_name = dict(zip([each.name for each in run.candidates], names, strict=True))
    return replace(
        run,
        subjects=tuple(replace(each, name=of_name.get(each.name, each.name)) for each in run.subjects),
        measurements=tuple(replace(m, subject=of_name.get(m.subject, m.subject)) for m in run.measurements),
    )


@pytest.fixture(scope="session")
def pictures():
    """What this file defines, by name."""
    return SimpleNamespace(**globals())
