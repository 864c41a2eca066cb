"""One metric of all subjects over the same examples, paired by example id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reports.comparing.inference import PairedSums
from reports.comparing.statistics import Floats, ratio
from reports.errors import UserError
from reports.records import ExampleScore, Metric, MetricScores, without_nan

OUTCOMES = (0.0, 0.5, 1.0)
"""Totals of an example that is lost, tied or won; exact bounds hold for these alone."""


class UnpairedExamplesError(UserError):
    """Two subjects of one metric were not measured on the same examples."""


@dataclass(frozen=True, slots=True, eq=False)
class MetricTable:
    """The scores of a metric, a column for each subject and a row for each example, in the order of example ids."""

    metric: Metric
    examples: tuple[tuple[str, str], ...]
    """(example id, group) of each row; empty if no subject has scores by example."""
    groups: tuple[str, ...]
    """Names of the groups, sorted."""
    group_of: NDArray[np.int64]
    """Position in `groups` of each row's group, shape (n_examples,)."""
    totals: Mapping[str, Floats]
    """Subject with scores by example -> their totals, shape (n_examples,)."""
    counts: Mapping[str, Floats]
    """The same subjects -> the counts of their scores, shape (n_examples,)."""
    values: Mapping[str, float | None]
    """Subject -> sum(total) / sum(count), or its value where it has no scores by example."""
    reasons: Mapping[str, str]
    """Subject without scores by example -> why it has none."""

    def sums(self, candidate: str, baseline: str | None) -> PairedSums | None:
        """Return the sums by group of two subjects, or None if one of them has no scores by example.

        Args:
            candidate: Name of a subject.
            baseline: Name of another one; None is the value that the metric has by definition.
        """
        if candidate not in self.totals or (baseline is not None and baseline not in self.totals):
            return None
        totals, counts = (
            _by_group(self.group_of, self.totals[candidate]),
            _by_group(self.group_of, self.counts[candidate]),
        )
        if baseline is None:
            known = (self.metric.chance or 0.0) * counts
            return PairedSums(totals, counts, known, counts, True, self._has_outcomes(candidate), False)
        return PairedSums(
            candidate_totals=totals,
            candidate_counts=counts,
            baseline_totals=_by_group(self.group_of, self.totals[baseline]),
            baseline_counts=_by_group(self.group_of, self.counts[baseline]),
            by_definition=False,
            is_outcomes=self._has_outcomes(candidate) and self._has_outcomes(baseline),
            identical=np.array_equal(self.totals[candidate], self.totals[baseline])
            and np.array_equal(self.counts[candidate], self.counts[baseline]),
        )

    def _has_outcomes(self, subject: str) -> bool:
        """Whether every example is one outcome of 0, 0.5 or 1."""
        return bool(np.isin(self.totals[subject], OUTCOMES).all() and (self.counts[subject] == 1).all())


def metric_table(measurements: Sequence[MetricScores]) -> MetricTable:
    """Pair the measurements of one metric by example id.

    Raises:
        UnpairedExamplesError: Two subjects have different examples, or one has an example twice.
    """
    metric = measurements[0].metric
    scores: dict[str, list[ExampleScore]] = {}
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for each in map(without_nan, measurements):
        values[each.subject] = None if each.scores else each.value
        if not each.scores:
            is_value = each.value is not None
            reasons[each.subject] = each.missing or ("not a sum over examples" if is_value else "no examples")
        elif sum(score.count for score in each.scores) > 0:
            scores[each.subject] = _in_order(each)
        else:
            reasons[each.subject] = "the counts of its examples sum to 0"
    examples = {name: tuple((score.example_id, score.group) for score in own) for name, own in scores.items()}
    _check_same_examples(metric, examples)
    columns = next(iter(examples.values()), ())
    groups = sorted({group for _, group in columns})
    positions = {group: position for position, group in enumerate(groups)}
    group_of = np.array([positions[group] for _, group in columns], dtype=np.int64)
    totals = {name: np.array([each.total for each in own], dtype=np.float64) for name, own in scores.items()}
    counts = {name: np.array([each.count for each in own], dtype=np.float64) for name, own in scores.items()}
    values |= {name: ratio(_by_group(group_of, totals[name]), _by_group(group_of, counts[name])) for name in scores}
    return MetricTable(
        metric=metric,
        examples=columns,
        groups=tuple(groups),
        group_of=group_of,
        totals=totals,
        counts=counts,
        values=values,
        reasons=reasons,
    )


def _by_group(group_of: NDArray[np.int64], scores: Floats) -> Floats:
    """Return sums by group, shape (n_groups,)."""
    return np.bincount(group_of, scores).astype(np.float64)


def _in_order(measurement: MetricScores) -> list[ExampleScore]:
    """Return the scores in the order of their ids.

    Raises:
        UnpairedExamplesError: Two of them have the same id.
    """
    scores = sorted(measurement.scores, key=lambda score: score.example_id)
    for one, other in pairwise(scores):
        if one.example_id == other.example_id:
            name = f"{measurement.metric.evaluation} {measurement.metric.name}"
            raise UnpairedExamplesError(f"{name}: {measurement.subject} has the example {one.example_id} twice")
    return scores


def _check_same_examples(metric: Metric, examples: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    for pair in pairwise(examples):
        for name, other in (pair, pair[::-1]):
            lacking = sorted(set(examples[other]) - set(examples[name]))
            if lacking:
                raise UnpairedExamplesError(
                    f"{metric.evaluation} {metric.name}: {name} lacks {len(lacking)} of the examples of {other} "
                    f"(by id and group): {', '.join(example_id for example_id, _ in lacking[:3])}"
                )
