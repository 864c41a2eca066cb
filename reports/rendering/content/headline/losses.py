"""The largest losses in words, for the sentence of a headline: "1 of 4 accuracies fell, by 6.0 points"."""

import math
from collections.abc import Sequence

from reports.comparing.compare import Comparison
from reports.rendering.content.display import MINUS, cells
from reports.rendering.content.headline.facts import standing
from reports.rendering.content.headline.words import shortened

_MOST_KINDS = 2
_LONGEST_UNIT = 16
_KINDS = {"percent": ("accuracy", "accuracies"), "exp": ("perplexity", "perplexities"), "mean": ("measure", "measures")}
"""How a metric is shown -> what one and several of its kind are called."""
_SHARES = ("share", "shares")
"""What percentages are called of which more is not better."""


def loss_words(rows: Sequence[Comparison]) -> str:
    """Return how many of each kind of measure got worse and how far at most; empty if none did.

    Points of accuracy and percent of perplexity are not compared with each other, so the largest of each is told,
    accuracies first.
    """
    kinds: dict[tuple[str, bool | None], list[Comparison]] = {}
    for row in sorted(rows, key=lambda row: list(_KINDS).index(row.metric.display)):
        kinds.setdefault((row.metric.display, row.metric.higher_is_better), []).append(row)
    told = [_of_kind(of_kind) for of_kind in kinds.values() if any(standing(row) == "worse" for row in of_kind)]
    separator = ", and " if any("," in each for each in told) else " and "
    return separator.join(told[:_MOST_KINDS])


def _of_kind(rows: Sequence[Comparison]) -> str:
    """Return "perplexity rose by 5.0 %", or of several "2 of 4 perplexities rose, by up to 5.0 %"."""
    metric, worse = rows[0].metric, [row for row in rows if standing(row) == "worse"]
    one, several = _SHARES if metric.display == "percent" and not metric.higher_is_better else _KINDS[metric.display]
    moved = "fell" if metric.higher_is_better else "rose"
    amount = _largest(worse)
    if len(rows) == 1:
        return f"{one} {moved} {amount}"
    n_worse = f"all {len(rows):,}" if len(worse) == len(rows) else f"{len(worse):,} of {len(rows):,}"
    return f"{n_worse} {several} {moved}, {amount}"


def _largest(rows: Sequence[Comparison]) -> str:
    """Return "by 6.0 points", or of several rows "by up to 6.0 points"."""
    largest = max(rows, key=lambda row: abs(cells(row).difference_number or 0.0))
    shown = cells(largest)
    if not math.isfinite(shown.difference_number or 0.0):
        return "beyond measure"
    amount = shown.difference.strip(f"+{MINUS}")
    if largest.metric.display == "percent":
        amount = amount.removesuffix("pp") + "points"
    elif largest.metric.display == "mean":
        amount = f"{amount} {shortened(shown.unit, _LONGEST_UNIT)}".rstrip()
    return f"by {'up to ' if len(rows) > 1 else ''}{amount}"
