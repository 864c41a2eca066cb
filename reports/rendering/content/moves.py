"""How far each example moved from the baseline, or from what its metric has by definition, to a candidate."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.records import MetricScores, Run, without_nan
from reports.scores import ExampleScores, Floats, Positions, ScoredExamples

Measured = Mapping[tuple[str, str, str], MetricScores]
"""(evaluation, metric, subject) -> what was measured."""


@dataclass(frozen=True, eq=False)
class Moves:
    """The examples of a candidate's metric with their values on both sides, total / count; NaN where there is none."""

    examples: ScoredExamples
    before: Floats
    """Shape (n_examples,)."""
    after: Floats
    """Shape (n_examples,)."""

    @property
    def differences(self) -> Floats:
        """Candidate minus baseline, in the unit of the metric; shape (n_examples,)."""
        with np.errstate(over="ignore", invalid="ignore"):  # values may be infinite where numbers of a row are absurd
            return self.after - self.before

    def ranked(self) -> Positions:
        """Return the positions of the examples that moved, those that moved most first, and equal ones by id."""
        differences = self.differences[self.examples.order]
        moved = np.flatnonzero((differences != 0) & ~np.isnan(differences))
        return self.examples.order[moved[np.argsort(-np.abs(differences[moved]), kind="stable")]]


def measured_in(run: Run) -> Measured:
    """Return the measurements of a run by evaluation, metric and subject."""
    return {(one.metric.evaluation, one.metric.name, one.subject): one for one in run.measurements}


def moves(own: MetricScores, baseline: MetricScores | None) -> Moves:
    """Return the moves of a candidate on a metric.

    Args:
        own: What was measured of the candidate.
        baseline: What was measured of the baseline on the same metric; None if it was not measured.
    """
    scores, chance = without_nan(own).scores, own.metric.chance
    if chance is not None:
        before = np.full(len(scores), chance)
    elif baseline is None:
        before = np.full(len(scores), np.nan)
    else:
        before = _values_of(scores.examples, without_nan(baseline).scores)
    return Moves(scores.examples, before, scores.values)


def _values_of(examples: ScoredExamples, scores: ExampleScores) -> Floats:
    """Return the values that scores have for the examples; NaN for an example that is none of theirs."""
    if examples == scores.examples:
        return scores.values
    import pyarrow.compute as pc

    places = pc.index_in(examples.ids, scores.examples.ids)
    found = np.asarray(places.is_valid())
    values = np.full(len(examples), np.nan)
    values[found] = scores.values[np.asarray(places.drop_null())]
    return values
