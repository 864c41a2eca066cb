"""Calibration of the implicit reward: how sure it is that one answer is preferred, and how often it is right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reports.records import Run, without_nan
from reports.rendering.content.display import number
from reports.rendering.pictures.candidates import recipe_of, recipes_in_order
from reports.rendering.pictures.drawing.elements import Box, Element, Group, Text, disc, line, picture_markup, polyline
from reports.rendering.pictures.drawing.frames import Frame, below_frame, frame_elements
from reports.rendering.pictures.drawing.lettering import SMALL, cut
from reports.rendering.pictures.drawing.scales import Scale
from reports.rendering.pictures.margins import REWARD_MARGIN
from reports.rendering.pictures.picture import Picture
from reports.scores import ExampleScores, Floats, Positions, one_by_one

FEWEST_PAIRS = 20
"""Fewest pairs of a run whose calibration is drawn."""

_MOST_BINS = 8
_PAIRS_A_BIN = 20
_Z = 1.959964
"""Two-sided 95 % point of the normal distribution."""
_WIDTH = 640.0
_PLACE = Box(62, 44, 624, 300)
_HEADER = ("subject", "bin", "pairs", "groups", "mean stated probability", "share right", "low", "high")


@dataclass(frozen=True, slots=True)
class _Bin:
    """Pairs of which the reward is about equally sure."""

    n: int
    n_groups: int
    stated: float
    """Mean probability that the reward gives to the answer it prefers: sigmoid(|margin|)."""
    right: float
    """Share of pairs in which that is the chosen answer; a tie counts half."""
    low: float
    high: float


def calibration_picture(run: Run) -> Picture | None:
    """Return the reliability curve of the headline's candidate; None without margins of at least 20 pairs.

    Of Bradley and Terry's model, which DPO fits, a margin m states that the chosen answer is preferred with the
    probability sigmoid(m). In every held-out pair it was, so the curve takes both answers alike: the answer of the
    higher reward is stated to be the preferred one with sigmoid(|m|), and is right where m is positive.
    """
    name, scores = _scores(run)
    if len(scores) < FEWEST_PAIRS:
        return None
    bins = reliability(scores)
    stated = math.fsum(each.n * each.stated for each in bins) / len(scores)
    right = math.fsum(each.n * each.right for each in bins) / len(scores)
    title = "Calibration of the implicit reward"
    summary = (
        f"{name}: on average it states {number(100 * stated, 1)} % and is right in {number(100 * right, 1)} % of "
        f"{len(scores):,} pairs"
    )
    note = (
        f"{summary}. Across: the probability that its reward margin states, sigmoid(|margin|), in bins of equally many "
        "pairs. Up: the share in which the answer it prefers is the chosen one. Above the dashed line it is right more "
        "often than it states, below less often. Lines: 95 % intervals (Wilson), a prompt counted once."
    )
    elements = _drawn(bins, name)
    height = _PLACE.bottom + 66
    data = tuple(
        (name, place, each.n, each.n_groups, each.stated, each.right, each.low, each.high)
        for place, each in enumerate(bins, start=1)
    )
    return Picture("calibration", title, picture_markup(_WIDTH, height, title, summary, elements), note, _HEADER, data)


def _scores(run: Run) -> tuple[str, ExampleScores]:
    """Return the first adapter, in the order of recipes, that has reward margins, and these."""
    margins = {
        each.subject: each.scores
        for each in map(without_nan, reversed(run.measurements))
        if each.metric.name == REWARD_MARGIN and each.scores
    }
    for recipe in recipes_in_order(run):
        for subject in run.candidates:
            if recipe_of(run, subject.name) == recipe and subject.name in margins:
                return subject.name, margins[subject.name]
    return "", ExampleScores.of(())


def reliability(scores: ExampleScores) -> list[_Bin]:
    """Return pairs in bins of about equal size by how sure the reward is, at most 8, equal margins together."""
    order = np.argsort(np.abs(scores.totals), kind="stable")
    margins, groups = scores.totals[order], scores.examples.group_numbers[order]
    n, sizes = len(order), np.abs(margins)
    n_bins = max(1, min(_MOST_BINS, n // _PAIRS_A_BIN))
    cuts = [int(np.searchsorted(sizes, sizes[n * place // n_bins])) for place in range(1, n_bins)]
    return [_bin(margins[start:end], groups[start:end]) for start, end in pairwise(sorted({0, *cuts, n}))]


def _bin(margins: Floats, groups: Positions) -> _Bin:
    n, n_groups = len(margins), len(np.unique(groups))
    stated = math.fsum(1 / (1 + math.exp(-min(abs(margin), 700.0))) for margin in one_by_one(margins)) / n
    right = float(np.count_nonzero(margins > 0) + np.count_nonzero(margins == 0) / 2) / n
    return _Bin(n, n_groups, stated, right, *_wilson(right, n_groups))


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Return both ends of the 95 % interval of a share (Wilson 1927)."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _drawn(bins: Sequence[_Bin], name: str) -> list[Element]:
    place = _PLACE
    widest = max(0.55, *(each.stated for each in bins))
    lowest = min(0.4, *(each.low for each in bins))
    x = Scale(49.5, min(100.5, 100 * widest + 0.08 * (100 * widest - 50) + 1), place.left, place.right)
    frame = Frame(place, x, Scale(math.floor(10 * lowest) * 10, 101, place.bottom, place.top))
    x_step = next(step for step in (1, 2, 5, 10) if (x.high - 50) / step <= 8)  # noqa: PLR2004 - most ticks
    elements: list[Element] = [
        Text(12, 16, cut(name, _WIDTH - 24, weight=600), weight=600),
        *frame_elements(
            frame,
            [(float(tick), f"{tick} %") for tick in range(50, int(x.high) + 1, x_step)],
            [(float(tick), f"{tick} %") for tick in range(int(frame.y.low), 101, 10)],
        ),
        polyline([frame.point(50, 50), frame.point(x.high, x.high)], "soft", 1.4, "5 4"),
        polyline([frame.point(100 * each.stated, 100 * each.right) for each in bins], "series-0", 1.4),
    ]
    for each in bins:
        at = 100 * each.stated
        told = (
            f"states {number(at, 1)} %, right in {number(100 * each.right, 1)} % of {each.n:,} pairs, "
            f"{each.n_groups:,} groups"
        )
        interval = line(frame.point(at, 100 * each.low), frame.point(at, 100 * each.high), "series-0", 1.4)
        elements.append(Group(told, (interval, disc(frame.point(at, 100 * each.right), 4.5, "series-0"))))
    below = below_frame(frame) + 15
    centre = (place.left + place.right) / 2
    elements.append(Text(12, 33, "share in which the answer it prefers is the chosen one", "soft", SMALL))
    elements.append(Text(centre, below, "probability that the reward margin states", "soft", SMALL, "middle"))
    counts = [each.n for each in bins]
    n = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    elements.append(
        Text(centre, below + 16, f"{n} pairs a dot; dashed: as sure as it is right", "soft", SMALL, "middle")
    )
    return elements
