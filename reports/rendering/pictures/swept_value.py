"""Metrics against a swept value: seeds as dots, their mean as a line, a small plot for each primary metric."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.comparing.compare import Comparison
from reports.comparing.seeds import OverSeeds
from reports.records import Metric, Run
from reports.rendering.content.display import cells
from reports.rendering.content.names import metric_names
from reports.rendering.pictures.candidates import recipe_of, swept, swept_keys
from reports.rendering.pictures.drawing.elements import Box, Element, Group, Text, disc, line, picture_markup, polyline
from reports.rendering.pictures.drawing.frames import Frame, frame_elements
from reports.rendering.pictures.drawing.lettering import LINE_HEIGHT, SMALL, cut, text_width, wrapped
from reports.rendering.pictures.drawing.palette import N_SERIES, series_dash
from reports.rendering.pictures.drawing.scales import (
    Scale,
    is_spread,
    linear_scale,
    log_scale,
    nice_ticks,
    tick_texts,
)
from reports.rendering.pictures.picture import Picture

MOST_METRICS = 9
"""Most metrics that are drawn; the others are in the table."""

_WIDTH = 760.0
_COLUMNS = 3
_CELL = (_WIDTH / _COLUMNS, 214.0)
_HEADER = ("metric", "key", "value", "other settings", "candidate", "difference", "unit")


@dataclass(frozen=True, slots=True)
class _Point:
    """One candidate: its swept value as text, its other swept settings, and its difference."""

    value: str
    series: str
    comparison: Comparison
    difference: float


@dataclass(frozen=True, slots=True)
class _Panel:
    metric: Metric
    name: str
    unit: str
    points: tuple[_Point, ...]
    intervals: Mapping[tuple[str, str], tuple[float, float]]
    """Value and series -> 95 % interval of the recipe, or of its one adapter."""


def swept_value_picture(run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds]) -> Picture | None:
    """Return the differences of primary metrics against the swept value with most values; None without a sweep.

    Where several keys were swept, each combination of the others is a line.
    """
    names = [subject.name for subject in run.candidates if not subject.is_control]
    keys = swept_keys(run, names)
    if not keys:
        return None
    panels = _panels(run, comparisons, recipes, keys)
    if not panels:
        return None
    key = keys[0]
    values = sorted({point.value for panel in panels for point in panel.points}, key=_in_order)
    series = sorted({point.series for panel in panels for point in panel.points}, key=_in_order)
    elements: list[Element] = []
    top = _legend(elements, series)
    for place, panel in enumerate(panels):
        row, column = divmod(place, _COLUMNS)
        box = Box(column * _CELL[0], top + row * _CELL[1], (column + 1) * _CELL[0], top + (row + 1) * _CELL[1])
        elements += _drawn(panel, box, values, series)
    height = top + math.ceil(len(panels) / _COLUMNS) * _CELL[1] + 26
    elements.append(
        Text(_WIDTH / 2, height - 10, cut(key.replace("_", " "), _WIDTH, size=SMALL), "soft", SMALL, "middle")
    )
    title = f"Difference from the baseline by {key.replace('_', ' ')}"
    note = "Dots: adapters, one a training seed. Line: their mean, with its 95 % interval where there is one."
    svg = picture_markup(_WIDTH, height, title, _in_words(panels), elements)
    return Picture("swept-value", title, svg, note, _HEADER, _data(panels, key))


def _panels(
    run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds], keys: Sequence[str]
) -> list[_Panel]:
    names = metric_names(run)
    of_recipe = {(each.mean.candidate, each.mean.metric): each.mean for each in recipes if each.mean.primary}
    controls = {subject.name for subject in run.candidates if subject.is_control}
    found: dict[Metric, list[_Point]] = {}
    intervals: dict[Metric, dict[tuple[str, str], tuple[float, float]]] = {}
    for row in comparisons:
        settings = swept(row.candidate)
        shown = cells(row)
        number = shown.difference_number
        if not row.primary or row.candidate in controls or keys[0] not in settings or number is None:
            continue
        if math.isfinite(number):
            series = ", ".join(f"{key}={settings[key]}" for key in keys[1:] if key in settings)
            found.setdefault(row.metric, []).append(_Point(settings[keys[0]], series, row, number))
            judged = cells(of_recipe.get((recipe_of(run, row.candidate), row.metric), row))
            if judged.low is not None and judged.high is not None and math.isfinite(judged.low + judged.high):
                intervals.setdefault(row.metric, {})[settings[keys[0]], series] = (judged.low, judged.high)
    return [
        _Panel(metric, names[metric], cells(points[0].comparison).unit, tuple(points), intervals.get(metric, {}))
        for metric, points in found.items()
        if len({point.value for point in points}) > 1
    ][:MOST_METRICS]


def _in_order(text: str) -> tuple[bool, float, str]:
    """Return what texts are sorted by: numbers by their value, then words."""
    value = _as_number(text)
    return value is None, value or 0.0, text


def _as_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _horizontal(values: Sequence[str], left: float, right: float) -> tuple[Scale, dict[str, float]]:
    """Return the scale of the swept values and the number of each: evenly spaced if one of them is a word."""
    numbers = [_as_number(value) for value in values]
    found = [number for number in numbers if number is not None]
    if len(found) < len(values):
        found = [float(place) for place in range(len(values))]
    scale = log_scale(found, left, right) if is_spread(found) else linear_scale(found, left, right, pad=0.12)
    return scale, dict(zip(values, found, strict=True))


def _drawn(panel: _Panel, cell: Box, values: Sequence[str], series: Sequence[str]) -> list[Element]:
    title = wrapped(panel.name, cell.right - cell.left - 24, size=SMALL, weight=600)
    elements: list[Element] = [
        Text(cell.left + 12, cell.top + 14 + place * LINE_HEIGHT * SMALL, words, "ink", SMALL, weight=600)
        for place, words in enumerate(title)
    ]
    direction = {True: "higher is better", False: "lower is better", None: "neither is better"}
    unit = f"{panel.unit}, {direction[panel.metric.higher_is_better]}"
    top = cell.top + 16 + len(title) * LINE_HEIGHT * SMALL
    elements.append(Text(cell.left + 12, top, cut(unit, cell.right - cell.left - 24, size=SMALL), "soft", SMALL))
    inner = [
        0.0,
        *(point.difference for point in panel.points),
        *(end for ends in panel.intervals.values() for end in ends),
    ]
    y = linear_scale(inner, cell.bottom - 30, top + 16, pad=0.08)
    y_ticks = nice_ticks(y, 4)
    y_texts = tick_texts(y_ticks, sign=True)
    left = cell.left + 20 + max(text_width(text, SMALL) for text in y_texts)
    x, places = _horizontal(values, left, cell.right - 12)
    frame = Frame(Box(left, top + 16, cell.right - 12, cell.bottom - 30), x, y)
    elements += frame_elements(
        frame, [(places[value], value) for value in values], list(zip(y_ticks, y_texts, strict=True))
    )
    elements.append(line((left, y.place(0)), (cell.right - 12, y.place(0)), "soft"))
    for place, name in enumerate(series):
        elements += _series(panel, frame, places, name, _colour(place))
    return elements


def _colour(place: int) -> str:
    return f"series-{place}" if place < N_SERIES else "none"


def _series(panel: _Panel, frame: Frame, places: Mapping[str, float], name: str, colour: str) -> list[Element]:
    by_value: dict[str, list[_Point]] = {}
    for point in panel.points:
        if point.series == name:
            by_value.setdefault(point.value, []).append(point)
    means = {value: fmean(point.difference for point in points) for value, points in by_value.items()}
    elements: list[Element] = []
    for value in means:
        if (value, name) in panel.intervals:
            low, high = panel.intervals[value, name]
            ends = frame.point(places[value], low), frame.point(places[value], high)
            elements.append(line(*ends, colour, 1.0))
    ordered = sorted(means, key=lambda value: places[value])
    elements.append(
        polyline([frame.point(places[value], means[value]) for value in ordered], colour, 1.8, series_dash(colour))
    )
    for points in by_value.values():
        for point in points:
            told = f"{point.comparison.candidate}: {cells(point.comparison).difference}"
            elements.append(Group(told, (disc(frame.point(places[point.value], point.difference), 3.2, colour),)))
    return elements


def _legend(elements: list[Element], series: Sequence[str]) -> float:
    """Add a line for each combination of the other swept settings, if there are several; return where they end."""
    x, y = 12.0, 16.0
    if len(series) < 2:  # noqa: PLR2004 - one line needs no legend
        return 4.0
    for place, name in enumerate(series):
        words = cut(name or "alone", _WIDTH / 2, size=SMALL)
        width = 34 + text_width(words, SMALL) + 18
        if x + width > _WIDTH and x > 12:  # noqa: PLR2004 - not at the start of a line
            x, y = 12.0, y + 18
        colour = _colour(place)
        elements += [line((x, y - 4), (x + 26, y - 4), colour, 1.8, series_dash(colour))]
        elements += [Text(x + 34, y, words, "soft", SMALL)]
        x += width
    return y + 12


def _in_words(panels: Sequence[_Panel]) -> str:
    return "; ".join(
        f"{panel.name}: "
        + ", ".join(f"{point.comparison.candidate} {cells(point.comparison).difference}" for point in panel.points)
        for panel in panels
    )


def _data(panels: Sequence[_Panel], key: str) -> tuple[tuple[str | float | None, ...], ...]:
    return tuple(
        (panel.name, key, point.value, point.series, point.comparison.candidate, point.difference, panel.unit)
        for panel in panels
        for point in panel.points
    )
