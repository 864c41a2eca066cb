"""Turns example scores into the scores of a metric; a missing number becomes a reason, never 0."""

from collections.abc import Iterable
from math import isfinite

from reports.records import ExampleScore, Metric, MetricScores


def metric_scores(metric: Metric, subject: str, scores: Iterable[ExampleScore]) -> MetricScores:
    """Returns the scores of a metric, or the reason why there are none."""
    rows = tuple(scores)
    if not rows:
        return MetricScores(metric, subject, (), missing="no examples")
    n_broken = sum(not isfinite(score.total) for score in rows)
    if n_broken:
        return MetricScores(metric, subject, (), missing=f"not a finite number in {n_broken} of {len(rows)} examples")
    return MetricScores(metric, subject, rows)


def metric_value(metric: Metric, subject: str, value: float) -> MetricScores:
    """Returns a metric that is no sum over examples by a count, or the reason why it has no value."""
    if not isfinite(value):
        return MetricScores(metric, subject, (), missing="not a finite number")
    return MetricScores(metric, subject, (), value=value)
