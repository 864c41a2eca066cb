"""The largest losses in words, for the sentence of a headline: "accuracy fell by up to 6.0 points"."""

import math
from collections.abc import Sequence

from reports.comparing.compare import Comparison
from reports.rendering.content.display import MINUS, cells
from reports.rendering.content.headline.facts import standing
from reports.rendering.content.headline.words import listed, shortened

_MOST_KINDS = 2
_LONGEST_UNIT = 16


def loss_words(rows: Sequence[Comparison]) -> str:
    """Return how far what got worse moved at most, a part for each kind of measure; empty if nothing got worse.

    Points of accuracy and percent of perplexity are not compared with each other, so the largest of each is told,
    accuracies first.
    """
    kinds: dict[str, list[Comparison]] = {}
    for row in sorted(rows, key=lambda row: ("percent", "exp", "mean").index(row.metric.display)):
        if standing(row) == "worse":
            kinds.setdefault(_what(row), []).append(row)
    return listed([_of_kind(what, of_kind) for what, of_kind in kinds.items()][:_MOST_KINDS])


def _what(row: Comparison) -> str:
    """Return "perplexity rose", "accuracy fell" and so on."""
    names = {
        "percent": "accuracy" if row.metric.higher_is_better else "a share",
        "exp": "perplexity",
        "mean": "another measure",
    }
    return f"{names[row.metric.display]} {'fell' if row.metric.higher_is_better else 'rose'}"


def _of_kind(what: str, rows: Sequence[Comparison]) -> str:
    largest = max(rows, key=lambda row: abs(cells(row).difference_number or 0.0))
    shown = cells(largest)
    if not math.isfinite(shown.difference_number or 0.0):
        return f"{what} beyond measure"
    amount = shown.difference.strip(f"+{MINUS}")
    if largest.metric.display == "percent":
        amount = amount.removesuffix("pp") + "points"
    elif largest.metric.display == "mean":
        amount = f"{amount} {shortened(shown.unit, _LONGEST_UNIT)}".rstrip()
    return f"{what} by {'up to ' if len(rows) > 1 else ''}{amount}"
