"""The small plots inside of a table: to scale, in the colour and shape of the outcome, with the axis of their part."""

import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from reports.comparing.compare import compare
from reports.rendering.content.display import cells
from reports.rendering.pictures.drawing.palette import LIGHT
from reports.rendering.pictures.row_plots import PlotAxis, axis_plot, part_axis, row_plot


@pytest.fixture(scope="module")
def rows(fakes, pictures):
    """The rows of a realistic candidate, and those of its first part."""
    compared = [row for row in compare(fakes.realistic_run()) if row.primary and row.difference is not None]
    return pictures.difference_table(compared).parts


def _plot_of(row, pictures, **changes):
    (part,) = pictures.difference_table([replace(row, **changes)]).parts
    return row_plot(part.rows[0], part_axis(part))


def test_a_row_is_drawn_to_scale(rows, pictures):
    """Both ends of the interval lie where the axis says they do."""
    part = rows[0]
    axis = part_axis(part)
    for row in part.rows:
        root = ET.fromstring(row_plot(row, axis))
        assert root.get("viewBox") == "0 0 400 34"
        interval = next(each for each in root.iter(f"{pictures.SVG}line") if each.get("y1") == each.get("y2"))
        for name, end in (("x1", row.cells.low), ("x2", row.cells.high)):
            assert float(interval.get(name)) == pytest.approx(200 + 196 * end / axis.bound, abs=0.01)


def test_zero_stands_in_one_place_in_all_parts(rows, pictures):
    """So that a table of parts has one line of zero from top to bottom."""
    for part in rows:
        for row in part.rows:
            root = ET.fromstring(row_plot(row, part_axis(part)))
            upright = [each for each in root.iter(f"{pictures.SVG}line") if each.get("x1") == each.get("x2")]
            assert [each.get("x1") for each in upright] == ["200"]


def test_only_a_claim_has_a_colour(fakes, pictures):
    """A better row outside of any family is grey; the same row as a claim is in the colour of better."""
    row = next(row for row in compare(fakes.realistic_run()) if row.metric == fakes.ACCURACY and row.primary)
    assert (row.outcome, row.is_claim) == ("better", True)
    assert 'class="better"' in _plot_of(row, pictures)
    hint = _plot_of(row, pictures, p_adjusted=None)
    assert 'class="better"' not in hint
    assert 'class="none"' in hint


def test_outcomes_are_told_apart_by_shape(fakes, pictures):
    """Five outcomes, five shapes, with all colours taken away."""
    row = next(row for row in compare(fakes.realistic_run()) if row.metric == fakes.ACCURACY and row.primary)
    kinds = {
        "better": {"interval": (0.1, 0.3)},
        "worse": {"interval": (-0.3, -0.1), "difference": -0.2},
        "higher": {"interval": (0.1, 0.3), "metric": replace(row.metric, higher_is_better=None)},
        "no change seen": {"interval": (-0.1, 0.3)},
        "cannot tell": {"interval": None, "is_identical": False},
    }
    shapes = {}
    for outcome, changes in kinds.items():
        svg = _plot_of(row, pictures, difference=changes.pop("difference", 0.2), **changes)
        assert f": {outcome}</title>" in svg
        marks = [each for each in ET.fromstring(svg) if each.tag != f"{pictures.SVG}line" and not each.text]
        shapes[outcome] = tuple(
            (each.tag, each.get("d"), each.get("r"), each.get("stroke-dasharray")) for each in marks
        )
    assert len(set(shapes.values())) == len(kinds)


def test_an_interval_that_leaves_the_axis_ends_in_an_arrow(fakes, pictures):
    """A row a hundred times longer than the others is clipped, and the others stay readable."""
    row = next(row for row in compare(fakes.realistic_run()) if row.metric == fakes.ACCURACY and row.primary)
    others = [replace(row, difference=0.01, interval=(-0.01, 0.03)) for _ in range(4)]
    (part,) = pictures.difference_table([*others, replace(row, difference=0.5, interval=(-0.2, 1.0))]).parts
    axis = part_axis(part)
    assert axis.bound == pytest.approx(1.12 * 3)
    svg = row_plot(part.rows[-1], axis)
    interval = next(each for each in ET.fromstring(svg).iter(f"{pictures.SVG}line") if each.get("y1") == each.get("y2"))
    assert (interval.get("x1"), interval.get("x2")) == ("4", "396")
    assert svg.count("<path") == 2 + 1  # arrows of the interval and of the difference


@pytest.mark.parametrize("end", [math.inf, math.nan])
def test_ends_that_are_not_finite_leave_a_plot(fakes, pictures, end):
    """An infinite end is an arrow; what is no number is not drawn."""
    row = next(row for row in compare(fakes.realistic_run()) if row.metric == fakes.ACCURACY and row.primary)
    for changes in ({"interval": (0.1, end)}, {"difference": end}, {"interval": (-end, end), "difference": None}):
        svg = _plot_of(row, pictures, **changes)
        ET.fromstring(svg)
        assert "nan" not in svg.partition("</title>")[2]
        assert "inf" not in svg.partition("</title>")[2]


def test_a_screen_reader_is_told_the_numbers(rows):
    """Difference, interval and outcome stand in the title as the table shows them."""
    row = rows[0].rows[0]
    svg = row_plot(row, part_axis(rows[0]))
    assert f"<title>difference {row.cells.difference}, 95 % interval {row.cells.interval}: {row.outcome}</title>" in svg


@pytest.mark.parametrize(
    ("higher_is_better", "left", "right"),
    [(True, "worse", "better"), (False, "worse", "better"), (None, "lower", "higher")],
)
def test_an_axis_says_which_end_is_better(pictures, higher_is_better, left, right):
    """It is the right one, also of a perplexity, whose numbers run the other way."""
    svg = axis_plot(PlotAxis(3.1, "%", higher_is_better))
    words = [each.words for each in pictures.drawn_texts(svg)]
    assert words == [left, right, "\u22122 %", "0", "+2 %"]
    low, high = (next(each.x for each in pictures.drawn_texts(svg) if sign in each.words) for sign in "\u2212+")
    assert (low < high) == (higher_is_better is not False)
    pictures.check_geometry(svg)


@pytest.mark.parametrize("exponent", range(-12, 12))
def test_axes_of_all_sizes_have_round_ticks_inside(pictures, exponent):
    """From millionths to billions, with a unit or one too long to repeat."""
    for digits in (1.0, 1.3, 2.7, 4.9, 9.99):
        for unit in ("pp", "nats per token"):
            axis = PlotAxis(digits * 10.0**exponent, unit, higher_is_better=True)
            assert 0.3 * axis.bound <= axis.tick <= 0.8 * axis.bound
            pictures.check_geometry(axis_plot(axis))


def test_an_axis_of_no_change_at_all_is_drawn(fakes, pictures):
    """Where every difference is 0 and has no interval, zero stands in the middle of something."""
    row = next(row for row in compare(fakes.realistic_run()) if row.metric == fakes.ACCURACY and row.primary)
    (part,) = pictures.difference_table([replace(row, difference=0.0, interval=None, is_identical=True)]).parts
    assert part_axis(part).bound > 0
    assert "no change seen" in row_plot(part.rows[0], part_axis(part))


def test_plots_hold_real_colours_and_their_names(rows):
    """Every coloured attribute is a colour of the palette under its own class."""
    root = ET.fromstring(row_plot(rows[0].rows[0], part_axis(rows[0])))
    coloured = [each for each in root if each.get("class")]
    assert coloured
    for each in coloured:
        used = {each.get("fill"), each.get("stroke")} - {None, "none"}
        assert used == {LIGHT[each.get("class")]}


def test_cells_are_those_of_the_table(rows):
    """The plot has no arithmetic of its own: its numbers are the cells of the comparison."""
    for part in rows:
        for row in part.rows:
            assert row.cells == cells(row.comparison)
