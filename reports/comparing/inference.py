"""Inference on paired differences over the same groups: interval, p-value, power, and the gain from pairing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reports.comparing.resampling import (
    Draws,
    bca_interval,
    bootstrap,
    bootstrap_t_interval,
    percentile_interval,
    resamples_for,
    sign_flip_p_values,
)
from reports.comparing.statistics import (
    CONFIDENCE,
    FEWEST_GROUPS,
    WIDEST_STUDENTISED,
    Floats,
    Interval,
    Method,
    MethodChoice,
    agreement_interval,
    choose_method,
    cluster_t_interval,
    correlation,
    linearised_ratio,
    pairing_factor,
    ratio,
    smallest_detectable,
    standard_error,
    wilson_interval,
)

ONE_SIDED = 2 * CONFIDENCE - 1
"""Coverage of the two-sided interval whose ends are one-sided 95 % bounds."""
BOOTSTRAPPED: tuple[Method, ...] = ("bootstrap-t", "BCa", "percentile")
CELLS_A_BLOCK = 4_000_000
"""Most groups (or resamples, if there are more of them) times differences that are bootstrapped together."""


@dataclass(frozen=True, eq=False)
class PairedSums:
    """The two sides of a difference as sums by group, all of shape (n_groups,) and in the same order.

    A baseline that is known by definition has the candidate's counts, and its value times these counts as totals.
    """

    candidate_totals: Floats
    candidate_counts: Floats
    baseline_totals: Floats
    baseline_counts: Floats
    by_definition: bool
    """Whether the baseline is known by definition instead of measured."""
    is_outcomes: bool
    """Whether every example that was measured is an outcome of 0, 0.5 or 1."""
    identical: bool
    """Whether two measured sides have the same score for every example."""

    @cached_property
    def candidate_value(self) -> float:
        """Ratio of the candidate."""
        return ratio(self.candidate_totals, self.candidate_counts)

    @cached_property
    def baseline_value(self) -> float:
        """Ratio of the baseline."""
        return ratio(self.baseline_totals, self.baseline_counts)

    @cached_property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate_value - self.baseline_value

    @cached_property
    def candidate_influences(self) -> Floats:
        """Each group's influence on the candidate's ratio."""
        return linearised_ratio(self.candidate_totals, self.candidate_counts)

    @cached_property
    def baseline_influences(self) -> Floats:
        """Each group's influence on the baseline's ratio."""
        return linearised_ratio(self.baseline_totals, self.baseline_counts)

    @cached_property
    def influences(self) -> Floats:
        """Each group's influence on the difference."""
        influences: Floats = self.candidate_influences - self.baseline_influences
        return influences

    @property
    def shares(self) -> Floats:
        """Each group's share of the counts, the mean of both sides."""
        shares: Floats = (
            self.candidate_counts / self.candidate_counts.sum() + self.baseline_counts / self.baseline_counts.sum()
        ) / 2
        return shares

    @property
    def exchanges(self) -> Floats:
        """Each group's contribution to the separation of the sides, which swapping their labels in the group negates.

        It is the difference of the totals, less what the ratio of both sides together gives for the difference of the
        counts; the sum over groups then grows with the difference of the two ratios, whichever labels are swapped.
        """
        totals = self.candidate_totals - self.baseline_totals
        counts = self.candidate_counts - self.baseline_counts
        together = ratio(self.candidate_totals + self.baseline_totals, self.candidate_counts + self.baseline_counts)
        exchanges: Floats = totals - together * counts
        return exchanges

    @cached_property
    def n_apart(self) -> int:
        """Number of groups whose difference is not the one that most groups have, up to rounding."""
        counted = (self.candidate_counts > 0) & (self.baseline_counts > 0)
        candidate = self.candidate_totals[counted] / self.candidate_counts[counted]
        baseline = self.baseline_totals[counted] / self.baseline_counts[counted]
        scale = max(float(np.abs([candidate, baseline]).max(initial=0)), 1e-300)
        _, n_alike = np.unique(np.round((candidate - baseline) / scale, 11), return_counts=True)
        return len(candidate) - int(n_alike.max(initial=0))


@dataclass(frozen=True, slots=True)
class Inference:
    """Interval, p-value, power and gain from pairing of one difference; lengths are in the unit of the difference."""

    interval: Interval | None = None
    """Two-sided 95 % interval."""
    why_no_interval: str | None = None
    """Reason, in words, if there is no interval."""
    is_identical: bool = False
    """Whether there is no interval because every example has the same score on both sides, which is no change at all.
    """
    bounds: Interval | None = None
    """90 % interval, each of whose ends is a one-sided 95 % bound: for equivalence and gates."""
    standard_error: float | None = None
    """Standard error by group; None if all groups have the same difference."""
    p_value: float | None = None
    """Two-sided p-value of swapping the two sides within groups, not adjusted."""
    smallest_detectable: float | None = None
    """True difference that a test at 5 % detects with a probability of 80 %."""
    correlation: float | None = None
    """Correlation of the two sides over groups; None if one of them does not vary, or is known by definition."""
    pairing_factor: float | None = None
    """How many times wider the interval would be without pairing; None if there is no correlation."""


def infer(sides: Sequence[PairedSums], seed: int) -> list[Inference]:
    """Return the inference on each difference.

    Args:
        sides: At least one difference, all over the same groups.
        seed: Seed of the draws, which all differences share.
    """
    n_groups = len(sides[0].candidate_totals)
    a_block = max(1, CELLS_A_BLOCK // max(n_groups, resamples_for(n_groups)))
    blocks = (sides[start : start + a_block] for start in range(0, len(sides), a_block))
    return [inference for block in blocks for inference in _infer_block(block, n_groups, seed)]


def _infer_block(sides: Sequence[PairedSums], n_groups: int, seed: int) -> list[Inference]:
    choices = [
        choose_method(
            n_groups,
            n_apart=each.n_apart,
            bounded=each.is_outcomes,
            by_definition=each.by_definition,
            identical=each.identical,
        )
        for each in sides
    ]
    if n_groups < FEWEST_GROUPS:
        return [Inference(why_no_interval=choice.reason, is_identical=choice.is_identical) for choice in choices]
    drawn = [position for position, choice in enumerate(choices) if choice.method in BOOTSTRAPPED]
    draws: dict[int, Draws] = {}
    if drawn:
        influences = np.column_stack([sides[position].influences for position in drawn])
        shares = np.column_stack([sides[position].shares for position in drawn])
        both = bootstrap(influences, shares, np.random.default_rng(seed), resamples_for(n_groups))
        draws = {position: both.of(column) for column, position in enumerate(drawn)}
    exchanges = np.column_stack([each.exchanges for each in sides])
    p_values = sign_flip_p_values(exchanges, np.random.default_rng(seed), resamples_for(n_groups))
    return [
        _inference(each, choice, draws.get(position), float(p_values[position]))
        for position, (each, choice) in enumerate(zip(sides, choices, strict=True))
    ]


def _inference(sides: PairedSums, choice: MethodChoice, draws: Draws | None, p_value: float) -> Inference:
    if choice.method is None:
        return Inference(why_no_interval=choice.reason, is_identical=choice.is_identical, p_value=p_value)
    has_spread, is_paired = choice.method != "exact", not sides.by_definition
    method = _settled(sides, choice.method, draws)
    candidate, baseline = sides.candidate_influences, sides.baseline_influences
    return Inference(
        interval=_interval(sides, method, draws, CONFIDENCE),
        bounds=_interval(sides, method, draws, ONE_SIDED),
        standard_error=standard_error(sides.influences) if has_spread else None,
        p_value=p_value,
        smallest_detectable=smallest_detectable(sides.influences) if has_spread else None,
        correlation=correlation(candidate, baseline) if has_spread and is_paired else None,
        pairing_factor=pairing_factor(candidate, baseline) if has_spread and is_paired else None,
    )


def _settled(sides: PairedSums, method: Method, draws: Draws | None) -> Method:
    """Return the chosen method, or cluster-t if the draws of the bootstrap-t show that it is unreliable here."""
    if method != "bootstrap-t":
        return method
    studentised, plain = (_interval(sides, each, draws, CONFIDENCE) for each in (method, "cluster-t"))
    is_too_wide = studentised.high - studentised.low > WIDEST_STUDENTISED * (plain.high - plain.low)
    return "cluster-t" if is_too_wide else method


def _interval(sides: PairedSums, method: Method, draws: Draws | None, confidence: float) -> Interval:
    difference, influences = sides.difference, sides.influences
    if method == "cluster-t":
        return cluster_t_interval(difference, influences, confidence)
    if method == "Wilson":
        return wilson_interval(sides.candidate_value, influences, sides.baseline_value, confidence)
    if draws is None:
        known = sides.baseline_value
        lowest, highest = (-known, 1 - known) if sides.by_definition else (-1.0, 1.0)
        return agreement_interval(difference, len(influences), lowest=lowest, highest=highest, confidence=confidence)
    if method == "bootstrap-t":
        return bootstrap_t_interval(difference, standard_error(influences), draws, confidence)
    if method == "BCa":
        return bca_interval(difference, influences, draws.shifts, confidence)
    return percentile_interval(difference, draws.shifts, len(influences), confidence)
