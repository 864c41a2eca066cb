"""Gates: whether a candidate loses more on a metric than is allowed, or has less than is required.

Every decision is a tail of the difference (`PairedDifference.tail`) at the limit. A gate passes if data this good have
at most 5 % probability where the true difference is just at the limit. All gates have to pass, so this level needs no
adjustment: a candidate that breaks one gate passes them all with at most 5 % probability (Berger, Technometrics 24,
1982). A gate fails if data this bad are so improbable at the limit. One failure stops a release, so this side is
adjusted for the number of results (Bonferroni): candidates that lose no more than is allowed fail any gate with at most
5 % probability.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reports.comparing.compare import ERROR_RATE, Comparison
from reports.comparing.inference import PairedDifference
from reports.comparing.margins import allowed_loss, loss, metric_key
from reports.comparing.statistics import CONFIDENCE, Floats
from reports.errors import UserError
from reports.plain_text import one_line
from reports.records import Gate, Metric

GateOutcome = Literal["pass", "fail", "cannot tell"]


class GateError(UserError):
    """A gate that cannot be applied: its metric was not measured, or has nothing that a loss could be taken from."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate for one candidate; differences are in the metric's own unit."""

    gate: Gate
    comparison: Comparison
    """For a gate on a value itself, the candidate against that value by definition."""
    outcome: GateOutcome
    reason: str | None = None
    """Reason, in words, if the comparison has no bounds."""
    limit: float | None = None
    """The difference that is just allowed; its size, if neither direction is better."""
    worst: float | None = None
    """Worst difference within the one-sided 95 % bound."""
    best: float | None = None
    """Best difference within an interval that is adjusted for the number of results."""


def check_gates(
    gates: Sequence[Gate], comparisons: Sequence[Comparison], own: Sequence[Comparison] = ()
) -> tuple[GateResult, ...]:
    """Return a result for each gate and each candidate that has its metric, gate by gate.

    Args:
        gates: The gates to apply.
        comparisons: Those of the candidates to check; comparisons with rulers and other candidates are ignored.
        own: Those within the candidates' own run, from which a value that is required is judged, if `comparisons` are
            with another run: what that one lacks is not the candidate's fault.

    Raises:
        GateError: A gate contradicts itself or can never tell; no comparison has its metric, then the message lists
            those that were measured; or it allows a loss on a metric whose baseline is a definition.
    """
    rows, own_rows = _by_metric(comparisons), _by_metric(own or comparisons)
    gates = [_as_floor(gate, rows.get(gate.metric, ())) for gate in gates]
    for gate in gates:
        _check_applies(gate, rows)
    pairs = [
        (gate, row) for gate in gates for row in (rows if gate.at_least is None else own_rows).get(gate.metric, ())
    ]
    return tuple(_result(gate, row, ERROR_RATE / len(pairs)) for gate, row in pairs)


def may_require_values(gates: Iterable[Gate]) -> bool:
    """Whether any gate requires a value, or does so where its metric has a baseline by definition (`_as_floor`)."""
    return any(gate.at_least is not None or gate.largest_loss == 0 for gate in gates)


def _by_metric(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    rows: dict[str, list[Comparison]] = {}
    for row in comparisons:
        if row.against in ("baseline", "definition"):
            rows.setdefault(metric_key(row.metric), []).append(row)
    return rows


def _as_floor(gate: Gate, rows: Sequence[Comparison]) -> Gate:
    """Return a gate that allows no loss from a definition as what it means: at least that value.

    Suites had such gates before there was `at_least`, and their runs still have them.
    """
    chance = rows[0].metric.chance if rows and rows[0].against == "definition" else None
    if gate.largest_loss != 0 or chance is None or not rows[0].metric.higher_is_better:
        return gate
    return Gate(gate.metric, at_least=chance)


def is_stopped(results: Iterable[GateResult], *, strict: bool = False) -> bool:
    """Whether any gate failed or, if strict, did not pass."""
    return any(result.outcome == "fail" or (strict and result.outcome != "pass") for result in results)


def passing_p(paired: PairedDifference, allowed: float, metric: Metric) -> Floats:
    """Return the chance of data this good if the true loss is just what is allowed; a gate passes at 5 %."""
    if metric.higher_is_better is None:
        return paired.equivalence_p(allowed)
    return paired.tail(-allowed).above if metric.higher_is_better else paired.tail(allowed).below


def failing_p(paired: PairedDifference, allowed: float, metric: Metric) -> Floats:
    """Return the chance of data this bad if the true loss is just what is allowed.

    A gate fails at 5 % over the number of results, and at half of 5 % at most, the error of a table's interval.
    """
    if metric.higher_is_better is None:
        both = np.minimum(paired.tail(allowed).above, paired.tail(-allowed).below)
        return np.asarray(np.minimum(2 * both, 1.0))
    return paired.tail(-allowed).below if metric.higher_is_better else paired.tail(allowed).above


def _check_applies(gate: Gate, rows: dict[str, list[Comparison]]) -> None:
    if gate.contradiction:
        raise GateError(gate.contradiction)
    name = one_line(gate.metric)
    if gate.metric not in rows:
        near = difflib.get_close_matches(gate.metric, rows, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise GateError(
            f"gate {name}{hint}: no candidate has this metric; measured metrics are: {', '.join(rows) or 'none'}"
        )
    row = rows[gate.metric][0]
    if gate.at_least is not None and row.metric.higher_is_better is not True:
        raise GateError(f"gate {name}: at_least is for metrics of which more is better; give largest_loss for this one")
    value = gate.largest_loss if gate.at_least is None else gate.at_least
    if row.metric.display == "percent" and not gate.relative and value is not None and not 0 <= value <= 1:
        which = "largest_loss" if gate.at_least is None else "at_least"
        raise GateError(f"gate {name}: {which} is a share between 0 and 1, not {value:g}; 5 percentage points are 0.05")
    if gate.at_least is None and row.against == "definition":
        raise GateError(
            f"gate {name}: what this metric is compared with here ({row.baseline}) is no measured value that "
            "could be lost; name a reference run with --against, or require a value: "
            f"at_least: {row.metric.chance:g} in place of largest_loss"
        )


def _result(gate: Gate, row: Comparison, fail_rate: float) -> GateResult:
    """Return the result of a gate; a fail is wrong with at most `fail_rate`, or the error of the table's interval."""
    if gate.at_least is not None:
        row = _against_value(row, gate.at_least)
    if not row.is_finite:
        return GateResult(gate, row, "fail", row.why_no_interval)
    if row.difference is None or row.baseline_value is None:
        return GateResult(gate, row, "cannot tell", row.why_no_interval)
    allowed = 0.0 if gate.at_least is not None else allowed_loss(gate, row.metric, row.baseline_value)
    limit = -allowed if row.metric.higher_is_better else allowed
    paired = row.paired
    if paired is None or paired.cannot_tell:
        outcome: GateOutcome = "pass" if row.is_identical else "cannot tell"
        return GateResult(gate, row, outcome, row.why_no_interval, limit)
    fail_rate = min(fail_rate, (1 - CONFIDENCE) / 2)
    outcome = "cannot tell"
    if passing_p(paired, allowed, row.metric) <= ERROR_RATE:
        outcome = "pass"
    elif failing_p(paired, allowed, row.metric) <= fail_rate:
        outcome = "fail"
    worst = max(_ends(paired, ERROR_RATE), key=lambda end: loss(end, row.metric))
    return GateResult(gate, row, outcome, None, limit, worst, _best(row.metric, paired, fail_rate))


def _against_value(row: Comparison, value: float) -> Comparison:
    """Return the row's candidate compared with a value by definition."""
    number = row.candidate_value
    compared = replace(
        row,
        against="definition",
        baseline=f"{value:g} by definition",
        baseline_value=value,
        difference=None if number is None else number - value,
        paired=row.paired.against(value) if row.paired else None,
        is_identical=False,
        is_finite=row.is_finite or number is not None,
    )
    return replace(compared, why_no_interval=compared.paired.reason) if compared.paired else compared


def _ends(paired: PairedDifference, level: float) -> tuple[float, float]:
    """Return the one-sided bounds at a level."""
    low, high = paired.interval(1 - 2 * level)
    return float(low), float(high)


def _best(metric: Metric, paired: PairedDifference, level: float) -> float:
    """Return the difference within the bounds that loses least; without a better direction each has half the level."""
    if metric.higher_is_better is not None:
        return min(_ends(paired, level), key=lambda end: loss(end, metric))
    low, high = _ends(paired, level / 2)
    return 0.0 if low <= 0 <= high else min(low, high, key=abs)
