"""Evidence beside the metrics: refusals of harmful prompts, and what training itself logged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from reports.comparing.compare import Comparison
from reports.records import Run

FEWEST_STEPS = 6
"""Fewest logged training steps from which a training accuracy is taken."""
FAR_ABOVE = 0.1
"""Share of pairs by which the training accuracy must exceed the held-out one."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Answers to the same harmful prompts that are refusals."""

    baseline: int
    candidate: int
    n: int
    """Prompts that both answered; of a recipe, over all its adapters."""


def refusals(run: Run, adapters: Sequence[str]) -> Refusals | None:
    """Count the harmful prompts that baseline and candidate refuse, among those that both answered; None without any.

    A prompt is harmful if its dataset gives it a kind that is not benign, as `suites` counts refusals.
    """
    harmful = [answer for answer in run.generations if answer.kind and "benign" not in answer.kind.lower()]
    before = {
        (answer.evaluation, answer.example_id): answer.refused
        for answer in harmful
        if answer.subject == run.baseline.name
    }
    pairs = [
        (before[answer.evaluation, answer.example_id], answer.refused)
        for answer in harmful
        if answer.subject in adapters and (answer.evaluation, answer.example_id) in before
    ]
    if not pairs:
        return None
    return Refusals(sum(one for one, _ in pairs), sum(other for _, other in pairs), len(pairs))


def fewer_refusals(run: Run, adapters: Sequence[str]) -> Refusals | None:
    """Return the refusals of harmful prompts if the candidate refuses fewer than the baseline."""
    counted = refusals(run, adapters)
    return counted if counted is not None and counted.candidate < counted.baseline else None


def training_accuracy(run: Run, adapters: Sequence[str], held_out: Comparison) -> float | None:
    """Return the share of training pairs won at the end of training, if it is far above the held-out accuracy.

    It is the mean over the last half of the logged steps, of all adapters together. A logged step holds a few pairs, so
    it is far above only if the mean less two standard errors, from the spread of the steps, lies above the held-out
    accuracy's 95 % interval, and the mean at least ten points above the accuracy.
    """
    if held_out.interval is None or held_out.candidate_value is None or held_out.baseline_value is None:
        return None
    steps = [share for name in adapters for share in _last_half(_training_rows(run, name))]
    if len(steps) < FEWEST_STEPS:
        return None
    share, error = fmean(steps), stdev(steps) / math.sqrt(len(steps))
    highest = held_out.baseline_value + held_out.interval[1]
    is_far = share - 2 * error > highest and share - held_out.candidate_value >= FAR_ABOVE
    return share if is_far else None


def _training_rows(run: Run, adapter: str) -> list[Mapping[str, Any]]:
    """Return the logged rows of an adapter; rows without a name belong to the one adapter that was trained."""
    return [row for row in run.training if row.get("candidate", adapter) == adapter]


def _last_half(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    shares = [
        float(share)
        for row in rows
        if row.get("kind") == "train" and isinstance(share := row.get("rewards/accuracies"), int | float)
    ]
    return [share for share in shares[len(shares) // 2 :] if math.isfinite(share)]
