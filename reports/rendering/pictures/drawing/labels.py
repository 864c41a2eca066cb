"""Places labels beside points and at the ends of lines so that none overlaps another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.rendering.pictures.drawing.elements import Anchor, Box, Point, Shape, Text, line
from reports.rendering.pictures.drawing.lettering import ASCENT, DESCENT, SMALL

_RADII = (10.0, 16.0, 24.0, 34.0, 46.0, 60.0, 78.0, 100.0, 130.0, 165.0)
_DIRECTIONS = (
    0.35,
    -0.35,
    math.pi - 0.35,
    math.pi + 0.35,
    1.57,
    -1.57,
    0.0,
    math.pi,
    0.9,
    -0.9,
    math.pi - 0.9,
    math.pi + 0.9,
)
"""Angles at which a label is tried, the usual places first; 0 is to the right, positive ones above."""
_LEADER = 18.0
"""Distance from which a thin line leads from the point to its label."""
_COST_OF_LINE = 7.0
"""What a label that covers a thin line costs, in pixels of distance."""
_COST_OF_CROSSING = 40.0
_SIDEWAYS = 0.3
"""Share of the distance that is to one side, from which a label begins or ends at its place."""
_GAP = 1.5


@dataclass(frozen=True, slots=True)
class Label:
    """What a point is called."""

    point: Point
    words: str
    colour: str = "ink"
    weight: int = 400


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """A label in its place, with a thin line to its point if it stands apart."""

    text: Text
    leader: Shape | None = None


def placed_labels(
    labels: Sequence[Label], inside: Box, solid: Sequence[Box], thin: Sequence[Box] = (), size: float = SMALL
) -> list[PlacedLabel]:
    """Return the labels that have a place, the first ones nearest to their points; those without one are left out.

    Args:
        labels: In the order of their weight.
        inside: What all labels stay within.
        solid: Boxes that no label covers, such as marks and the lines of zero.
        thin: Boxes that labels cover if all other places are further away, such as the lines of intervals.
        size: Font size in pixels.
    """
    placed: list[PlacedLabel] = []
    for label in labels:
        taken = [*solid, *(each.text.box for each in placed)]
        leaders = [each.leader for each in placed if each.leader]
        best: tuple[float, PlacedLabel] | None = None
        for radius in _RADII:
            if best and best[0] <= radius:
                break
            for direction in _DIRECTIONS:
                found = _candidate(label, radius, direction, size)
                box = found.text.box
                if not inside.holds(box) or any(box.overlaps(each, _GAP) for each in taken):
                    continue
                cost = radius + _COST_OF_LINE * sum(box.overlaps(each) for each in thin)
                cost += _COST_OF_CROSSING * sum(_hits(each, box) for each in leaders)
                if found.leader:
                    cost += _COST_OF_CROSSING * sum(_hits(found.leader, each.text.box) for each in placed)
                if best is None or cost < best[0]:
                    best = cost, found
        if best:
            placed.append(best[1])
    return placed


def _candidate(label: Label, radius: float, direction: float, size: float) -> PlacedLabel:
    """Return a label at a distance and an angle from its point."""
    x, y = label.point
    across, up = math.cos(direction), math.sin(direction)
    end = (x + radius * across, y - radius * up)
    anchor: Anchor = "start" if across > _SIDEWAYS else "end" if across < -_SIDEWAYS else "middle"
    middle = (ASCENT - DESCENT) / 2 * size
    text_x = end[0] + (0 if anchor == "middle" else math.copysign(1.0, across))
    rise = (ASCENT + DESCENT) / 2 * size * up if anchor == "middle" else 0.0
    text = Text(text_x, end[1] + middle - rise, label.words, label.colour, size, anchor, label.weight)
    if radius < _LEADER:
        return PlacedLabel(text)
    start = (x + 7 * across, y - 7 * up)
    return PlacedLabel(text, line(start, end, "soft", 0.8))


def _hits(leader: Shape, box: Box) -> bool:
    """Whether a line runs through a box, by 12 points along it."""
    x1, y1, x2, y2 = (float(leader.geometry[name]) for name in ("x1", "y1", "x2", "y2"))
    along = [(x1 + (x2 - x1) * place / 11, y1 + (y2 - y1) * place / 11) for place in range(12)]
    return any(box.left < x < box.right and box.top < y < box.bottom for x, y in along)


def spread_apart(places: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Return places moved as little as needed to be so far from each other, in the same order, between two ends.

    If they do not all fit, they are spread evenly over what there is.
    """
    if len(places) > 1 and distance * (len(places) - 1) > high - low:
        distance = (high - low) / (len(places) - 1)
    order = sorted(range(len(places)), key=lambda place: places[place])
    moved = [0.0] * len(places)
    below = low - distance
    for rank, place in enumerate(order):
        left_over = distance * (len(order) - 1 - rank)
        moved[place] = below = min(max(places[place], below + distance), high - left_over)
    return moved
