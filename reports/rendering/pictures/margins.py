"""Reward margins of held-out pairs, and the implicit rewards of their chosen and rejected answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reports.comparing.statistics import Floats
from reports.records import Run, without_nan
from reports.rendering.content.display import number
from reports.rendering.pictures.candidates import colours, recipe_of, recipes_in_order
from reports.rendering.pictures.drawing.elements import Box, Element, Text, line, picture_markup, polyline
from reports.rendering.pictures.drawing.frames import Frame, below_frame, frame_elements
from reports.rendering.pictures.drawing.lettering import SMALL, cut
from reports.rendering.pictures.drawing.palette import series_dash
from reports.rendering.pictures.drawing.scales import Scale, linear_scale, nice_ticks, tick_texts
from reports.rendering.pictures.picture import Picture

REWARD_MARGIN = "reward_margin"
DRIFTS = {"chosen": "drift_chosen", "rejected": "drift_rejected"}
"""Which answers -> metric whose totals times beta are their implicit rewards."""
MOST_RECIPES = 4
"""Most recipes whose margins are all drawn; of more, only the first one's and those of controls."""

_WIDTH = 640.0
_PLOT_HEIGHT = 190.0
_LEFT, _RIGHT = 56.0, _WIDTH - 16
_LINE = 18.0
_OUTLIERS = (0.5, 99.5)
"""Percentiles beyond which values lie in the first or the last bin."""
_FEWEST_BINS, _MOST_BINS = 6, 48
_HEADER = ("plot", "series", "from", "to", "share")


@dataclass(frozen=True, slots=True)
class _Outline:
    """The values of one line of a plot."""

    name: str
    values: Floats
    colour: str
    said: str
    """What the legend says of it, such as the share of pairs that are right."""


def margins_picture(run: Run) -> Picture | None:
    """Return the margins of the headline's candidate beside its controls, and its rewards; None without margins.

    Training seeds of one recipe are put together. Rewards are the log-ratios of `drift_chosen` and `drift_rejected`
    times beta, which the run records; where nothing says beta there is no plot of them.
    """
    margins, rewards = _margins(run), _rewards(run)
    if not margins:
        return None
    title = "Reward margins of held-out pairs"
    headline = margins[0].name
    elements: list[Element] = []
    data: list[tuple[str | float | None, ...]] = []
    y = _plot(
        elements, data, title, "reward margin of a pair, nats (right of 0: the chosen answer is preferred)", margins, 6
    )
    if rewards:
        rewards_title = f"Rewards of chosen and rejected answers: {headline}"
        y = _plot(
            elements, data, rewards_title, "implicit reward, nats (0: as probable as before training)", rewards, y + 14
        )
    said = "; ".join(f"{each.name}: {each.said}" for each in (*margins, *rewards))
    note = "Height: share of pairs or answers a bin; what lies far out is in the first or last bin."
    if rewards:
        note += " A margin also grows where both answers get less probable, the rejected one more so."
    svg = picture_markup(_WIDTH, y + 8, title, said, elements)
    return Picture("margins", title, svg, note, _HEADER, tuple(data))


def _margins(run: Run) -> list[_Outline]:
    """Return the margins of the first recipe that has some and of its controls, in the metric's first evaluation."""
    by_recipe = _totals(run, REWARD_MARGIN)
    of_recipe = colours(run)
    is_control = {recipe_of(run, subject.name): subject.is_control for subject in run.candidates}
    measured = [recipe for recipe in recipes_in_order(run) if recipe in by_recipe]
    controls = [recipe for recipe in measured[1:] if is_control[recipe]]
    shown = measured if len(measured) <= MOST_RECIPES else [*measured[:1], *controls][:MOST_RECIPES]
    return [
        _Outline(recipe, values := by_recipe[recipe], of_recipe[recipe], f"{_share_right(values)} of pairs right of 0")
        for recipe in shown
    ]


def _share_right(values: Floats) -> str:
    return f"{number(100 * float(np.mean(values > 0) + np.mean(values == 0) / 2), 1)} %"


def _rewards(run: Run) -> list[_Outline]:
    """Return the rewards of the answers of the recipe whose margins come first."""
    margins = _totals(run, REWARD_MARGIN)
    headline = next((recipe for recipe in recipes_in_order(run) if recipe in margins), None)
    outlines = []
    for (words, metric), colour in zip(DRIFTS.items(), ("ink", "none"), strict=True):
        values = _totals(run, metric, times_beta=True).get(headline or "")
        if values is not None:
            outlines.append(
                _Outline(f"{words} answers", values, colour, f"mean {number(float(values.mean()), 3, sign=True)}")
            )
    return outlines if len(outlines) == len(DRIFTS) else []


def _totals(run: Run, metric: str, *, times_beta: bool = False) -> dict[str, Floats]:
    """Map each recipe to the totals of all examples of its adapters, in the first evaluation that has the metric."""
    betas = {subject.name: subject.beta for subject in run.candidates}
    evaluation = next((each.metric.evaluation for each in run.measurements if each.metric.name == metric), None)
    found: dict[str, list[Floats]] = {}
    for measurement in map(without_nan, run.measurements):
        name = measurement.subject
        if (measurement.metric.name, measurement.metric.evaluation) != (metric, evaluation) or name not in betas:
            continue
        beta = betas[name] if times_beta else 1.0
        if beta is not None:
            found.setdefault(recipe_of(run, name), []).append(beta * measurement.scores.totals)
    return {recipe: values for recipe, parts in found.items() if len(values := np.concatenate(parts))}


def _edges(values: Sequence[Floats]) -> Floats:
    """Return the edges of bins that all lines share, with 0 as one of them."""
    together = np.concatenate(values)
    low, high = np.percentile(together, _OUTLIERS)
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if low == high:
        low, high = -1.0, 1.0
    fewest = min(len(each) for each in values)
    n_bins = int(np.clip(2 * fewest ** (1 / 3) * 1.6, _FEWEST_BINS, _MOST_BINS))
    width = (high - low) / n_bins
    return width * np.arange(np.floor(low / width + 1e-9), np.ceil(high / width - 1e-9) + 1)


def _plot(
    elements: list[Element],
    data: list[tuple[str | float | None, ...]],
    title: str,
    axis: str,
    outlines: Sequence[_Outline],
    top: float,
) -> float:
    """Add a plot with a legend above it, and its data; return where it ends."""
    elements.append(Text(12, top + 14, cut(title, _WIDTH - 24, weight=600), weight=600))
    y = top + 18
    for each in outlines:
        y += _LINE
        elements.append(line((14, y - 4), (44, y - 4), each.colour, 2.2, series_dash(each.colour) or _dash(each)))
        words = f"{cut(each.name, 300, size=SMALL)}: {each.said}"
        elements.append(Text(52, y, words, "ink", SMALL))
    edges = _edges([each.values for each in outlines])
    shares = [_shares(each.values, edges) for each in outlines]
    most = 100 * max(float(each.max()) for each in shares)
    place = Box(_LEFT, y + 14, _RIGHT, y + 14 + _PLOT_HEIGHT)
    frame = Frame(
        place,
        linear_scale([float(edges[0]), float(edges[-1])], place.left, place.right, pad=0.02),
        Scale(0.0, 1.08 * most, place.bottom, place.top),
    )
    x_ticks, y_ticks = nice_ticks(frame.x, 8), nice_ticks(frame.y, 4)
    elements += frame_elements(
        frame,
        list(zip(x_ticks, tick_texts(x_ticks, sign=True), strict=True)),
        list(zip(y_ticks, (f"{text} %" for text in tick_texts(y_ticks)), strict=True)),
    )
    elements.append(line(frame.point(0, 0), (frame.x.place(0), place.top), "soft", 1.2))
    for each, share in reversed(list(zip(outlines, shares, strict=True))):
        dash = series_dash(each.colour) or _dash(each)
        steps = _steps(frame, edges, 100 * share)
        elements.append(polyline(steps, each.colour, 2.2 if each is outlines[0] else 1.6, dash))
    for each, share in zip(outlines, shares, strict=True):
        bins = zip(pairwise(edges.tolist()), share.tolist(), strict=True)
        data += [(title, each.name, low, high, found) for (low, high), found in bins]
    below = below_frame(frame) + 15
    elements.append(Text((place.left + place.right) / 2, below, axis, "soft", SMALL, "middle"))
    return below + 6


def _dash(each: _Outline) -> str:
    return "6 3" if each.colour == "none" else ""


def _shares(values: Floats, edges: Floats) -> Floats:
    """Return the share of values in each bin; values beyond the ends are in the first and the last."""
    inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
    return np.histogram(inside, edges)[0] / len(values)


def _steps(frame: Frame, edges: Floats, heights: Floats) -> list[tuple[float, float]]:
    points = [frame.point(float(edges[0]), 0.0)]
    for place, height in enumerate(heights):
        points += [frame.point(float(edges[place + side]), float(height)) for side in (0, 1)]
    return [*points, frame.point(float(edges[-1]), 0.0)]
