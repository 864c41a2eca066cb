"""Pictures of a run as SVG: differences with their intervals, training curves, reward margins, examples in pairs.

A picture refers to its colours by name (`var(--ink)`, ...), and the page defines them, so that one picture serves a
light and a dark page.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from reports.comparing.compare import Comparison, Outcome
from reports.comparing.statistics import Floats
from reports.records import Metric, MetricScores, Run, without_nan
from reports.rendering.content.display import cells, label
from reports.rendering.content.sections.training import Rows

REWARD_MARGIN = "reward_margin"
"""The metric whose examples are shown as a histogram."""
MOST_POINTS = 500
"""Most examples in a scatter plot; ids are hashes, so that the first ones by id are a random sample."""
MOST_BUBBLES = 9
"""Most different points that are drawn as bubbles with their numbers of examples."""
N_SERIES = 8
"""Number of colours for candidates; with more candidates, colours repeat."""

_COLOURS = {
    "paper": "#0a0b00",
    "ink": "#0a0b01",
    "faint": "#0a0b02",
    "rule": "#0a0b03",
    "better": "#0a0b04",
    "worse": "#0a0b05",
    **{f"series-{place}": f"#0a0b1{place}" for place in range(N_SERIES)},
}
"""Name in the picture -> placeholder colour while matplotlib draws."""
_OF_OUTCOME: dict[Outcome, str] = {"better": "better", "worse": "worse"}
_MARGINS = "rewards/margins"
_CURVES = {"rewards/accuracies": "Reward accuracy", _MARGINS: "Reward margin (nats)"}
"""Field that only rows of training on pairs have -> words."""
_KINDS = {"train": ("-", 1.5), "selection": ("o:", 1.0)}
"""Kind of a training row -> style and width of its line."""
_UNITS = {"pp": "percentage points", "%": "percent"}

_WIDTH = 360
"""Width of a picture in pixels at its own size, as on a narrow screen."""
_MARGIN = 8
_LINE = 36
"""Height of a line of a forest plot in pixels."""
_STYLE: dict[Any, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reports",
    "text.parse_math": False,
    "font.size": 9.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": _COLOURS["ink"],
    "axes.edgecolor": _COLOURS["rule"],
    "axes.labelcolor": _COLOURS["faint"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.color": _COLOURS["rule"],
    "ytick.color": _COLOURS["rule"],
    "xtick.labelcolor": _COLOURS["faint"],
    "ytick.labelcolor": _COLOURS["faint"],
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, with its title and note as plain text."""

    title: str
    svg: str
    note: str = ""
    candidates: tuple[str, ...] = ()
    """Candidates that the picture shows in their colours."""


def series(run: Run) -> dict[str, str]:
    """Map each candidate to the name of its colour in every picture."""
    return {subject.name: f"series-{place % N_SERIES}" for place, subject in enumerate(run.candidates)}


def forest_plots(comparisons: Sequence[Comparison]) -> list[Picture]:
    """Return differences of primary metrics with intervals: a picture a metric, or a unit if there is one candidate."""
    rows = [row for row in comparisons if row.primary and row.difference is not None]
    several = len({row.candidate for row in rows}) > 1
    panels: dict[str, list[Comparison]] = {}
    for row in rows:
        panels.setdefault(label(row.metric) if several else f"In {_unit(row)}", []).append(row)
    return [
        Picture(title, _forest([(row.candidate if several else label(row.metric), row) for row in panel]))
        for title, panel in panels.items()
    ]


def training_curves(run: Run) -> list[Picture]:
    """Return what training logged: one picture a field, with lines for training rows and dots for selection rows.

    If some candidates were trained on pairs and others were not (SFT), their losses are not on one scale, so the latter
    have a picture of their own.
    """
    on_pairs = {row.get("candidate") for row in run.training if row.get("kind") == "train" and _MARGINS in row}

    def is_apart(row: Mapping[str, Any]) -> bool:
        return bool(on_pairs) and row.get("kind") == "train" and row.get("candidate") not in on_pairs

    panels = [
        ("loss", "Loss", [row for row in run.training if not is_apart(row)]),
        ("loss", "Loss of SFT", [row for row in run.training if is_apart(row)]),
    ]
    panels += [(field, title, list(run.training)) for field, title in _CURVES.items()]
    return [
        _curves(title, field, logged, series(run))
        for field, title, rows in panels
        if (logged := [row for row in rows if row.get(field) is not None and row.get("kind") in _KINDS])
    ]


def _curves(title: str, field: str, rows: Rows, colours: Mapping[str, str]) -> Picture:
    names = list(dict.fromkeys(row.get("candidate", "") for row in rows))

    def draw(axes: Any) -> None:
        for name in names:
            for kind, (style, width) in _KINDS.items():
                logged = [row for row in rows if row.get("candidate", "") == name and row["kind"] == kind]
                steps, values = [row["step"] for row in logged], [row[field] for row in logged]
                axes.plot(steps, values, style, color=_COLOURS[colours.get(name, "series-0")], linewidth=width)
        axes.set_xlabel("step")
        axes.xaxis.get_major_locator().set_params(integer=True)

    return Picture(title, _svg(210, draw), "Lines: training rows. Dots: selection rows.", tuple(names))


def margin_histograms(run: Run) -> list[Picture]:
    """Return histograms of the reward margins of pairs: one picture an evaluation, one outline a candidate."""
    colours = series(run)
    by_evaluation: dict[str, dict[str, Floats]] = {}
    for measurement in map(without_nan, run.measurements):
        if measurement.metric.name == REWARD_MARGIN and measurement.subject in colours and measurement.scores:
            of_subject = by_evaluation.setdefault(measurement.metric.evaluation, {})
            of_subject[measurement.subject] = np.array([score.total for score in measurement.scores])

    def draw(axes: Any, margins: Mapping[str, Floats]) -> None:
        together = np.concatenate(list(margins.values()))
        n_bins = int(np.clip(math.sqrt(len(together) / len(margins)), 8, 60))
        edges = np.histogram_bin_edges(together, n_bins)
        for name, values in margins.items():
            axes.stairs(np.histogram(values, edges)[0], edges, color=_COLOURS[colours[name]], linewidth=1.5)
        axes.axvline(0, color=_COLOURS["faint"], linewidth=1)
        axes.set(xlabel="reward margin (nats)", ylabel="pairs")

    return [
        Picture(
            evaluation,
            _svg(220, partial(draw, margins=margins)),
            "Right of the line: the chosen answer is preferred.",
            tuple(margins),
        )
        for evaluation, margins in by_evaluation.items()
    ]


def scatters(run: Run, candidate: str) -> list[Picture]:
    """Return scatter plots of baseline and candidate by example: one for each primary metric that both have."""
    sides: dict[Metric, dict[str, MetricScores]] = {}
    for measurement in run.measurements:
        if measurement.metric.primary and measurement.subject in (run.baseline.name, candidate):
            sides.setdefault(measurement.metric, {})[measurement.subject] = measurement
    pictures = []
    for metric, measured in sides.items():
        points = _points([measured[name] for name in (run.baseline.name, candidate) if name in measured])
        if len(points):
            above, below = int((points[:, 1] > points[:, 0]).sum()), int((points[:, 1] < points[:, 0]).sum())
            note = f"Of {len(points):,} examples {above:,} lie above the line, {below:,} below it."
            if len(points) > MOST_POINTS and not _are_bubbles(points):
                note += f" A random {MOST_POINTS:,} are drawn."
            svg = _svg(300, partial(_scatter, points=points, unit=metric.unit, candidate=candidate))
            pictures.append(Picture(label(metric), svg, note))
    return pictures


def _unit(row: Comparison) -> str:
    unit = cells(row).unit
    return _UNITS.get(unit, unit)


def _forest(rows: Sequence[tuple[str, Comparison]]) -> str:
    """Return a forest plot with one line a row: name and numbers as text, and the interval below."""

    def draw(axes: Any) -> None:
        for place, (name, row) in enumerate(rows):
            text = cells(row)
            colour = _COLOURS[_OF_OUTCOME.get(row.outcome, "faint")]
            if text.low is not None and text.high is not None and math.isfinite(text.low + text.high):
                axes.plot([text.low, text.high], [place, place], color=colour, linewidth=2)
            hollow = "none" if row.interval is None else colour
            axes.plot([text.difference_number], [place], "o", color=colour, markersize=6, markerfacecolor=hollow)
            interval = f" {text.interval}" if row.interval else ""
            for x, words, alignment in ((0, _clipped(name), "left"), (1, f"{text.difference}{interval}", "right")):
                place_of_text = {"ha": alignment, "va": "bottom", "transform": axes.get_yaxis_transform()}
                behind = {"facecolor": _COLOURS["paper"], "edgecolor": "none", "pad": 1}
                axes.text(x, place - 0.26, words, **place_of_text, bbox=behind)
        axes.margins(x=0.1)
        axes.axvline(0, color=_COLOURS["ink"], linewidth=1, zorder=0.5)
        axes.set(xlabel=f"difference ({_unit(rows[0][1])})", ylim=(len(rows) - 0.6, -0.95))
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])

    return _svg(_LINE * len(rows) + 56, draw)


def _clipped(name: str, longest: int = 38) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}\u2026"


def _points(both: Sequence[MetricScores]) -> Floats:
    """Return the values of baseline and candidate by example id, shape (n, 2); no rows if one of them is missing."""
    values = [
        {score.example_id: score.total / score.count for score in each.scores if score.count}
        for each in map(without_nan, both)
    ]
    if len(values) < 2:  # noqa: PLR2004 - two sides
        return np.empty((0, 2))
    baseline, candidate = values
    ids = sorted(baseline.keys() & candidate.keys())
    return np.array([(baseline[each], candidate[each]) for each in ids]).reshape(-1, 2)


def _are_bubbles(points: Floats) -> bool:
    return len(np.unique(points, axis=0)) <= MOST_BUBBLES


def _scatter(axes: Any, points: Floats, unit: str, candidate: str) -> None:
    low, high = float(points.min()), float(points.max())
    pad = 0.06 * (high - low) or 0.5
    if _are_bubbles(points):
        places, n_examples = np.unique(points, axis=0, return_counts=True)
        pad *= 3
        axes.scatter(*places.T, s=900 * n_examples / n_examples.max(), color=_COLOURS["series-0"], alpha=0.35, lw=0)
        for (x, y), n in zip(places, n_examples, strict=True):
            axes.text(x, y, f"{n:,}", ha="center", va="center")
    else:
        drawn = points[:MOST_POINTS]
        axes.plot(*drawn.T, "o", markersize=5, color=_COLOURS["series-0"], alpha=0.55, markeredgewidth=0)
    limits = (low - pad, high + pad)
    axes.plot(limits, limits, color=_COLOURS["faint"], linewidth=1, zorder=0.5)
    axes.set(xlim=limits, ylim=limits, xlabel=f"baseline ({unit})", ylabel=_clipped(candidate))


def _svg(height: int, draw: Callable[[Any], None]) -> str:
    """Return a picture with named colours and without a fixed size; the text is the same for the same data."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    text = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # text stays text: the browser has the fonts
        layout = ConstrainedLayoutEngine(w_pad=_MARGIN / 72, h_pad=_MARGIN / 72)
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72, layout=layout)
        draw(figure.add_subplot())
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<svg ([^>]*)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r"<style[^>]*>[^<]*</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<text style="[^"]*?) ?font-family: [^;"]*;', r"\1", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(f": {colour}", f": var(--{name})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
