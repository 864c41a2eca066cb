"""Turns example scores into the scores of a metric; a number that is not finite becomes a reason, never a score."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from math import isfinite

from reports.records import ExampleScore, Metric, MetricScores


def metric_scores(metric: Metric, subject: str, scores: Iterable[ExampleScore]) -> MetricScores:
    """Returns the scores of a metric, or the reason why there are none."""
    rows = tuple(scores)
    if not rows:
        return MetricScores(metric, subject, (), missing="no examples")
    n_broken = sum(not (isfinite(score.total) and isfinite(score.count)) for score in rows)
    if n_broken:
        return not_finite(metric, subject, f"not a finite number in {n_broken} of {len(rows)} examples")
    return MetricScores(metric, subject, rows)


def not_finite(metric: Metric, subject: str, reason: str) -> MetricScores:
    """Returns a metric that has no value because numbers of the subject are NaN or infinite."""
    return MetricScores(metric, subject, (), missing=reason, is_finite=False)


def part_of(whole: MetricScores, metric: Metric, example_ids: AbstractSet[str]) -> MetricScores:
    """Returns a metric over some examples of another one; it is missing for the same reason where that is missing."""
    if whole.missing is not None:
        return replace(whole, metric=metric)
    return metric_scores(metric, whole.subject, (each for each in whole.scores if each.example_id in example_ids))


def metric_value(metric: Metric, subject: str, value: float) -> MetricScores:
    """Returns a metric that is no sum over examples by a count, or the reason why it has no value."""
    if not isfinite(value):
        return not_finite(metric, subject, "not a finite number")
    return MetricScores(metric, subject, (), value=value)
