"""Judges simulated differences by the code that reports use: `reports.comparing`, called with leading axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from judgements import MARGIN, Bools, Signs, claims
from populations import Differences, Floats

from reports.comparing.compare import ERROR_RATE
from reports.comparing.gates import failing_p
from reports.comparing.inference import PairedDifference
from reports.comparing.statistics import CONFIDENCE, holm
from reports.records import Metric

HIGHER_IS_BETTER, LOWER_IS_BETTER = (Metric("", "", "", higher_is_better=which) for which in (True, False))


@dataclass(frozen=True, eq=False)
class Family:
    """What a report says of a family of metrics."""

    drawn: Sequence[Differences]

    @cached_property
    def differences(self) -> list[PairedDifference]:
        """The shipped inference on each block of metrics."""
        return [_difference(block) for block in self.drawn]

    @cached_property
    def interval(self) -> tuple[Floats, Floats]:
        """Ends of the 95 % intervals."""
        low, high = zip(*(each.interval() for each in self.differences), strict=True)
        return _of_all(low), _of_all(high)

    @property
    def alone(self) -> Signs:
        """Claims of intervals that exclude 0."""
        return claims(*self.interval)

    @property
    def in_family(self) -> Signs:
        """Those of them that remain after correction."""
        p_values = _of_all([each.p_value() for each in self.differences])
        return np.where(holm(p_values) <= ERROR_RATE, self.alone, 0)

    @property
    def stops(self) -> Signs:
        """Stops of gates that allow no rise (1), or no fall (-1)."""
        n_results = sum(each.difference.shape[1] for each in self.differences)
        return _of_all([_stops(each, n_results) for each in self.differences])

    @property
    def unchanged(self) -> Bools:
        """Equivalence tests that remain after correction."""
        margins = [MARGIN * each.true_error for each in self.drawn]
        p_values = [each.equivalence_p(margin) for each, margin in zip(self.differences, margins, strict=True)]
        return holm(_of_all(p_values)) <= ERROR_RATE

    @property
    def covered(self) -> Bools:
        """Whether the true difference lies within."""
        low, high = self.interval
        truth = _of_all([each.truth for each in self.drawn])
        return (low <= truth) & (truth <= high)

    @property
    def has_interval(self) -> Bools:
        """Whether "cannot tell" is not said."""
        return ~np.isnan(self.interval[0])


def _difference(drawn: Differences) -> PairedDifference:
    difference = PairedDifference(
        candidate_totals=drawn.candidate_totals,
        candidate_counts=drawn.counts,
        baseline_totals=drawn.baseline_totals,
        baseline_counts=drawn.counts,
        by_definition=drawn.by_definition,
        is_outcomes=drawn.is_outcomes,
        over_seeds=drawn.is_recipe,
    )
    return replace(difference, lowest=-1.0, highest=1.0) if drawn.is_outcomes else difference


def _of_all(parts: Sequence[Floats]) -> Floats:
    """Returns the arrays of all blocks as one, shape (n_experiments, n_metrics)."""
    return np.concatenate(parts, axis=1)


def _stops(difference: PairedDifference, n_results: int) -> Signs:
    """Returns 1 where a gate stops that allows no rise, -1 where one does that allows no fall."""
    rate = min(ERROR_RATE / n_results, (1 - CONFIDENCE) / 2)
    of_rise, of_fall = (failing_p(difference, 0.0, metric) <= rate for metric in (LOWER_IS_BETTER, HIGHER_IS_BETTER))
    return of_rise.astype(np.int8) - of_fall.astype(np.int8)
