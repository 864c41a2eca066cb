"""Pair subjects by example id: measurements in, one `Comparison` for each candidate and metric out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from reports.comparing.inference import Inference, PairedSums, infer
from reports.comparing.statistics import Floats, Interval, holm, ratio
from reports.records import Metric, MetricScores, Run, SubjectKind, without_nan

Against = Literal["baseline", "definition", "ruler", "candidate"]
Outcome = Literal["better", "worse", "higher", "lower", "unclear", "no interval", "no difference measured"]
OUTCOMES = (0.0, 0.5, 1.0)
"""Totals of an example that is lost, tied or won; exact bounds hold for these alone."""


class UnpairedExamplesError(ValueError):
    """Two subjects of one metric were not measured on the same examples."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of a candidate, held against a number of the baseline, a definition, a ruler or another candidate.

    All values are in the metric's own unit, fractions as fractions and perplexities as nats per token, so that
    difference = candidate_value - baseline_value; `display.py` turns them into what a table shows.
    """

    metric: Metric
    candidate: str
    """Name of the subject."""
    against: Against
    baseline: str
    """What it is held against: name of the baseline, ruler or other candidate, or "0.5 by definition"."""
    baseline_value: float | None
    candidate_value: float | None
    difference: float | None
    interval: Interval | None
    """95 % interval of the difference, paired by example, independent by group, not adjusted for other comparisons."""
    why_no_interval: str | None
    n: int
    """Examples."""
    n_groups: int
    bounds: Interval | None = None
    """90 % interval of the difference, each of whose ends is a one-sided 95 % bound: for equivalence and gates."""
    standard_error: float | None = None
    """Of the difference, by group; None where all groups agree."""
    p_value: float | None = None
    """Two-sided, of swapping the two sides within groups; not adjusted."""
    p_adjusted: float | None = None
    """After Holm, over the primary metrics of all candidates that are not controls; None outside of this family."""
    smallest_detectable: float | None = None
    """The true difference that would be told from none with a chance of 80 %, unadjusted at 5 %."""
    correlation: float | None = None
    """Of the two sides over groups; None where what it is held against is known by definition, or does not vary."""
    pairing_factor: float | None = None
    """How many times wider the interval were without pairing; None where the correlation is."""

    @property
    def primary(self) -> bool:
        """Whether it belongs to the family that claims are made from; everything else is exploratory."""
        return self.metric.primary and self.against in ("baseline", "definition")

    @property
    def outcome(self) -> Outcome:
        """What the interval supports, and nothing beyond it."""
        if self.difference is None:
            return "no difference measured"
        if self.interval is None:
            return "no interval"
        if self.interval.low <= 0 <= self.interval.high:
            return "unclear"
        rises = self.interval.low > 0
        if self.metric.higher_is_better is None:
            return "higher" if rises else "lower"
        return "better" if rises == self.metric.higher_is_better else "worse"


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """A measurement's examples in the order of their ids, and its sums by group in the order of the groups."""

    examples: tuple[tuple[str, str], ...]
    """(example_id, group)."""
    totals: Floats
    """Shape (n,)."""
    counts: Floats
    """Shape (n,)."""
    groups: tuple[str, ...]
    group_totals: Floats
    """Shape (n_groups,)."""
    group_counts: Floats
    """Shape (n_groups,)."""

    @property
    def is_outcomes(self) -> bool:
        """Whether every example is one outcome of 0, 0.5 or 1."""
        return bool(np.isin(self.totals, OUTCOMES).all() and (self.counts == 1).all())

    def equals(self, other: "_Column") -> bool:
        """Whether every example has the same score in both."""
        return np.array_equal(self.totals, other.totals) and np.array_equal(self.counts, other.counts)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One side of a difference: a number, and what it is made of where that is known."""

    name: str
    value: float | None
    column: _Column | None = None
    reason: str | None = None
    """Why there is no number, or no examples behind it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Contrast:
    """A candidate's number and what it is held against."""

    metric: Metric
    against: Against
    candidate: _Side
    baseline: _Side


def compare(run: Run, *, seed: int = 0) -> list[Comparison]:
    """Every difference a run holds: by metric, then candidate, with the baseline before rulers and other candidates.

    A candidate is held against the baseline or, where a metric has a baseline value by definition (`Metric.chance`),
    against that, against every ruler that has the metric too, and against each other candidate that its subject names
    (`Subject.compared_with`) where both have a number.

    Args:
        run: What was measured.
        seed: Of the bootstrap. Subjects and metrics over the same groups share their draws.

    Raises:
        UnpairedExamplesError: The subjects of a metric were measured on different examples.
    """
    contrasts = list(_contrasts(run))
    batches: dict[tuple[str, ...], dict[int, PairedSums]] = {}
    for position, contrast in enumerate(contrasts):
        sides, column = _paired(contrast), contrast.candidate.column
        if sides and column:
            batches.setdefault(column.groups, {})[position] = sides
    inferred: dict[int, Inference] = {}
    for batch in batches.values():
        inferred |= zip(batch, infer(list(batch.values()), seed), strict=True)
    rows = [_comparison(contrast, inferred.get(position)) for position, contrast in enumerate(contrasts)]
    return _adjusted(rows, controls={subject.name for subject in run.subjects if subject.is_control})


def _adjusted(rows: list[Comparison], controls: set[str]) -> list[Comparison]:
    """The rows with adjusted p-values in the family that claims are made from.

    It holds every candidate, also on other weights: a claim may be made of each. Controls are there to be held against.
    """
    family = [
        (position, row.p_value)
        for position, row in enumerate(rows)
        if row.primary and row.candidate not in controls and row.p_value is not None
    ]
    adjusted = list(rows)
    for (position, _), p_value in zip(family, holm(np.array([p for _, p in family])), strict=True):
        adjusted[position] = replace(rows[position], p_adjusted=float(p_value))
    return adjusted


def _contrasts(run: Run) -> Iterator[_Contrast]:
    by_metric: dict[tuple[str, str], list[MetricScores]] = {}
    for measurement in run.measurements:
        by_metric.setdefault((measurement.metric.evaluation, measurement.metric.name), []).append(measurement)
    subjects = {subject.name: subject for subject in run.subjects}
    for measurements in by_metric.values():
        metric = measurements[0].metric
        sides = [_side(measurement) for measurement in measurements]
        _check_same_examples(metric, sides)
        of_kind: dict[SubjectKind, list[_Side]] = {"baseline": [], "candidate": [], "ruler": []}
        for side in sides:
            of_kind[subjects[side.name].kind].append(side)
        baseline = _baseline(metric, of_kind["baseline"])
        others = {side.name: side for side in of_kind["candidate"] if side.value is not None}
        for candidate in of_kind["candidate"]:
            yield _Contrast(metric, "baseline" if metric.chance is None else "definition", candidate, baseline)
            for ruler in of_kind["ruler"]:
                yield _Contrast(metric, "ruler", candidate, ruler)
            if candidate.name in others:
                for name in subjects[candidate.name].compared_with:
                    if name in others:
                        yield _Contrast(metric, "candidate", candidate, others[name])


def _baseline(metric: Metric, measured: list[_Side]) -> _Side:
    if metric.chance is not None:
        return _Side(f"{metric.chance:g} by definition", metric.chance)
    return measured[0] if measured else _Side("baseline", None, reason="not measured")


def _side(measurement: MetricScores) -> _Side:
    measurement = without_nan(measurement)
    subject = measurement.subject
    if not measurement.scores:
        reason = measurement.missing or ("not a sum over examples" if measurement.value is not None else "no examples")
        return _Side(subject, measurement.value, reason=reason)
    column = _column(measurement)
    if not column.counts.sum() > 0:
        return _Side(subject, None, reason="the counts of its examples sum to 0")
    return _Side(subject, ratio(column.group_totals, column.group_counts), column)


def _column(measurement: MetricScores) -> _Column:
    scores = sorted(measurement.scores, key=lambda score: score.example_id)
    for one, other in pairwise(scores):
        if one.example_id == other.example_id:
            name = f"{measurement.metric.evaluation} {measurement.metric.name}"
            raise UnpairedExamplesError(f"{name}: {measurement.subject} has the example {one.example_id} twice")
    groups = sorted({score.group for score in scores})
    positions = {group: position for position, group in enumerate(groups)}
    group_of = np.array([positions[score.group] for score in scores])
    totals = np.array([score.total for score in scores], dtype=np.float64)
    counts = np.array([score.count for score in scores], dtype=np.float64)
    return _Column(
        examples=tuple((score.example_id, score.group) for score in scores),
        totals=totals,
        counts=counts,
        groups=tuple(groups),
        group_totals=np.bincount(group_of, totals).astype(np.float64),
        group_counts=np.bincount(group_of, counts).astype(np.float64),
    )


def _check_same_examples(metric: Metric, sides: Iterable[_Side]) -> None:
    for one, other in pairwise(side for side in sides if side.column is not None):
        for side, fuller in ((one, other), (other, one)):
            lacking = sorted(_examples(fuller) - _examples(side))
            if lacking:
                raise UnpairedExamplesError(
                    f"{metric.evaluation} {metric.name}: {side.name} lacks {len(lacking)} of the examples of "
                    f"{fuller.name} (by id and group): {', '.join(example_id for example_id, _ in lacking[:3])}"
                )


def _examples(side: _Side) -> set[tuple[str, str]]:
    return set(side.column.examples) if side.column else set()


def _paired(contrast: _Contrast) -> PairedSums | None:
    """Both sides by group; None where the examples of one are not known."""
    candidate, baseline = contrast.candidate.column, contrast.baseline.column
    if candidate is None or (baseline is None and contrast.against != "definition"):
        return None
    totals, counts = candidate.group_totals, candidate.group_counts
    if baseline is None:
        known = (contrast.metric.chance or 0.0) * counts
        return PairedSums(totals, counts, known, counts, True, candidate.is_outcomes, False)
    return PairedSums(
        candidate_totals=totals,
        candidate_counts=counts,
        baseline_totals=baseline.group_totals,
        baseline_counts=baseline.group_counts,
        by_definition=False,
        is_outcomes=candidate.is_outcomes and baseline.is_outcomes,
        identical=candidate.equals(baseline),
    )


def _comparison(contrast: _Contrast, inferred: Inference | None) -> Comparison:
    candidate, baseline = contrast.candidate, contrast.baseline
    difference = None
    if candidate.value is not None and baseline.value is not None:
        difference = candidate.value - baseline.value
    if inferred is None:
        lacking = baseline if candidate.column else candidate
        reason = lacking.reason if lacking is candidate else f"{baseline.name}: {baseline.reason}"
        inferred = Inference(why_no_interval=reason)
    column = candidate.column or baseline.column
    return Comparison(
        metric=contrast.metric,
        candidate=candidate.name,
        against=contrast.against,
        baseline=baseline.name,
        baseline_value=baseline.value,
        candidate_value=candidate.value,
        difference=difference,
        interval=inferred.interval,
        why_no_interval=inferred.why_no_interval,
        n=len(column.examples) if column else 0,
        n_groups=len(column.groups) if column else 0,
        bounds=inferred.bounds,
        standard_error=inferred.standard_error,
        p_value=inferred.p_value,
        smallest_detectable=inferred.smallest_detectable,
        correlation=inferred.correlation,
        pairing_factor=inferred.pairing_factor,
    )
