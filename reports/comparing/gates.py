"""Gates: how much a candidate may lose on a metric, and what the intervals say of it.

A gate passes where the one-sided 95 % bound of the loss lies inside what is allowed. All gates have to pass, so that
level needs no adjusting: a candidate that breaks one passes them all with 5 % at most (Berger, Technometrics 24, 1982).
A gate fails where the interval lies wholly outside. One failure is enough to stop a release, so that side is adjusted
for the number of verdicts (Bonferroni): candidates that lose no more than is allowed fail anything with 5 % at most.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.comparing.compare import Comparison
from reports.comparing.statistics import CONFIDENCE, Interval
from reports.records import Gate, Metric

GateOutcome = Literal["pass", "fail", "cannot tell"]

ERROR_RATE = 0.05
"""Of a pass, and of all fails of a check together, where the truth is the other way round."""
IDENTICAL = "identical scores"
"""Why a comparison has no interval where every example has the same score on both sides, which is no loss at all."""


class GateError(ValueError):
    """A gate that speaks of a metric nobody measured."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate says of a candidate; differences are in the metric's own unit, as in the comparison."""

    gate: Gate
    comparison: Comparison
    outcome: GateOutcome
    reason: str | None = None
    """Why there is nothing to judge by, where there are no bounds."""
    limit: float | None = None
    """The difference that is just allowed; where neither direction is better, its size."""
    worst: float | None = None
    """The worst difference in a one-sided 95 % interval."""
    best: float | None = None
    """The best difference in an interval that is adjusted for the number of verdicts."""


def metric_key(metric: Metric) -> str:
    """What a gate calls the metric."""
    return f"{metric.evaluation}/{metric.name}"


def judge(gates: Sequence[Gate], comparisons: Iterable[Comparison]) -> tuple[Verdict, ...]:
    """A verdict for each gate and each candidate that has its metric, gate by gate.

    Args:
        gates: What is allowed.
        comparisons: Of the candidates to judge. Those against rulers and other candidates are not looked at.

    Raises:
        GateError: A metric that no comparison has; the message says which there are.
    """
    rows: dict[str, list[Comparison]] = {}
    for row in comparisons:
        if row.against in ("baseline", "definition"):
            rows.setdefault(metric_key(row.metric), []).append(row)
    for gate in gates:
        if gate.metric not in rows:
            near = difflib.get_close_matches(gate.metric, rows, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise GateError(
                f"gate {gate.metric}{hint}: no candidate has this metric; measured are: {', '.join(rows) or 'none'}"
            )
    pairs = [(gate, row) for gate in gates for row in rows[gate.metric]]
    return tuple(_verdict(gate, row, ERROR_RATE / len(pairs)) for gate, row in pairs)


def is_stopped(verdicts: Iterable[Verdict], *, strict: bool = False) -> bool:
    """Whether a gate failed or, if strict, did not pass."""
    return any(verdict.outcome == "fail" or (strict and verdict.outcome != "pass") for verdict in verdicts)


def _verdict(gate: Gate, row: Comparison, fail_rate: float) -> Verdict:
    """The verdict, where a fail may be wrong with `fail_rate`, or with what the table's interval leaves on a side."""
    if row.difference is None or row.baseline_value is None:
        return Verdict(gate, row, "cannot tell", row.why_no_interval)
    allowed = allowed_loss(gate, row.metric, row.baseline_value)
    limit = -allowed if row.metric.higher_is_better else allowed
    if row.interval is None or row.bounds is None:
        is_identical = row.why_no_interval == IDENTICAL
        return Verdict(gate, row, "pass" if is_identical else "cannot tell", row.why_no_interval, limit)
    worst = max(row.bounds.low, row.bounds.high, key=lambda bound: loss(bound, row.metric))
    best = _best(row.metric, stretched(row, min(fail_rate, (1 - CONFIDENCE) / 2)))
    outcome: GateOutcome = "cannot tell"
    if loss(worst, row.metric) <= allowed:
        outcome = "pass"
    elif loss(best, row.metric) > allowed:
        outcome = "fail"
    return Verdict(gate, row, outcome, None, limit, worst, best)


def loss(difference: float, metric: Metric) -> float:
    """How much is lost; where neither direction is better, any change counts."""
    if metric.higher_is_better is None:
        return abs(difference)
    return -difference if metric.higher_is_better else difference


def allowed_loss(gate: Gate, metric: Metric, baseline_value: float) -> float:
    """The gate's largest loss in the metric's own unit; a relative one is taken of the value that was measured."""
    if not gate.relative:
        return gate.largest_loss
    if metric.display != "exp":
        return gate.largest_loss * abs(baseline_value)
    if not metric.higher_is_better:
        return math.log1p(gate.largest_loss)
    return -math.log1p(-gate.largest_loss) if gate.largest_loss < 1 else math.inf


def stretched(row: Comparison, error_rate: float) -> Interval:
    """The row's interval at another level, each side of which is wrong with `error_rate`.

    Its arms are drawn out: those of exact bounds as 1 - level^(1/C), for C groups, which is what `agreement_interval`
    gives at that level; all others as quantiles of t with C - 1 degrees of freedom, which is what cluster-t gives.

    Args:
        row: With an interval.
        error_rate: Of each side, between 0 and 1/2.
    """
    from scipy.special import stdtrit

    interval, difference = row.interval, row.difference
    assert interval is not None
    assert difference is not None
    own_rate = (1 - CONFIDENCE) / 2
    if interval.method == "exact":
        stretch = (1 - error_rate ** (1 / row.n_groups)) / (1 - own_rate ** (1 / row.n_groups))
    else:
        stretch = float(stdtrit(row.n_groups - 1, error_rate) / stdtrit(row.n_groups - 1, own_rate))
    low, high = difference - interval.low, interval.high - difference
    return Interval(difference - stretch * low, difference + stretch * high, interval.method)


def _best(metric: Metric, interval: Interval) -> float:
    """The difference in an interval that loses least."""
    if metric.higher_is_better is None and interval.low <= 0 <= interval.high:
        return 0.0
    return min(interval.low, interval.high, key=lambda bound: loss(bound, metric))
