"""Marks of outcomes and intervals: told apart by shape first, and by colour where something is claimed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reports.comparing.compare import Comparison, Outcome
from reports.rendering.content.display import Cells
from reports.rendering.pictures.drawing.elements import (
    Box,
    Element,
    Point,
    Shape,
    Text,
    disc,
    line,
    outline,
    polygon,
    ring,
)
from reports.rendering.pictures.drawing.lettering import SMALL, text_width
from reports.rendering.pictures.drawing.scales import Scale

_MARK = 5.5
"""Half the size of a mark in pixels."""
_ARROW = 7.0
"""Length of the arrow at the end of an interval that goes on beyond the axis."""
_DASH = "2.2 2"
_LEGEND_GAP = 22.0


Uncorrected = Literal["better only before correction", "worse only before correction", "changed only before correction"]
Shown = Outcome | Uncorrected
"""What a mark shows: an outcome, or that no change is seen because a difference is clear only before correction."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with its interval in displayed units, and what it shows."""

    value: float | None
    low: float | None
    high: float | None
    shown: Shown
    colour: str

    @property
    def ends(self) -> tuple[float, ...]:
        """The finite numbers among difference and interval."""
        return tuple(each for each in (self.value, self.low, self.high) if each is not None and math.isfinite(each))


def estimate(row: Comparison, cells: Cells) -> Estimate:
    """Return the difference of a comparison; only a claim has a colour, everything else is grey."""
    return Estimate(cells.difference_number, cells.low, cells.high, shown_outcome(row), outcome_colour(row))


def shown_outcome(row: Comparison) -> Shown:
    """Return the outcome, or which way a difference points that is clear of zero only before correction."""
    if not row.fails_correction or row.difference is None:
        return row.outcome
    if row.metric.higher_is_better is None:
        return "changed only before correction"
    is_better = (row.difference > 0) == row.metric.higher_is_better
    return "better only before correction" if is_better else "worse only before correction"


def outcome_colour(row: Comparison) -> str:
    """Return the name of the colour of a comparison: better or worse if that is claimed, or none."""
    return row.outcome if row.is_claim and row.outcome in ("better", "worse") else "none"


def mark(outcome: Shown, centre: Point, colour: str, size: float = _MARK) -> tuple[Shape, ...]:
    """Return the mark of an outcome: a triangle for better or worse, hollow where nothing can be claimed."""
    x, y = centre
    corners: tuple[Point, ...] = ()
    if outcome.startswith("better"):
        corners = ((x - size, y + 0.8 * size), (x, y - 1.1 * size), (x + size, y + 0.8 * size))
    elif outcome.startswith("worse"):
        corners = ((x - size, y - 0.8 * size), (x, y + 1.1 * size), (x + size, y - 0.8 * size))
    elif outcome.startswith("changed") or outcome in ("higher", "lower"):
        corners = ((x - size, y), (x, y - size), (x + size, y), (x, y + size))
    if corners:
        is_hollow = outcome in get_args(Uncorrected)
        return (polygon(corners, "paper"), outline(corners, colour, 1.5)) if is_hollow else (polygon(corners, colour),)
    if outcome == "no change seen":
        return (disc(centre, 0.8 * size, "paper"), ring(centre, 0.8 * size, colour))
    if outcome == "cannot tell":
        half = 0.8 * size
        corners = ((x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half))
        return polygon(corners, "paper"), outline(corners, colour, 1.5, _DASH)
    return ()


def interval_line(
    scale: Scale, low: float, high: float, y: float, colour: str, width: float = 3.0
) -> tuple[Shape, ...]:
    """Return a horizontal interval; an end beyond the scale, or infinite, is an arrow at the end of the scale."""
    if math.isnan(low) or math.isnan(high):
        return ()
    shapes = [line((scale.place(low), y), (scale.place(high), y), colour, width)]
    if low < scale.low:
        shapes.append(_arrow((scale.start, y), -scale.direction, colour))
    if high > scale.high:
        shapes.append(_arrow((scale.end, y), scale.direction, colour))
    return tuple(shapes)


def _arrow(tip: Point, direction: int, colour: str) -> Shape:
    x, y = tip
    back = x - direction * _ARROW
    return polygon(((x + direction * 2, y), (back, y - 5), (back, y + 5)), colour)


def estimate_marks(drawn: Estimate, scale: Scale, y: float) -> tuple[Shape, ...]:
    """Return interval and mark on a horizontal scale; a mark beyond it stands at its end, where the arrow is."""
    shapes: list[Shape] = []
    if drawn.low is not None and drawn.high is not None:
        shapes += interval_line(scale, drawn.low, drawn.high, y, drawn.colour)
    if drawn.value is not None and not math.isnan(drawn.value):
        room = 0.0 if scale.holds(drawn.value) else 2 * _ARROW
        if drawn.value > scale.high:
            shapes.append(_arrow((scale.end, y), scale.direction, drawn.colour))
        elif drawn.value < scale.low:
            shapes.append(_arrow((scale.start, y), -scale.direction, drawn.colour))
        left, right = sorted((scale.start, scale.end))
        x = min(max(scale.place(drawn.value), left + room), right - room)
        shapes += mark(drawn.shown, (x, y), drawn.colour)
    return tuple(shapes)


def legend(used: Sequence[tuple[Shown, str]], left: float, y: float) -> tuple[Element, ...]:
    """Return each outcome that a picture uses, by its mark in its colour and its word, on one line."""
    elements: list[Element] = []
    x = left
    for outcome, colour in used:
        elements += [*mark(outcome, (x + _MARK, y - 4), colour), Text(x + 2 * _MARK + 6, y, outcome, "soft", SMALL)]
        x += 2 * _MARK + 6 + text_width(outcome, SMALL) + _LEGEND_GAP
    return tuple(elements)


def legend_entries(estimates: Sequence[Estimate]) -> tuple[tuple[Shown, str], ...]:
    """Return the outcomes that estimates have, in a fixed order, each in its colour, claims before hints."""
    outcomes: tuple[Outcome, ...] = ("better", "worse", "higher", "lower", "no change seen", "cannot tell")
    order: tuple[Shown, ...] = (*outcomes, *get_args(Uncorrected))
    found = {(each.shown, each.colour) for each in estimates}
    entries = [(outcome, colour) for outcome in order for colour in ("better", "worse", "none")]
    return tuple(entry for entry in entries if entry in found)


def mark_box(centre: Point, size: float = _MARK) -> Box:
    """Return the space that a mark takes."""
    return Box(centre[0] - size, centre[1] - size, centre[0] + size, centre[1] + size)
