"""The picture that a sweep is for: reward accuracy gained against the largest loss of a capability."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.comparing.compare import Comparison
from reports.rendering.content.differences import Matrix, MatrixCell, MatrixRow
from reports.rendering.content.display import cells
from reports.rendering.pictures.candidates import short_names
from reports.rendering.pictures.drawing.elements import (
    Box,
    Element,
    Group,
    Shape,
    Text,
    line,
    outline,
    picture_markup,
    ring,
)
from reports.rendering.pictures.drawing.frames import Frame, below_frame, frame_elements
from reports.rendering.pictures.drawing.labels import Label, placed_labels
from reports.rendering.pictures.drawing.lettering import cut, text_width
from reports.rendering.pictures.drawing.marks import mark, mark_box, outcome_colour, shown_outcome
from reports.rendering.pictures.drawing.scales import linear_scale, nice_ticks, tick_texts
from reports.rendering.pictures.picture import Picture

_WIDTH, _HEIGHT = 600.0, 330.0
_PLACE = Box(66, 34, 588, 254)
_LETTERS = 12.0
"""Font size in pixels: the page shows the picture at about its own size."""
_LONGEST_LABEL = 130.0
_FEW = 8
"""With more candidates than these, only the chosen one's and the controls' intervals are drawn at full width."""
_HEADER = (
    *("candidate", "chosen", "control", "gain", "gain low", "gain high", "gain outcome"),
    *("change at the largest loss", "low", "high", "unit", "metric of the largest loss", "outcome"),
)
_UNIT_NAMES = {"pp": "points of accuracy", "%": "% of perplexity"}
_LINE_WORDS = {"better": "better", "worse": "worse", "none": "no change seen"}
"""Colour of an interval -> what it says of the gain, if it is horizontal, or of the loss."""


@dataclass(frozen=True, slots=True)
class _Dot:
    """A candidate in the picture; changes are signed so that more is better, in displayed units."""

    row: MatrixRow
    gain: Comparison
    cost: Comparison
    cost_metric: str
    x: float
    y: float
    x_ends: tuple[float, float] | None
    y_ends: tuple[float, float] | None


def gain_and_cost_picture(matrix: Matrix) -> Picture | None:
    """Return the picture of two or more candidates, or None if they have no reward accuracy or nothing beside it.

    The cost of a candidate is its largest loss among the primary metrics in percentage points; if there are none, among
    perplexities in percent. Losses in different units are not compared.
    """
    gain_place = next((place for place in range(len(matrix.metrics)) if _is_gain(matrix, place)), None)
    if gain_place is None:
        return None
    for unit in ("pp", "%"):
        places = [
            place for place in range(len(matrix.metrics)) if place != gain_place and _has_unit(matrix, place, unit)
        ]
        dots = [dot for row in matrix.rows if (dot := _dot(matrix, row, gain_place, places))]
        if len(dots) > 1:
            return _picture(dots, matrix.metrics[gain_place], unit, len(places))
    return None


def _compared(matrix: Matrix, place: int) -> list[Comparison]:
    return [each for row in matrix.rows if (each := row.cells[place].comparison) is not None]


def _is_gain(matrix: Matrix, place: int) -> bool:
    """Whether a metric is a reward accuracy: a percentage whose baseline is chance by definition."""
    return any(each.metric.chance is not None and each.metric.display == "percent" for each in _compared(matrix, place))


def _has_unit(matrix: Matrix, place: int, unit: str) -> bool:
    return any(
        each.metric.higher_is_better is not None and each.metric.display != "mean" and cells(each).unit == unit
        for each in _compared(matrix, place)
    )


def _dot(matrix: Matrix, row: MatrixRow, gain_place: int, places: Sequence[int]) -> _Dot | None:
    gain = _change(row.cells[gain_place])
    costs = [(change, place) for place in places if (change := _change(row.cells[place]))]
    if gain is None or not costs:
        return None
    cost, place = min(costs, key=lambda each: each[0][1])
    return _Dot(row, gain[0], cost[0], matrix.metrics[place], gain[1], cost[1], gain[2], cost[2])


def _change(cell: MatrixCell) -> tuple[Comparison, float, tuple[float, float] | None] | None:
    """Return a comparison with its difference and interval, signed so that more is better; None if it is not finite."""
    row = cell.comparison
    if row is None:
        return None
    shown = cells(row)
    if shown.difference_number is None or not math.isfinite(shown.difference_number):
        return None
    sign = 1.0 if row.metric.higher_is_better else -1.0
    ends = None
    if shown.low is not None and shown.high is not None:
        low, high = sorted((sign * shown.low, sign * shown.high))
        ends = (low, high)
    return row, sign * shown.difference_number, ends


def _picture(dots: Sequence[_Dot], gain_name: str, unit: str, n_metrics: int) -> Picture:
    xs = [0.0, *(value for dot in dots for value in (dot.x, *(dot.x_ends or ())))]
    ys = [0.0, *(value for dot in dots for value in (dot.y, *(dot.y_ends or ())))]
    place = _PLACE
    frame = Frame(place, linear_scale(xs, place.left, place.right), linear_scale(ys, place.bottom, place.top))
    x_ticks, y_ticks = nice_ticks(frame.x, 7), nice_ticks(frame.y, 6)
    elements: list[Element] = frame_elements(
        frame,
        list(zip(x_ticks, tick_texts(x_ticks, sign=True), strict=True)),
        list(zip(y_ticks, (f"{text} {unit}" for text in tick_texts(y_ticks, sign=True)), strict=True)),
        _LETTERS,
    )
    zero_x, zero_y = frame.point(0, 0)
    elements += [line((zero_x, place.top), (zero_x, place.bottom), "soft")]
    elements += [line((place.left, zero_y), (place.right, zero_y), "soft")]
    elements += [Text(4, 16, f"\u2191 Largest loss elsewhere, {_UNIT_NAMES[unit]} (up is better)", "soft", _LETTERS)]
    below = below_frame(frame, _LETTERS) + 15
    x_words = ": gained, percentage points (right is better) \u2192"
    x_title = cut(gain_name, place.right - place.left - text_width(x_words, _LETTERS), size=_LETTERS) + x_words
    elements += [Text(place.right, below, x_title, "soft", _LETTERS, "end")]
    elements += _drawn_dots(dots, frame)
    elements += _legend(dots, below + 26)
    title = "Gain against cost"
    said = "; ".join(
        f"{dot.row.subject}: gained {cells(dot.gain).difference}, largest loss {cells(dot.cost).difference} of "
        f"{dot.cost_metric}"
        for dot in dots
    )
    return Picture(
        "gain-and-cost",
        title,
        picture_markup(_WIDTH, _HEIGHT, title, said, elements),
        _note(dots, unit, n_metrics),
        _HEADER,
        tuple(_data(dot, unit) for dot in dots),
    )


def _note(dots: Sequence[_Dot], unit: str, n_metrics: int) -> str:
    metrics = Counter(dot.cost_metric for dot in dots).most_common(3)
    largest = ", ".join(f"{name} ({n})" for name, n in metrics)
    metric_words = f"the largest of {n_metrics} losses" if n_metrics > 1 else "the one loss"
    chance = "; noise alone puts it below zero" if n_metrics > 1 else ""
    why = "" if unit == "pp" else " There is no primary metric in percentage points beside the reward accuracy."
    return (
        f"Height: {metric_words} among primary metrics in {_UNIT_NAMES[unit]}{chance}. Where it is largest: {largest} "
        f"candidates. Lines: 95 % intervals, in colour where a gain or loss can be claimed.{why}"
    )


def _drawn_dots(dots: Sequence[_Dot], frame: Frame) -> list[Element]:
    """Return intervals below marks below labels; the chosen one and the controls are labelled first."""
    names = short_names([dot.row.subject for dot in dots])
    lines: list[Element] = []
    groups: list[Element] = []
    for dot in sorted(dots, key=lambda each: each.row.is_chosen):
        is_wide = len(dots) <= _FEW or dot.row.is_chosen
        lines += _intervals(dot, frame, 1.8 if is_wide else 0.9)
        told = f"{dot.row.subject}: {cells(dot.gain).difference}; {dot.cost_metric} {cells(dot.cost).difference}"
        groups.append(Group(told, tuple(_marks(dot, frame))))
    order = sorted(dots, key=lambda each: (not each.row.is_chosen, not each.row.is_control, -each.x))
    labels = [
        Label(
            frame.point(dot.x, dot.y),
            cut(names[dot.row.subject], _LONGEST_LABEL, size=_LETTERS) + (" \u2605" if dot.row.is_chosen else ""),
            "soft" if dot.row.is_control else "ink",
            600 if dot.row.is_chosen else 400,
        )
        for dot in order
    ]
    zero_x, zero_y = frame.point(0, 0)
    place = frame.box
    solid = [mark_box(frame.point(dot.x, dot.y), _reach(dot)) for dot in dots]
    solid += [Box(zero_x, place.top, zero_x, place.bottom), Box(place.left, zero_y, place.right, zero_y)]
    thin = [_line_box(shape) for shape in lines if isinstance(shape, Shape)]
    placed = placed_labels(labels, Box(place.left, 22, _WIDTH - 4, place.bottom - 1), solid, thin, _LETTERS)
    leaders: list[Element] = [each.leader for each in placed if each.leader]
    return [*lines, *leaders, *groups, *(each.text for each in placed)]


def _line_box(shape: Shape) -> Box:
    x1, y1, x2, y2 = (float(shape.geometry[name]) for name in ("x1", "y1", "x2", "y2"))
    return Box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def _intervals(dot: _Dot, frame: Frame, width: float) -> list[Element]:
    x, y = frame.point(dot.x, dot.y)
    lines: list[Element] = []
    if dot.x_ends:
        left, right = map(frame.x.place, dot.x_ends)
        lines.append(line((left, y), (right, y), outcome_colour(dot.gain), width))
    if dot.y_ends:
        low, high = map(frame.y.place, dot.y_ends)
        lines.append(line((x, low), (x, high), outcome_colour(dot.cost), width))
    return lines


def _marks(dot: _Dot, frame: Frame) -> list[Element]:
    centre = frame.point(dot.x, dot.y)
    size = 7.0 if dot.row.is_chosen else 5.5
    shapes: list[Element] = [*mark(shown_outcome(dot.gain), centre, outcome_colour(dot.gain), size)]
    if dot.row.is_control:
        shapes.append(_control_mark(centre[0], centre[1]))
    if dot.row.is_chosen:
        shapes.append(ring(centre, 12, "ink", 1.4))
    return shapes


def _reach(dot: _Dot) -> float:
    """Return how far a candidate's mark reaches from its centre."""
    return 12.5 if dot.row.is_chosen or dot.row.is_control else 6.5


def _control_mark(x: float, y: float) -> Shape:
    """Return the diamond around the mark of a control."""
    return outline(((x - 11, y), (x, y - 11), (x + 11, y), (x, y + 11)), "soft", 1.2)


def _legend(dots: Sequence[_Dot], y: float) -> list[Element]:
    """Return what the colours of intervals say, and the marks of the chosen one and of controls."""
    used = {outcome_colour(row) for dot in dots for row in (dot.gain, dot.cost)}
    elements: list[Element] = []
    x = 4.0
    for colour, words in _LINE_WORDS.items():
        if colour in used:
            drawn: list[Element] = [line((x, y - 4), (x + 20, y - 4), colour, 3.0)]
            x = _with_words(elements, drawn, x + 26, y, words)
    if any(dot.row.is_chosen for dot in dots):
        x = _with_words(elements, [ring((x + 7, y - 4), 7, "ink", 1.4)], x + 20, y, "chosen")
    if any(dot.row.is_control for dot in dots):
        corners = ((x, y - 4), (x + 7, y - 11), (x + 14, y - 4), (x + 7, y + 3))
        x = _with_words(elements, [outline(corners, "soft", 1.2)], x + 20, y, "control")
    _with_words(elements, [], x, y, "Lines: 95 % intervals")
    return elements


def _with_words(elements: list[Element], drawn: Sequence[Element], x: float, y: float, words: str) -> float:
    """Add an entry of the legend, and return where the next one begins."""
    elements += [*drawn, Text(x, y, words, "soft", _LETTERS)]
    return x + text_width(words, _LETTERS) + 16


def _data(dot: _Dot, unit: str) -> tuple[str | float | None, ...]:
    gain_ends, cost_ends = dot.x_ends or (None, None), dot.y_ends or (None, None)
    return (
        *(dot.row.subject, str(dot.row.is_chosen).lower(), str(dot.row.is_control).lower()),
        *(dot.x, *gain_ends, dot.gain.outcome),
        *(dot.y, *cost_ends, unit, dot.cost_metric, dot.cost.outcome),
    )
