"""How far adapters lie apart that differ in their training seed alone, and the gates that follow from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from reports.comparing.against import compare_adapters
from reports.comparing.compare import Comparison
from reports.comparing.gates import ERROR_RATE, metric_key
from reports.comparing.seeds import FEWEST_SEEDS
from reports.records import Gate, Metric, Run


class CalibrationError(ValueError):
    """A run that does not tell how far training seeds lie apart."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A primary metric over adapters that differ in their training seed alone, in the metric's own unit."""

    metric: str
    """Evaluation and metric."""
    mean: float
    standard_deviation: float
    """With N - 1 in the denominator."""
    n_seeds: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A gate that the same recipe passes with another seed, and what its margin is made of."""

    gate: Gate
    spread: Spread
    between_seeds: float
    """How much an adapter may lose against another by its seed alone, in the metric's own unit."""
    between_rows: float
    """How far the one-sided 95 % bound lies beyond the difference itself; 0 where there is no interval."""


def propose_gates(run: Run) -> tuple[Proposal, ...]:
    """A gate for each primary metric, such that nothing but another seed passes all of them with 95 %.

    Two adapters of a recipe differ by less than t(N-1) x sqrt(2) x s, one-sided at a level of 5 % over the number of
    gates: their difference has the variance 2 s^2 (Student's prediction interval for a difference of two new values).
    To pass, the bound of the difference has to lie within the margin, so the widest arm among the pairs is added.

    Args:
        run: With adapters of one recipe.

    Raises:
        CalibrationError: Too few adapters, or several recipes.
    """
    adapters, metrics = _adapters(run), _primary_metrics(run)
    rows: dict[str, list[Comparison]] = {}
    for row in compare_adapters(run, adapters):
        rows.setdefault(metric_key(row.metric), []).append(row)
    proposals = []
    for metric in metrics:
        spread = _spread(run, metric, adapters)
        between_seeds = math.sqrt(2) * _reach(spread, ERROR_RATE / len(metrics))
        between_rows = max(map(_arm, rows[spread.metric]))
        gate = _gate(metric, between_seeds + between_rows)
        proposals.append(Proposal(gate, spread, between_seeds, between_rows))
    return tuple(proposals)


def seed_spreads(run: Run) -> tuple[Spread, ...]:
    """How far a recipe's adapters lie apart on each primary metric.

    Raises:
        CalibrationError: Too few adapters, or several recipes.
    """
    adapters = _adapters(run)
    return tuple(_spread(run, metric, adapters) for metric in _primary_metrics(run))


def strays(spreads: Sequence[Spread], run: Run, candidate: str) -> list[str]:
    """The spreads that a newly trained adapter lies outside of, in words; in 95 % none where nothing changed.

    Student's prediction interval for one more value: mean -/+ t(N-1) x s x sqrt(1 + 1/N), two-sided at a level of 5 %
    over the number of spreads.
    """
    values = {metric_key(metric): _value(run, metric, candidate) for metric in _primary_metrics(run)}
    lines = []
    for spread in spreads:
        reach = _reach(spread, ERROR_RATE / 2 / len(spreads)) * math.sqrt(1 + 1 / spread.n_seeds)
        value = values.get(spread.metric)
        if value is None or not abs(value - spread.mean) <= reach:  # NaN is a stray too
            lines.append(f"{spread.metric}: {value} is not within {spread.mean:.6g} -/+ {reach:.3g}")
    return lines


def _adapters(run: Run) -> list[str]:
    by_recipe: dict[str, list[str]] = {}
    for subject in run.subjects:
        if subject.recipe and not subject.is_control:
            by_recipe.setdefault(subject.recipe, []).append(subject.name)
    if len(by_recipe) != 1:
        raise CalibrationError(
            f"{run.name} has adapters of {len(by_recipe)} recipes that differ in their seed alone; "
            "margins are calibrated on one recipe, without a sweep"
        )
    (adapters,) = by_recipe.values()
    if len(adapters) < FEWEST_SEEDS:
        raise CalibrationError(
            f"{run.name} has {len(adapters)} training seeds; a spread takes at least {FEWEST_SEEDS}, better 5"
        )
    return adapters


def _primary_metrics(run: Run) -> list[Metric]:
    """Those that have example scores; others have no interval, so that no gate on them could pass."""
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
    """t(N-1) x s at a one-sided level."""
    from scipy.special import stdtrit

    return float(stdtrit(spread.n_seeds - 1, 1 - error_rate)) * spread.standard_deviation


def _arm(row: Comparison) -> float:
    """How far the one-sided 95 % bound lies beyond the difference."""
    if row.difference is None or row.bounds is None:
        return 0.0
    downwards, upwards = row.difference - row.bounds.low, row.bounds.high - row.difference
    if row.metric.higher_is_better is None:
        return max(downwards, upwards)
    return downwards if row.metric.higher_is_better else upwards


def _gate(metric: Metric, margin: float) -> Gate:
    """The margin rounded up to two digits; relative where the metric is shown as an exponential."""
    if metric.display == "exp":
        return Gate(metric_key(metric), _rounded_up(math.expm1(margin)), relative=True)
    return Gate(metric_key(metric), _rounded_up(margin))


def _rounded_up(value: float) -> float:
    if value <= 0:
        return 0.0
    scale = 10.0 ** (1 - math.floor(math.log10(value)))
    return math.ceil(value * scale) / scale
