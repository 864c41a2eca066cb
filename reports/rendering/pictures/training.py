"""What training logged: the loss, and training and held-out accuracy in one plot, with the ends of lines named."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from reports.records import Run
from reports.rendering.content.display import number
from reports.rendering.pictures.candidates import colours, recipe_of, recipes_in_order, short_names
from reports.rendering.pictures.drawing.elements import (
    Box,
    Element,
    Point,
    Text,
    disc,
    line,
    picture_markup,
    polyline,
)
from reports.rendering.pictures.drawing.frames import Frame, below_frame, frame_elements
from reports.rendering.pictures.drawing.labels import spread_apart
from reports.rendering.pictures.drawing.lettering import LINE_HEIGHT, SMALL, cut, text_width
from reports.rendering.pictures.drawing.palette import series_dash
from reports.rendering.pictures.drawing.scales import Scale, linear_scale, nice_ticks, tick_texts
from reports.rendering.pictures.picture import Picture

MOST_POINTS = 80
"""Most points of a line; with more rows, each point is the mean of neighbouring ones."""
MOST_NAMED = 8
"""Most recipes whose lines are named; those of the others are grey."""

_MARGINS, _ACCURACY, _LOSS = "rewards/margins", "rewards/accuracies", "loss"
_WIDTH = 640.0
_LEFT, _RIGHT = 62.0, 470.0
_NAMES = 482.0
"""Where the names of lines begin."""
_PLOT_HEIGHT = 150.0
_END_WORDS = {"train": "training", "selection": "held-out"}
_HEADER = ("plot", "recipe", "seeds", "rows", "step", "value")


@dataclass(frozen=True, slots=True)
class _Curve:
    """What was logged of one field and one recipe, by step."""

    recipe: str
    n_seeds: int
    kind: str
    """train, or selection for held-out rows."""
    points: tuple[Point, ...]
    colour: str


@dataclass(frozen=True, slots=True)
class _Plot:
    title: str
    unit: str
    curves: tuple[_Curve, ...]


def training_picture(run: Run) -> Picture | None:
    """Return losses and accuracies by step; None if nothing was logged.

    A recipe of several seeds is one line, their mean. Training rows are drawn of the headline's recipe alone where
    there are several, so that their distance from held-out rows can be seen. Losses of SFT are in nats per token and
    have a plot of their own beside those of training on pairs.
    """
    plots = [plot for plot in _plots(run) if plot.curves]
    if not plots:
        return None
    names = short_names(recipes_in_order(run) or [""])
    steps = [step for plot in plots for curve in plot.curves for step, _ in curve.points]
    elements: list[Element] = []
    y = 6.0
    for plot in plots:
        y = _drawn(elements, plot, names, steps, y) + 16
    elements.append(Text((_LEFT + _RIGHT) / 2, y, "step", "soft", SMALL, "middle"))
    y += 24
    elements += [
        line((14, y - 4), (40, y - 4), "soft", 1.4),
        Text(46, y, "training rows", "soft", SMALL),
        line((150, y - 4), (176, y - 4), "soft", 2.2),
        disc((163, y - 4), 3.4, "soft"),
        Text(182, y, "held-out rows (selection)", "soft", SMALL),
    ]
    title = "Training: loss, and accuracy on training and held-out rows"
    n_most = max(_n_logged(run, kind) for kind in ("train", "selection"))
    note = "Accuracy: share of pairs whose chosen answer has the higher reward."
    if any(curve.n_seeds > 1 for plot in plots for curve in plot.curves):
        note += " Each line is the mean of its training seeds."
    if n_most > MOST_POINTS:
        note += f" Each point is the mean of up to {math.ceil(n_most / MOST_POINTS)} neighbouring rows."
    svg = picture_markup(_WIDTH, y + 12, title, _in_words(plots), elements)
    return Picture("training", title, svg, note, _HEADER, tuple(_data(plots)))


def _plots(run: Run) -> list[_Plot]:
    on_pairs = {row.get("candidate") for row in run.training if row.get("kind") == "train" and _MARGINS in row}

    def is_apart(row: Mapping[str, Any]) -> bool:
        return bool(on_pairs) and row.get("candidate") not in on_pairs and _MARGINS not in row

    of_pairs = [row for row in run.training if not is_apart(row)]
    of_sft = [row for row in run.training if is_apart(row)]
    recipes = recipes_in_order(run)
    return [
        _Plot("Accuracy", "%", _readable(_curves(run, of_pairs, _ACCURACY), recipes)),
        _Plot("Loss", "", _readable(_curves(run, of_pairs, _LOSS), recipes)),
        _Plot("Loss of SFT, nats per token", "", _readable(_curves(run, of_sft, _LOSS), recipes)),
    ]


def _readable(curves: Sequence[_Curve], recipes: Sequence[str]) -> tuple[_Curve, ...]:
    """Return the curves with training lines of the first recipe alone, if there are several with held-out rows."""
    held_out = {curve.recipe for curve in curves if curve.kind == "selection"}
    first = next((recipe for recipe in recipes if any(curve.recipe == recipe for curve in curves)), "")
    kept = held_out - {first} if len({curve.recipe for curve in curves}) > 1 else set()
    return tuple(curve for curve in curves if curve.kind == "selection" or curve.recipe not in kept)


def _curves(run: Run, rows: Sequence[Mapping[str, Any]], field: str) -> tuple[_Curve, ...]:
    """Return a curve for each recipe and kind of row: the mean of its seeds."""
    known = {subject.name for subject in run.candidates}
    of_recipe = colours(run)
    found: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for row in rows:
        value, step, kind = row.get(field), row.get("step"), str(row.get("kind"))
        point = _finite(step, value)
        if kind in ("train", "selection") and point:
            candidate = str(row.get("candidate", ""))
            recipe = recipe_of(run, candidate) if candidate in known else candidate
            factor = 100.0 if field == _ACCURACY else 1.0
            of_candidate = found.setdefault((recipe, kind), {}).setdefault(candidate, [])
            of_candidate.append((point[0], factor * point[1]))
    curves = []
    for (recipe, kind), by_candidate in found.items():
        colour = of_recipe.get(recipe, "none" if recipe else "series-0")
        curves += [
            _Curve(recipe, len(points), kind, thinned(mean), colour)
            for points, mean in _means(list(by_candidate.values()))
        ]
    return tuple(curves)


def _means(seeds: Sequence[Sequence[Point]]) -> list[tuple[Sequence[Sequence[Point]], list[Point]]]:
    """Return the mean of seeds over the steps that all of them logged, or each by itself if there are none."""
    shared = set.intersection(*({step for step, _ in points} for points in seeds))
    if not shared:
        return [([points], list(points)) for points in seeds]
    values: dict[float, list[float]] = {}
    for points in seeds:
        for step, value in points:
            if step in shared:
                values.setdefault(step, []).append(value)
    return [(seeds, [(step, fmean(found)) for step, found in values.items()])]


def _finite(step: Any, value: Any) -> Point | None:
    """Return both as numbers; None if one of them is missing or not finite, as the loss of a diverged training is."""
    if not isinstance(step, int | float) or not isinstance(value, int | float):
        return None
    return (float(step), float(value)) if math.isfinite(step) and math.isfinite(value) else None


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return points in the order of their steps, or the means of neighbours if there are too many."""
    ordered = sorted(points)
    size = math.ceil(len(ordered) / MOST_POINTS)
    chunks = [ordered[start : start + size] for start in range(0, len(ordered), size)] if size > 1 else []
    return tuple((fmean(x for x, _ in chunk), fmean(y for _, y in chunk)) for chunk in chunks) or tuple(ordered)


def _drawn(elements: list[Element], plot: _Plot, names: Mapping[str, str], steps: Sequence[float], top: float) -> float:
    """Add a plot, and return where the texts of its axis end."""
    elements.append(Text(12, top + 12, plot.title, weight=600))
    place = Box(_LEFT, top + 24, _RIGHT, top + 24 + _PLOT_HEIGHT)
    values = [value for curve in plot.curves for _, value in curve.points]
    chance = (50.0,) if plot.unit == "%" else ()
    y = linear_scale([*values, *chance], place.bottom, place.top, pad=0.06)
    if plot.unit == "%":
        y = Scale(max(y.low, -2.0), min(y.high, 102.0), place.bottom, place.top)
    frame = Frame(place, linear_scale(steps, place.left, place.right, pad=0.02), y)
    x_ticks = [tick for tick in nice_ticks(frame.x, 6) if tick == round(tick) and tick >= 0]
    y_ticks = nice_ticks(y, 5)
    unit = f" {plot.unit}" if plot.unit else ""
    elements += frame_elements(
        frame,
        [(tick, number(tick, 0)) for tick in x_ticks],
        [(tick, f"{text}{unit}") for tick, text in zip(y_ticks, tick_texts(y_ticks), strict=True)],
    )
    if chance:
        elements.append(line(frame.point(frame.x.low, 50.0), frame.point(frame.x.high, 50.0), "soft", 1.0, "3 3"))
    for curve in sorted(plot.curves, key=lambda each: (each.colour != "none", each.kind == "selection")):
        elements += _curve(curve, frame)
    elements += _end_labels(plot, frame, names)
    return below_frame(frame)


def _curve(curve: _Curve, frame: Frame) -> list[Element]:
    points = [frame.point(*point) for point in curve.points]
    if curve.kind == "train":
        return [polyline(points, curve.colour, 1.2 if curve.colour != "none" else 0.8)]
    dots: list[Element] = [disc(point, 3.2 if curve.colour != "none" else 1.8, curve.colour) for point in points]
    return [polyline(points, curve.colour, 2.0 if curve.colour != "none" else 1.0, series_dash(curve.colour)), *dots]


def _end_labels(plot: _Plot, frame: Frame, names: Mapping[str, str]) -> list[Element]:
    """Return a name with the last value at the end of each line that has a colour."""
    n_recipes = len({curve.recipe for curve in plot.curves})
    ends = [curve for curve in plot.curves if curve.colour != "none" or n_recipes <= MOST_NAMED]
    values = [curve.points[-1][1] for curve in ends]
    places = [frame.y.place(value) for value in values]
    apart = spread_apart(places, LINE_HEIGHT * SMALL, frame.box.top + 4, frame.box.bottom - 2)
    decimals = min(6, max(2, 1 - math.floor(math.log10(frame.y.high - frame.y.low))))
    elements: list[Element] = []
    for curve, value, y, moved in zip(ends, values, places, apart, strict=True):
        shown = f": {number(value, 0)} %" if plot.unit == "%" else f": {number(value, decimals)}"
        words = _END_WORDS[curve.kind]
        if n_recipes > 1:
            words = names.get(curve.recipe, curve.recipe) + (f", {words}" if curve.kind == "train" else "")
        text = cut(words, _WIDTH - 8 - _NAMES - text_width(shown, SMALL), size=SMALL) + shown
        elements.append(line((frame.x.place(curve.points[-1][0]) + 4, y), (_NAMES - 3, moved), "line", 1.0))
        elements.append(Text(_NAMES, moved + 0.35 * SMALL, text, curve.colour, SMALL))
    return elements


def _n_logged(run: Run, kind: str) -> int:
    counts: dict[str, int] = {}
    for row in run.training:
        if row.get("kind") == kind:
            counts[str(row.get("candidate", ""))] = counts.get(str(row.get("candidate", "")), 0) + 1
    return max(counts.values(), default=0)


def _in_words(plots: Sequence[_Plot]) -> str:
    kinds = {"train": "training rows", "selection": "held-out rows"}
    return "; ".join(
        f"{plot.title} of {curve.recipe or 'the adapter'} on {kinds[curve.kind]}: from "
        f"{number(curve.points[0][1], 3)} to {number(curve.points[-1][1], 3)}"
        for plot in plots
        for curve in plot.curves
    )


def _data(plots: Sequence[_Plot]) -> list[tuple[str | float | None, ...]]:
    return [
        (plot.title, curve.recipe, curve.n_seeds, curve.kind, step, value)
        for plot in plots
        for curve in plot.curves
        for step, value in curve.points
    ]
