"""Compare a run's candidates: one `Comparison` for each candidate, metric, and subject it is compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from reports.comparing.choice import is_chosen
from reports.comparing.inference import Method, PairedDifference
from reports.comparing.margins import allowed_loss, metric_key
from reports.comparing.metric_table import MetricTable, metric_table
from reports.comparing.statistics import correlation, holm, linearised_ratio, pairing_factor
from reports.records import Gate, Metric, MetricScores, Run, SubjectKind

Against = Literal["baseline", "definition", "ruler", "candidate", "base"]
Outcome = Literal["better", "worse", "higher", "lower", "no change seen", "cannot tell", "not measured"]
"""The one word for what a comparison shows, in every format: after correction where it is in a family."""
Direction = Literal["above", "below"]

ERROR_RATE = 0.05
"""Largest probability of a wrong claim, of a wrong pass, and of any wrong fail in a check."""
FEW_GROUPS = 30
"""With fewer groups than these a report says that claims are wrong more often (docs/statistics.md, 12 groups)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of a candidate, compared with the baseline, a definition, a ruler or another candidate.

    All values are in the metric's own unit, fractions as fractions and perplexities as nats per token, so that
    difference = candidate_value - baseline_value; `display.py` converts them to what a table shows.
    """

    metric: Metric
    candidate: str
    """Name of the subject."""
    against: Against
    baseline: str
    """Name of the baseline, ruler or other candidate it is compared with, or "0.5 by definition"."""
    baseline_value: float | None
    candidate_value: float | None
    difference: float | None
    n: int
    """Number of examples."""
    n_groups: int
    paired: PairedDifference | None = field(default=None, compare=False, repr=False)
    """Sums by group, from which everything below and each gate follows; None without scores by example."""
    interval: tuple[float, float] | None = None
    """Both ends of the 95 % interval of the difference, not adjusted for other comparisons."""
    why_no_interval: str | None = None
    """Reason, in words, if there is no interval."""
    is_identical: bool = False
    """Whether there is no interval because every group has the same amounts on both sides, which is no change at all.
    """
    is_finite: bool = True
    """Whether every number of both subjects was finite."""
    p_value: float | None = None
    """Two-sided p-value of no difference, not adjusted."""
    p_adjusted: float | None = None
    """p-value after Holm in its family, see `compare`; None outside of a family."""
    margin: float | None = None
    """Largest loss that the metric's gate allows; None without such a gate, or outside of a family."""
    p_unchanged: float | None = None
    """p-value after Holm of the equivalence test that the difference lies within the margin, either way."""
    twin_difference: float | None = None
    """Difference of the metric's twin (`Metric.twin`), with or without the end of turn, between the same two subjects.
    """
    smallest_detectable: float | None = None
    """True difference that a test at 5 % detects with a probability of 80 %."""
    long_tail: Direction | None = None
    """Side of a long tail that the groups do not carry: claims on the other side need more."""
    correlation: float | None = None
    """Correlation of the two sides over groups; None if one of them does not vary, or is known by definition."""
    pairing_factor: float | None = None
    """How many times wider the interval would be without pairing; None if there is no correlation."""

    @property
    def method(self) -> Method | None:
        """What the interval is computed by; None without one."""
        return self.paired.method if self.paired and self.interval else None

    @property
    def is_contradicted(self) -> bool:
        """Whether the metric's twin moved the other way or beyond the margin, so that it cannot be called unchanged.

        After answers of a few tokens an end of turn that becomes more probable hides words that become less so: their
        sum is unchanged, and the model is not.
        """
        if self.margin is None or self.difference is None or self.twin_difference is None:
            return False
        return self.difference * self.twin_difference < 0 or abs(self.twin_difference) > self.margin

    @property
    def primary(self) -> bool:
        """Whether claims can be made from it; everything else is exploratory."""
        return self.metric.primary and self.against in ("baseline", "definition")

    @property
    def is_clear(self) -> bool:
        """Whether the interval by itself, without correction, excludes no change."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def fails_correction(self) -> bool:
        """Whether it is clear by itself, but not after the correction for the number of comparisons."""
        return self.is_clear and self.p_adjusted is not None and self.p_adjusted > ERROR_RATE

    @property
    def is_claim(self) -> bool:
        """Whether its outcome is corrected, so that it may be claimed; everything else is a hint."""
        return self.p_adjusted is not None

    @property
    def is_informative(self) -> bool:
        """Whether one of the two values is no worse than a uniform guess (`Metric.uninformative`).

        Beyond it on both sides a gain is none: nothing was learned that a guess does not have. A loss is one, because
        the answers became still less probable, and so is a value that crosses it.
        """
        ceiling, values = self.metric.uninformative, (self.baseline_value, self.candidate_value)
        return ceiling is None or any(value is None or value <= ceiling for value in values)

    @property
    def outcome(self) -> Outcome:
        """What can be claimed, and nothing beyond it; outside of a family, what the interval by itself shows."""
        if self.difference is None:
            return "not measured"
        if self.interval is None:
            return "no change seen" if self.is_identical else "cannot tell"
        if not self.is_clear or self.fails_correction:
            return "no change seen"
        rises = self.interval[0] > 0
        if self.metric.higher_is_better is None:
            return "higher" if rises else "lower"
        if rises != self.metric.higher_is_better:
            return "worse"
        return "better" if self.is_informative else "cannot tell"


def compare(run: Run) -> list[Comparison]:
    """Return every difference that a run holds: by metric, then candidate, baseline before rulers before candidates.

    A candidate is compared with the baseline or, if the metric has a baseline value by definition (`Metric.chance`),
    with that; with every ruler that has the metric too; and with each other candidate that its subject names
    (`Subject.compared_with`), if both have a number. In a report of two runs it is compared with the first run's
    candidate, and both and all others with the base model of both, from which nothing is claimed.

    Claims are made from primary metrics in families, within each of which any false one has a probability of 5 %: the
    candidate that was chosen on selection rows is a family of its own, because it was chosen on other rows than these;
    each control is one too, because it is there to be compared with and no claim of the experiment; all others are one,
    also those with different weights.

    Raises:
        UnpairedExamplesError: The subjects of a metric were measured on different examples.
    """
    rows = [
        _comparison(table, candidate, against, other)
        for table in map(metric_table, _by_metric(run))
        for candidate, against, other in _pairs(run, table)
    ]
    return _adjusted(run, _with_twins(rows))


def candidates_of(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Return the names of the candidates that have comparisons, in the order of the run's subjects."""
    measured = {row.candidate for row in comparisons if row.against != "base"}
    return [subject.name for subject in run.subjects if subject.name in measured]


def _with_twins(rows: Sequence[Comparison]) -> list[Comparison]:
    """Return the rows with the differences of their metrics' twins, where these were measured."""
    differences = {
        (row.metric.evaluation, row.metric.name, row.candidate, row.against, row.baseline): row.difference
        for row in rows
    }
    return [
        replace(
            row,
            twin_difference=differences.get(
                (row.metric.evaluation, row.metric.twin, row.candidate, row.against, row.baseline)
            ),
        )
        for row in rows
    ]


def _by_metric(run: Run) -> list[list[MetricScores]]:
    by_metric: dict[tuple[str, str], list[MetricScores]] = {}
    for measurement in run.measurements:
        by_metric.setdefault((measurement.metric.evaluation, measurement.metric.name), []).append(measurement)
    return list(by_metric.values())


def _pairs(run: Run, table: MetricTable) -> Iterator[tuple[str, Against, str]]:
    """Yield each candidate, the kind of what it is compared with, and the name of that."""
    chance, base = table.metric.chance, run.base
    of_kind: dict[SubjectKind, list[str]] = {"baseline": [], "candidate": [], "ruler": [], "base": [], "aside": []}
    for name in table.values:
        of_kind[run.subject(name).kind].append(name)
    definition = None if chance is None else f"{chance:g} by definition"
    for candidate in of_kind["candidate"]:
        if definition is None or base:
            yield candidate, "baseline", next(iter(of_kind["baseline"]), run.baseline.name)
        else:
            yield candidate, "definition", definition
        for ruler in of_kind["ruler"]:
            yield candidate, "ruler", ruler
        if table.values[candidate] is not None:
            for name in run.subject(candidate).compared_with:
                if name in of_kind["candidate"] and table.values[name] is not None:
                    yield candidate, "candidate", name
    if base:
        for name in (*of_kind["baseline"], *of_kind["candidate"], *of_kind["aside"]):
            yield name, "base", definition or base.name


def _comparison(table: MetricTable, candidate: str, against: Against, other: str) -> Comparison:
    """Return a comparison with its inference, or with the reason why it has none."""
    value = table.values[candidate]
    by_definition = against == "definition" or (against == "base" and table.metric.chance is not None)
    baseline_value = table.metric.chance if by_definition else table.values.get(other)
    has_examples = candidate in table.totals or other in table.totals
    if candidate in table.totals:
        reason = f"{other}: {table.reasons.get(other, 'not measured')}"
    else:
        reason = table.reasons[candidate]
    row = Comparison(
        metric=table.metric,
        candidate=candidate,
        against=against,
        baseline=other,
        baseline_value=baseline_value,
        candidate_value=value,
        difference=None if value is None or baseline_value is None else value - baseline_value,
        n=table.n_examples if has_examples else 0,
        n_groups=table.n_groups if has_examples else 0,
        paired=table.paired(candidate, None if by_definition else other),
        why_no_interval=reason,
        is_finite=table.not_finite.isdisjoint({candidate, other}),
    )
    return inferred(row)


def inferred(row: Comparison) -> Comparison:
    """Return the comparison with everything that follows from its sums by group, unchanged if it has none."""
    paired = row.paired
    if paired is None:
        return row
    row = replace(row, why_no_interval=paired.reason, is_identical=bool(paired.is_identical))
    if paired.cannot_tell:
        return row
    low, high = paired.interval()
    sides = None
    if paired.has_spread and not (paired.by_definition or paired.over_seeds):
        sides = (
            linearised_ratio(paired.candidate_totals, paired.candidate_counts),
            linearised_ratio(paired.baseline_totals, paired.baseline_counts),
        )
    return replace(
        row,
        interval=(float(low), float(high)),
        p_value=float(paired.p_value()),
        smallest_detectable=float(paired.smallest_detectable) if paired.has_spread else None,
        long_tail=paired.long_tail,
        correlation=correlation(*sides) if sides else None,
        pairing_factor=pairing_factor(*sides) if sides else None,
    )


def _adjusted(run: Run, rows: list[Comparison]) -> list[Comparison]:
    """Return the rows with p-values that are adjusted within each family."""
    families: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        if row.primary:
            families.setdefault(family(run, row.candidate), []).append(position)
    adjusted = list(rows)
    for positions in families.values():
        for position, row in zip(positions, in_family([rows[each] for each in positions], run.gates), strict=True):
            adjusted[position] = row
    return adjusted


def family(run: Run, candidate: str) -> str:
    """Return the name of a candidate's family: its own name for a control, "chosen", or "" for all others."""
    if run.subject(candidate).is_control:
        return f"control {candidate}"
    return "chosen" if is_chosen(run, candidate) else ""


def in_family(rows: Sequence[Comparison], gates: Sequence[Gate]) -> list[Comparison]:
    """Return the rows with their p-values adjusted over all of them: of no difference, and of none beyond the gates.

    What is called unchanged is a family of its own: any false one has a probability of 5 %. A metric without a gate of
    its own has that of its twin.
    """
    margins = {gate.metric: gate for gate in reversed(gates) if gate.largest_loss is not None}
    found = list(rows)
    for position, row in enumerate(rows):
        gate = margins.get(metric_key(row.metric)) or margins.get(f"{row.metric.evaluation}/{row.metric.twin}")
        if gate and row.paired and row.interval and row.baseline_value is not None:
            margin = allowed_loss(gate, row.metric, row.baseline_value)
            p_value = float(row.paired.equivalence_p(margin)) if margin > 0 else None
            found[position] = replace(row, margin=margin, p_unchanged=p_value)
    adjusted = _holm([row.p_value for row in found]), _holm([row.p_unchanged for row in found])
    return [replace(row, p_adjusted=p, p_unchanged=same) for row, p, same in zip(found, *adjusted, strict=True)]


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values after Holm; those that are missing are not counted, because nothing is claimed from them."""
    adjusted = iter(holm(np.array([p for p in p_values if p is not None])).tolist())
    return [None if p is None else next(adjusted) for p in p_values]
