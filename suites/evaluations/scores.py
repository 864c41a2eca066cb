"""Turns example scores into the scores of a metric; a number that is not finite becomes a reason, never a score."""

from dataclasses import replace
from math import isfinite

import numpy as np

from reports.records import Metric, MetricScores
from reports.scores import ExampleScores, Texts


def metric_scores(metric: Metric, subject: str, scores: ExampleScores) -> MetricScores:
    """Returns the scores of a metric, or the reason why there are none."""
    if not scores:
        return MetricScores(metric, subject, scores, missing="no examples")
    n_broken = len(scores.not_finite)
    if n_broken:
        return not_finite(metric, subject, f"not a finite number in {n_broken} of {len(scores)} examples")
    return MetricScores(metric, subject, scores)


def not_finite(metric: Metric, subject: str, reason: str) -> MetricScores:
    """Returns a metric that has no value because numbers of the subject are NaN or infinite."""
    return MetricScores(metric, subject, ExampleScores.of(()), missing=reason, is_finite=False)


def part_of(whole: MetricScores, metric: Metric, example_ids: Texts) -> MetricScores:
    """Returns a metric over some examples of another one; it is missing for the same reason where that is missing."""
    if whole.missing is not None:
        return replace(whole, metric=metric)
    import pyarrow.compute as pc

    where = np.asarray(pc.is_in(whole.scores.examples.ids, example_ids))
    return metric_scores(metric, whole.subject, whole.scores.part(where))


def metric_value(metric: Metric, subject: str, value: float) -> MetricScores:
    """Returns a metric that is no sum over examples by a count, or the reason why it has no value."""
    if not isfinite(value):
        return not_finite(metric, subject, "not a finite number")
    return MetricScores(metric, subject, ExampleScores.of(()), value=value)
