"""The small interval plots inside of a table: one a row, on the axis that the rows of a part share."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from reports.rendering.content.differences import DifferencePart, DifferenceRow
from reports.rendering.content.display import MINUS, plain
from reports.rendering.pictures.drawing.elements import Element, Text, line, plot_markup
from reports.rendering.pictures.drawing.lettering import SMALL
from reports.rendering.pictures.drawing.marks import Estimate, estimate, estimate_marks
from reports.rendering.pictures.drawing.scales import Scale, tick_texts

WIDTH, HEIGHT = 400.0, 34.0
"""Size of a plot in the units of its viewBox."""
_EDGE = 4.0
_MOST_TYPICAL = 10.0
"""What reaches further from zero than this many times the median row is clipped, so that others can be read."""
_LONGEST_UNIT = 4
"""Most characters of a unit that is repeated at each tick; a longer one stands in the title of the part."""
_OUTERMOST_TICK = 0.8
"""Largest tick as a share of the bound, so that its label stays within the plot."""
_WORDS = {True: ("worse", "better"), False: ("worse", "better"), None: ("lower", "higher")}
"""higher_is_better -> what the left and the right end of an axis are called: what is better is always at the right."""


@dataclass(frozen=True, slots=True)
class PlotAxis:
    """The axis of a part: from -bound to bound in displayed units, so that zero is in one place in all parts.

    Where less is better it runs from right to left, so that every gain lies to the right of zero.
    """

    bound: float
    unit: str
    higher_is_better: bool | None

    @property
    def tick(self) -> float:
        """The round number that is marked on both sides of zero."""
        power = 10.0 ** math.floor(math.log10(self.bound))
        steps = (8.0, 5.0, 3.0, 2.0, 1.5, 1.0, 0.8, 0.5)
        return next(power * step for step in steps if power * step <= _OUTERMOST_TICK * self.bound)

    @property
    def words(self) -> tuple[str, str]:
        """What the left and the right end are called."""
        return _WORDS[self.higher_is_better]

    def scale(self, start: float, end: float) -> Scale:
        """Return the axis between two pixels."""
        left, right = (end, start) if self.higher_is_better is False else (start, end)
        return Scale(-self.bound, self.bound, left, right)

    def tick_labels(self, scale: Scale) -> tuple[tuple[float, str], ...]:
        """Return the pixel and the text of each tick."""
        _, text = tick_texts((0.0, self.tick), sign=True)
        unit = f" {plain(self.unit)}" if len(self.unit) <= _LONGEST_UNIT else ""
        low, high = scale.place(-self.tick), scale.place(self.tick)
        return (low, f"{text.replace('+', MINUS)}{unit}"), (scale.place(0), "0"), (high, f"{text}{unit}")


def shared_axis(estimates: Iterable[Estimate], unit: str, higher_is_better: bool | None) -> PlotAxis:
    """Return an axis that holds the differences and intervals, but for those far longer than the others."""
    reach = [max(map(abs, each.ends)) for each in estimates if each.ends]
    moved = [each for each in reach if each > 0]
    limit = _MOST_TYPICAL * median(moved) if moved else math.inf
    bound = 1.12 * max((each for each in moved if each <= limit), default=1.0)
    return PlotAxis(bound if math.isfinite(bound) and bound > 0 else 1.0, unit, higher_is_better)


def part_axis(part: DifferencePart) -> PlotAxis:
    """Return the axis that all rows of a part share."""
    estimates = [estimate(row.comparison, row.cells) for row in part.rows]
    return shared_axis(estimates, part.unit, part.higher_is_better)


def row_plot(row: DifferenceRow, axis: PlotAxis) -> str:
    """Return a row's interval as an `<svg>` of 400 x 34, with the numbers in words for screen readers."""
    scale = axis.scale(_EDGE, WIDTH - _EDGE)
    zero = scale.place(0)
    elements: tuple[Element, ...] = (
        line((zero, 0), (zero, HEIGHT), "soft"),
        *estimate_marks(estimate(row.comparison, row.cells), scale, HEIGHT / 2),
    )
    interval = f", 95 % interval {row.cells.interval}" if row.cells.low is not None else ""
    return plot_markup(WIDTH, HEIGHT, f"difference {row.cells.difference}{interval}: {row.outcome}", elements)


def axis_plot(axis: PlotAxis) -> str:
    """Return the head of a part's plots as an `<svg>` of 400 x 34: ticks, and which end is better."""
    scale = axis.scale(_EDGE, WIDTH - _EDGE)
    return plot_markup(WIDTH, HEIGHT, "", axis_elements(axis, scale, 12.0))


def axis_elements(axis: PlotAxis, scale: Scale, top: float) -> tuple[Text, ...]:
    """Return the words at the ends of an axis on a line, and its ticks on the next."""
    left, right = axis.words
    return (
        Text(min(scale.start, scale.end), top, left, "soft", SMALL),
        Text(max(scale.start, scale.end), top, right, "soft", SMALL, "end"),
        *(Text(x, top + 16, words, "soft", SMALL, "middle") for x, words in axis.tick_labels(scale)),
    )
