"""Example scores into the scores of a metric: what is not a number becomes a reason, never 0."""

from collections.abc import Iterable
from math import isfinite

from reports.records import ExampleScore, Metric, MetricScores


def metric_scores(metric: Metric, subject: str, scores: Iterable[ExampleScore]) -> MetricScores:
    """The scores of a metric, or the reason why there are none."""
    kept = tuple(scores)
    if not kept:
        return MetricScores(metric, subject, (), missing="no examples")
    n_broken = sum(not isfinite(score.total) for score in kept)
    if n_broken:
        return MetricScores(metric, subject, (), missing=f"not a finite number in {n_broken} of {len(kept)} examples")
    return MetricScores(metric, subject, kept)


def metric_value(metric: Metric, subject: str, value: float) -> MetricScores:
    """A number that is not a sum over examples by a count, or the reason why there is none."""
    if not isfinite(value):
        return MetricScores(metric, subject, (), missing="not a finite number")
    return MetricScores(metric, subject, (), value=value)
