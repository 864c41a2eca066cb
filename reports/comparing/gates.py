"""Gates: whether a candidate loses more on a metric than is allowed, decided by the interval of the difference.

A gate passes if the one-sided 95 % bound of the loss is within what is allowed. All gates have to pass, so this level
needs no adjustment: a candidate that breaks one gate passes them all with at most 5 % probability (Berger,
Technometrics 24, 1982). A gate fails if the whole interval is outside. One failure stops a release, so this side is
adjusted for the number of results (Bonferroni): candidates that lose no more than is allowed fail any gate with at most
5 % probability.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.comparing.compare import Comparison
from reports.comparing.statistics import CONFIDENCE, Interval
from reports.errors import UserError
from reports.records import Gate, Metric

GateOutcome = Literal["pass", "fail", "cannot tell"]

ERROR_RATE = 0.05
"""Largest probability of a wrong pass, and of any wrong fail in a check."""


class GateError(UserError):
    """A gate on a metric that was not measured."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate for one candidate; differences are in the metric's own unit."""

    gate: Gate
    comparison: Comparison
    outcome: GateOutcome
    reason: str | None = None
    """Reason, in words, if the comparison has no bounds."""
    limit: float | None = None
    """The difference that is just allowed; its size, if neither direction is better."""
    worst: float | None = None
    """Worst difference within the one-sided 95 % bound."""
    best: float | None = None
    """Best difference within an interval that is adjusted for the number of results."""


def metric_key(metric: Metric) -> str:
    """Return the name by which a gate refers to the metric, such as "truthfulness/perplexity"."""
    return f"{metric.evaluation}/{metric.name}"


def check_gates(gates: Sequence[Gate], comparisons: Iterable[Comparison]) -> tuple[GateResult, ...]:
    """Return a result for each gate and each candidate that has its metric, gate by gate.

    Args:
        gates: The gates to apply.
        comparisons: Those of the candidates to check; comparisons with rulers and other candidates are ignored.

    Raises:
        GateError: No comparison has the metric of a gate; the message lists the metrics that were measured.
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
                f"gate {gate.metric}{hint}: no candidate has this metric; measured metrics are: "
                f"{', '.join(rows) or 'none'}"
            )
    pairs = [(gate, row) for gate in gates for row in rows[gate.metric]]
    return tuple(_result(gate, row, ERROR_RATE / len(pairs)) for gate, row in pairs)


def is_stopped(results: Iterable[GateResult], *, strict: bool = False) -> bool:
    """Whether any gate failed or, if strict, did not pass."""
    return any(result.outcome == "fail" or (strict and result.outcome != "pass") for result in results)


def _result(gate: Gate, row: Comparison, fail_rate: float) -> GateResult:
    """Return the result of a gate; a fail is wrong with at most `fail_rate`, or the error of the table's interval."""
    if row.difference is None or row.baseline_value is None:
        return GateResult(gate, row, "cannot tell", row.inference.why_no_interval)
    allowed = allowed_loss(gate, row.metric, row.baseline_value)
    limit = -allowed if row.metric.higher_is_better else allowed
    if row.interval is None or row.inference.bounds is None:
        outcome: GateOutcome = "pass" if row.inference.is_identical else "cannot tell"
        return GateResult(gate, row, outcome, row.inference.why_no_interval, limit)
    worst = max(row.inference.bounds.low, row.inference.bounds.high, key=lambda bound: loss(bound, row.metric))
    best = _best(row.metric, stretched(row, min(fail_rate, (1 - CONFIDENCE) / 2)))
    outcome = "cannot tell"
    if loss(worst, row.metric) <= allowed:
        outcome = "pass"
    elif loss(best, row.metric) > allowed:
        outcome = "fail"
    return GateResult(gate, row, outcome, None, limit, worst, best)


def loss(difference: float, metric: Metric) -> float:
    """Return how much is lost; any change is a loss if neither direction is better."""
    if metric.higher_is_better is None:
        return abs(difference)
    return -difference if metric.higher_is_better else difference


def allowed_loss(gate: Gate, metric: Metric, baseline_value: float) -> float:
    """Return the gate's largest loss in the metric's own unit; a relative one is a share of the baseline value."""
    if not gate.relative:
        return gate.largest_loss
    if metric.display != "exp":
        return gate.largest_loss * abs(baseline_value)
    if not metric.higher_is_better:
        return math.log1p(gate.largest_loss)
    return -math.log1p(-gate.largest_loss) if gate.largest_loss < 1 else math.inf


def stretched(row: Comparison, error_rate: float) -> Interval:
    """Return the row's interval at another level.

    The distances from the difference to both ends are stretched: those of exact bounds by 1 - level^(1/C), for C
    groups, as `agreement_interval` has them at that level; all others by quantiles of t with C - 1 degrees of freedom,
    as cluster-t has them.

    Args:
        row: A comparison with an interval.
        error_rate: Error of each side, between 0 and 1/2.
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
    """Return the difference in an interval that loses least."""
    if metric.higher_is_better is None and interval.low <= 0 <= interval.high:
        return 0.0
    return min(interval.low, interval.high, key=lambda bound: loss(bound, metric))
