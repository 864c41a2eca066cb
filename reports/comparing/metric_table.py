"""One metric of all subjects over the same examples, paired by example id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reports.comparing.inference import PairedDifference
from reports.comparing.statistics import Floats, ratio
from reports.errors import UserError
from reports.records import Metric, MetricScores, without_nan
from reports.scores import ExampleScores, Positions, ScoredExamples

OUTCOMES = (0.0, 0.5, 1.0)
"""Totals of an example that is lost, tied or won; exact bounds hold for these alone."""


class UnpairedExamplesError(UserError):
    """Two subjects of one metric were not measured on the same examples."""


@dataclass(frozen=True, slots=True, eq=False)
class MetricTable:
    """A metric's sums by group, those of each subject over the same examples."""

    metric: Metric
    n_examples: int
    """0 if no subject has scores by example."""
    n_groups: int
    totals: Mapping[str, Floats]
    """Subject with scores by example -> the sums of their totals, in the order of the groups' names; (n_groups,)."""
    counts: Mapping[str, Floats]
    """The same subjects -> the sums of their counts, shape (n_groups,)."""
    of_outcomes: frozenset[str]
    """Subjects of which every example is one outcome of 0, 0.5 or 1."""
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
        totals, counts = self.totals[candidate], self.counts[candidate]
        known = self.metric.chance or 0.0
        is_share = self.metric.display == "percent"
        if baseline is None:
            return PairedDifference(
                *(totals, counts, known * counts, counts),
                by_definition=True,
                is_outcomes=candidate in self.of_outcomes,
                lowest=-known if is_share else -np.inf,
                highest=1 - known if is_share else np.inf,
            )
        return PairedDifference(
            *(totals, counts, self.totals[baseline], self.counts[baseline]),
            is_outcomes=self.of_outcomes.issuperset({candidate, baseline}),
            lowest=-1.0 if is_share else -np.inf,
            highest=1.0 if is_share else np.inf,
        )


def metric_table(measurements: Sequence[MetricScores]) -> MetricTable:
    """Pair the measurements of one metric by example id.

    Raises:
        UnpairedExamplesError: Two subjects have different examples, or one has an example twice.
    """
    metric = measurements[0].metric
    scores: dict[str, ExampleScores] = {}
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    finite = [without_nan(each) for each in measurements]
    for each in finite:
        values[each.subject] = None if each.scores else each.value
        if not each.scores:
            is_value = each.value is not None
            reasons[each.subject] = each.missing or ("not a sum over examples" if is_value else "no examples")
        elif each.scores.counts.sum() > 0:
            scores[each.subject] = each.scores
        else:
            reasons[each.subject] = "the counts of its examples sum to 0"
    _check_same_examples(metric, {name: own.examples for name, own in scores.items()})
    examples = next((own.examples for own in scores.values()), None)
    group_of = np.empty(0, np.int64) if examples is None else examples.group_numbers[examples.order]
    totals = {name: _by_group(group_of, own.totals[own.examples.order]) for name, own in scores.items()}
    counts = {name: _by_group(group_of, own.counts[own.examples.order]) for name, own in scores.items()}
    values |= {name: ratio(totals[name], counts[name]) for name in scores}
    return MetricTable(
        metric=metric,
        n_examples=0 if examples is None else len(examples),
        n_groups=0 if examples is None else examples.n_groups,
        totals=totals,
        counts=counts,
        of_outcomes=frozenset(name for name, own in scores.items() if _are_outcomes(own)),
        values=values,
        reasons=reasons,
        not_finite=frozenset(each.subject for each in finite if not each.is_finite),
    )


def _by_group(group_of: Positions, amounts: Floats) -> Floats:
    """Return sums by group, shape (n_groups,)."""
    return np.bincount(group_of, amounts).astype(np.float64)


def _are_outcomes(scores: ExampleScores) -> bool:
    """Whether every example is one outcome of 0, 0.5 or 1."""
    return bool(np.isin(scores.totals, OUTCOMES).all() and (scores.counts == 1).all())


def _check_same_examples(metric: Metric, examples: Mapping[str, ScoredExamples]) -> None:
    name_of_metric = f"{metric.evaluation} {metric.name}"
    for name, own in examples.items():
        if own.repeated_id is not None:
            raise UnpairedExamplesError(f"{name_of_metric}: {name} has the example {own.repeated_id} twice")
    for pair in pairwise(examples):
        if examples[pair[0]] == examples[pair[1]]:
            continue
        for name, other in (pair, pair[::-1]):
            lacking = examples[name].lacking(examples[other])
            if len(lacking):
                raise UnpairedExamplesError(
                    f"{name_of_metric}: {name} lacks {len(lacking)} of the examples of {other} "
                    f"(by id and group): {', '.join(lacking[:3].to_pylist())}"
                )
