"""One metric of all subjects over the same examples, paired by example id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reports.comparing.inference import PairedDifference
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
    not_finite: frozenset[str]
    """Subjects of which some number is NaN or infinite."""

    def paired(self, candidate: str, baseline: str | None) -> PairedDifference | None:
        """Return the paired difference of two subjects, or None if one of them has no scores by example.

        Args:
            candidate: Name of a subject.
            baseline: Name of another one; None is the value that the metric has by definition.
        """
        if candidate not in self.totals or (baseline is not None and baseline not in self.totals):
            return None
        totals, counts = self._sums(candidate)
        known = self.metric.chance or 0.0
        is_share = self.metric.display == "percent"
        if baseline is None:
            return PairedDifference(
                *(totals, counts, known * counts, counts),
                by_definition=True,
                is_outcomes=self._has_outcomes(candidate),
                lowest=-known if is_share else -np.inf,
                highest=1 - known if is_share else np.inf,
            )
        return PairedDifference(
            *(totals, counts, *self._sums(baseline)),
            is_outcomes=self._has_outcomes(candidate) and self._has_outcomes(baseline),
            lowest=-1.0 if is_share else -np.inf,
            highest=1.0 if is_share else np.inf,
        )

    def _sums(self, subject: str) -> tuple[Floats, Floats]:
        """Return totals and counts by group."""
        return _by_group(self.group_of, self.totals[subject]), _by_group(self.group_of, self.counts[subject])

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
    finite = [without_nan(each) for each in measurements]
    for each in finite:
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
        not_finite=frozenset(each.subject for each in finite if not each.is_finite),
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
