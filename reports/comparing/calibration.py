"""The spread of adapters that differ only in their training seed, and the gates that follow from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from reports.comparing.against import compare_adapters
from reports.comparing.compare import ERROR_RATE, Comparison
from reports.comparing.margins import metric_key
from reports.comparing.seeds import FEWEST_SEEDS
from reports.errors import UserError
from reports.records import Gate, Metric, Run


class CalibrationError(UserError):
    """A run from which the spread over training seeds cannot be estimated."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A primary metric over adapters that differ only in their training seed, in the metric's own unit."""

    metric: str
    """Evaluation and metric, as a gate names it."""
    mean: float
    standard_deviation: float
    """Standard deviation with N - 1 in the denominator."""
    n_seeds: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A gate that the same recipe passes with another seed, and the two parts of its margin."""

    gate: Gate
    spread: Spread
    between_seeds: float
    """Loss that another training seed alone can cause, in the metric's own unit."""
    between_rows: float
    """Distance from a difference to its one-sided 95 % bound, in the metric's own unit; 0 without an interval."""


def propose_gates(run: Run) -> tuple[Proposal, ...]:
    """Return a gate for each primary metric; an adapter that differs only in its seed passes all of them with 95 %.

    Two adapters of a recipe differ by less than t(N-1) x sqrt(2) x s, one-sided at a level of 5 % over the number of
    gates: their difference has the variance 2 s^2 (Student's prediction interval for a difference of two new values).
    To pass, the bound of the difference has to be within the margin, so the largest distance from a difference to its
    bound is added.

    Args:
        run: A run with adapters of one recipe.

    Raises:
        CalibrationError: The run has too few adapters, or several recipes.
    """
    adapters, metrics = _adapters(run), _primary_metrics(run)
    rows: dict[str, list[Comparison]] = {}
    for row in compare_adapters(run, adapters):
        rows.setdefault(metric_key(row.metric), []).append(row)
    proposals = []
    for metric in metrics:
        spread = _spread(run, metric, adapters)
        between_seeds = math.sqrt(2) * _reach(spread, ERROR_RATE / len(metrics))
        between_rows = max(map(_distance_to_bound, rows[spread.metric]))
        gate = _gate(metric, between_seeds + between_rows)
        proposals.append(Proposal(gate, spread, between_seeds, between_rows))
    return tuple(proposals)


def _adapters(run: Run) -> list[str]:
    by_recipe: dict[str, list[str]] = {}
    for subject in run.subjects:
        if subject.recipe and not subject.is_control:
            by_recipe.setdefault(subject.recipe, []).append(subject.name)
    if len(by_recipe) != 1:
        raise CalibrationError(
            f"{run.name} has adapters of {len(by_recipe)} recipes; "
            "gates are calibrated on several seeds of one recipe, without a sweep"
        )
    (adapters,) = by_recipe.values()
    if len(adapters) < FEWEST_SEEDS:
        raise CalibrationError(
            f"{run.name} has {len(adapters)} training seeds; a spread needs at least {FEWEST_SEEDS}, better 5"
        )
    return adapters


def _primary_metrics(run: Run) -> list[Metric]:
    """Return the primary metrics with scores by example; the others have no interval, so no gate on them could pass."""
    return list(dict.fromkeys(each.metric for each in run.measurements if each.metric.primary and each.scores))


def _spread(run: Run, metric: Metric, adapters: Sequence[str]) -> Spread:
    values = [_value(run, metric, adapter) for adapter in adapters]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        raise CalibrationError(f"{metric_key(metric)}: not every adapter of {run.name} has a number")
    return Spread(metric_key(metric), fmean(known), stdev(known), len(known))


def _value(run: Run, metric: Metric, subject: str) -> float | None:
    for each in run.measurements:
        if each.metric == metric and each.subject == subject and each.scores:
            return each.number
    return None


def _reach(spread: Spread, error_rate: float) -> float:
    """Return t(N-1) x s at a one-sided level."""
    from scipy.special import stdtrit

    return float(stdtrit(spread.n_seeds - 1, 1 - error_rate)) * spread.standard_deviation


def _distance_to_bound(row: Comparison) -> float:
    """Return the distance from a difference to its one-sided 95 % bound on the side of a loss."""
    if row.difference is None or row.paired is None or row.interval is None:
        return 0.0
    low, high = row.paired.interval(1 - 2 * ERROR_RATE)
    downwards, upwards = row.difference - float(low), float(high) - row.difference
    if row.metric.higher_is_better is None:
        return max(downwards, upwards)
    return downwards if row.metric.higher_is_better else upwards


def _gate(metric: Metric, margin: float) -> Gate:
    """Return a gate with the margin rounded up to two digits, relative if the metric is shown as an exponential."""
    if metric.display == "exp":
        return Gate(metric_key(metric), _rounded_up(math.expm1(margin)), relative=True)
    return Gate(metric_key(metric), _rounded_up(margin))


def _rounded_up(value: float) -> float:
    if value <= 0:
        return 0.0
    scale = 10.0 ** (1 - math.floor(math.log10(value)))
    return math.ceil(value * scale) / scale
