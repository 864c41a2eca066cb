"""Compare a run's candidates: one `Comparison` for each candidate, metric, and subject it is compared with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reports.comparing.inference import Inference, PairedSums, infer
from reports.comparing.metric_table import MetricTable, metric_table
from reports.comparing.statistics import Interval, holm
from reports.records import Metric, MetricScores, Run, SubjectKind

Against = Literal["baseline", "definition", "ruler", "candidate"]
Outcome = Literal["better", "worse", "higher", "lower", "unclear", "no interval", "no difference measured"]


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
    inference: Inference
    """Interval, p-value and power of the difference, paired by example and independent by group."""
    p_adjusted: float | None = None
    """p-value after Holm, over the primary metrics of all candidates that are not controls; None outside this family.
    """

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the difference, not adjusted for other comparisons."""
        return self.inference.interval

    @property
    def primary(self) -> bool:
        """Whether claims can be made from it; everything else is exploratory."""
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


def compare(run: Run, *, seed: int = 0) -> list[Comparison]:
    """Return every difference that a run holds: by metric, then candidate, baseline before rulers before candidates.

    A candidate is compared with the baseline or, if the metric has a baseline value by definition (`Metric.chance`),
    with that; with every ruler that has the metric too; and with each other candidate that its subject names
    (`Subject.compared_with`), if both have a number.

    Args:
        run: What was measured.
        seed: Seed of the bootstrap. Subjects and metrics over the same groups share their draws.

    Raises:
        UnpairedExamplesError: The subjects of a metric were measured on different examples.
    """
    rows: list[Comparison] = []
    by_groups: dict[tuple[str, ...], dict[int, PairedSums]] = {}
    for table in map(metric_table, _by_metric(run)):
        for candidate, against, other in _pairs(run, table):
            sums = table.sums(candidate, None if against == "definition" else other)
            if sums:
                by_groups.setdefault(table.groups, {})[len(rows)] = sums
            rows.append(_comparison(table, candidate, against, other))
    for batch in by_groups.values():
        for position, inference in zip(batch, infer(list(batch.values()), seed), strict=True):
            rows[position] = replace(rows[position], inference=inference)
    return _adjusted(rows, controls={subject.name for subject in run.subjects if subject.is_control})


def _by_metric(run: Run) -> list[list[MetricScores]]:
    by_metric: dict[tuple[str, str], list[MetricScores]] = {}
    for measurement in run.measurements:
        by_metric.setdefault((measurement.metric.evaluation, measurement.metric.name), []).append(measurement)
    return list(by_metric.values())


def _pairs(run: Run, table: MetricTable) -> Iterator[tuple[str, Against, str]]:
    """Yield each candidate, the kind of what it is compared with, and the name of that."""
    chance = table.metric.chance
    of_kind: dict[SubjectKind, list[str]] = {"baseline": [], "candidate": [], "ruler": []}
    for name in table.values:
        of_kind[run.subject(name).kind].append(name)
    for candidate in of_kind["candidate"]:
        if chance is None:
            yield candidate, "baseline", next(iter(of_kind["baseline"]), "baseline")
        else:
            yield candidate, "definition", f"{chance:g} by definition"
        for ruler in of_kind["ruler"]:
            yield candidate, "ruler", ruler
        if table.values[candidate] is not None:
            for name in run.subject(candidate).compared_with:
                if name in of_kind["candidate"] and table.values[name] is not None:
                    yield candidate, "candidate", name


def _comparison(table: MetricTable, candidate: str, against: Against, other: str) -> Comparison:
    """Return a comparison that has no interval yet, and the reason that holds if it never gets one."""
    value = table.values[candidate]
    baseline_value = table.metric.chance if against == "definition" else table.values.get(other)
    has_examples = candidate in table.totals or other in table.totals
    if candidate in table.totals:
        reason: str | None = f"{other}: {table.reasons.get(other, 'not measured')}"
    else:
        reason = table.reasons[candidate]
    return Comparison(
        metric=table.metric,
        candidate=candidate,
        against=against,
        baseline=other,
        baseline_value=baseline_value,
        candidate_value=value,
        difference=None if value is None or baseline_value is None else value - baseline_value,
        n=len(table.examples) if has_examples else 0,
        n_groups=len(table.groups) if has_examples else 0,
        inference=Inference(why_no_interval=reason),
    )


def _adjusted(rows: list[Comparison], controls: set[str]) -> list[Comparison]:
    """Return the rows with adjusted p-values in the family that claims are made from.

    The family has every candidate, also one with different weights, because a claim may be made of each. Controls are
    not in it: they are only there to be compared with.
    """
    family = [
        (position, row.inference.p_value)
        for position, row in enumerate(rows)
        if row.primary and row.candidate not in controls and row.inference.p_value is not None
    ]
    adjusted = list(rows)
    for (position, _), p_value in zip(family, holm(np.array([p for _, p in family])), strict=True):
        adjusted[position] = replace(rows[position], p_adjusted=float(p_value))
    return adjusted
