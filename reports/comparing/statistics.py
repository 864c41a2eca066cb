"""Closed formulas for differences of ratios sum(total)/sum(count) by group: pure functions on arrays.

Rows within a group are dependent, so every formula here takes sums by group and treats the groups as independent. A
paired difference is a difference of two ratios over the same groups; a difference from a constant is the special case
in which the second ratio does not vary. Methods that take random draws are in `resampling.py`.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Method = Literal["bootstrap-t", "BCa", "percentile", "Wilson", "cluster-t", "exact"]

CONFIDENCE = 0.95
POWER = 0.8
"""Probability with which the smallest detectable difference is detected."""
FEWEST_GROUPS = 10
"""With fewer groups there is neither an interval nor a p-value."""
MOST_GROUPS_STUDENTISED = 1_000
"""With more groups BCa covers as well as the bootstrap-t, and needs no standard error of each resample."""
FEWEST_APART = 8
"""With fewer groups that differ from the rest, a resample may consist of equal groups alone."""
WIDEST_STUDENTISED = 2.0
"""Largest width of a bootstrap-t interval relative to cluster-t; a wider one depends on a few large groups."""


class TooFewGroupsError(ValueError):
    """A spread takes at least two groups."""


class EmptyRatioError(ValueError):
    """A ratio takes a positive sum of counts."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Two-sided interval for a difference, in the unit of the ratio."""

    low: float
    high: float
    method: Method


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """The method of an interval, or the reason why there is none."""

    method: Method | None
    reason: str | None = None
    """Reason, in words, if there is no method."""
    is_identical: bool = False
    """Whether that is because all scores are identical."""


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """Mean and spread of the differences of adapters that were trained with different seeds."""

    mean: float
    standard_deviation: float | None
    """Standard deviation with N - 1 in the denominator; None if there is one adapter."""
    interval: Interval | None
    """Interval of the mean; None if there is one adapter, or the adapters do not differ."""


def ratio(totals: Floats, counts: Floats) -> float:
    """Return sum(totals) / sum(counts).

    Raises:
        EmptyRatioError: The sum of the counts is not positive.
    """
    denominator = float(counts.sum())
    if not denominator > 0:
        raise EmptyRatioError(f"the counts sum to {denominator:g}; a ratio needs a positive sum")
    return float(totals.sum()) / denominator


def linearised_ratio(totals: Floats, counts: Floats) -> Floats:
    """Return each group's influence on the ratio R: (total_g - R count_g) / sum(count), shape (n_groups,); sums to 0.

    The first-order expansion of a ratio estimator (Cochran, Sampling Techniques, 3rd ed. 1977, section 6.3). The
    difference of two such arrays over the same groups linearises the paired difference of the two ratios.
    """
    influences: Floats = (totals - ratio(totals, counts) * counts) / counts.sum()
    return influences


def choose_method(n_groups: int, *, n_apart: int, bounded: bool, by_definition: bool, identical: bool) -> MethodChoice:
    """Choose the method of an interval: the one that covered best in simulations, some of which are in the tests.

    Amounts such as nats get the bootstrap-t, which covers even if they are skewed and groups are few. It needs a spread
    in every resample, so cluster-t replaces it if few groups differ from the rest, and percentiles for paired outcomes.
    Outcomes compared with a definition are skewed if most of them are won, which Wilson's interval allows for.

    Args:
        n_groups: Independent groups of examples.
        n_apart: Groups whose difference is not the one that most groups have; without any there is no spread.
        bounded: Whether every example is an outcome of 0, 0.5 or 1, as exact bounds require.
        by_definition: Whether one side is known instead of measured.
        identical: Whether both sides have the same score on every example.
    """
    if identical and not bounded:
        return MethodChoice(None, "identical scores", is_identical=True)
    if n_groups < FEWEST_GROUPS:
        return MethodChoice(None, f"{n_groups} groups; an interval needs {FEWEST_GROUPS}")
    if not n_apart:
        reason = "the difference is the same in every group, so its spread cannot be estimated"
        return MethodChoice("exact") if bounded else MethodChoice(None, reason)
    if bounded:
        return MethodChoice("Wilson" if by_definition else "percentile")
    if n_apart < FEWEST_APART:
        return MethodChoice("cluster-t")
    return MethodChoice("bootstrap-t" if n_groups <= MOST_GROUPS_STUDENTISED else "BCa")


def varies(influences: Floats, scale: float) -> bool:
    """Whether the groups' influences on a difference exceed the rounding errors of numbers as large as `scale`."""
    return bool(np.abs(influences).max() * len(influences) > 1e-12 * max(scale, 1e-300))


def standard_error(influences: Floats) -> float:
    """Return sqrt(C/(C-1) x sum of squared influences), for C groups.

    The cluster-robust variance with the finite-cluster factor (Liang and Zeger, Biometrika 73, 1986; Cameron and
    Miller, Journal of Human Resources 50, 2015, section II.B).

    Raises:
        TooFewGroupsError: Fewer than two groups.
    """
    n_groups = len(influences)
    if n_groups < 2:  # noqa: PLR2004
        raise TooFewGroupsError(f"a standard error takes at least 2 groups, got {n_groups}")
    return math.sqrt(n_groups / (n_groups - 1) * float(np.square(influences).sum()))


def cluster_t_interval(difference: float, influences: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return the estimate -/+ t(C-1) x standard error, for C groups.

    Cameron and Miller 2015, section VI.D. With one example a group and counts of 1 it is the interval of the paired
    t-test.

    Args:
        difference: The estimate.
        influences: Shape (n_groups,), from `linearised_ratio`; for a paired difference, the difference of the two.
        confidence: Nominal coverage.

    Raises:
        TooFewGroupsError: Fewer than two groups.
    """
    half_width = _t_quantile(len(influences), 0.5 + confidence / 2) * standard_error(influences)
    return Interval(difference - half_width, difference + half_width, "cluster-t")


def wilson_interval(share: float, influences: Floats, known: float, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval (JASA 22, 1927) of a share of outcomes, less a known share.

    It is taken at the effective number of examples n, for which p (1 - p) / n is the share's variance by group, and
    with the quantile of t instead of the normal one (Korn and Graubard, Survey Methodology 24, 1998; Dean and Pagano,
    Journal of Survey Statistics and Methodology 3, 2015, on clustered data).

    Args:
        share: The estimate p, between 0 and 1.
        influences: Influences of the groups on it, shape (n_groups,); not all of them 0.
        known: The share it is compared with.
        confidence: Nominal coverage.
    """
    n_effective = share * (1 - share) / standard_error(influences) ** 2
    weight = _t_quantile(len(influences), 0.5 + confidence / 2) ** 2 / n_effective
    centre = (share + weight / 2) / (1 + weight)
    half_width = math.sqrt(weight * share * (1 - share) + (weight / 2) ** 2) / (1 + weight)
    return Interval(centre - half_width - known, centre + half_width - known, "Wilson")


def smallest_detectable(influences: Floats, power: float = POWER, confidence: float = CONFIDENCE) -> float:
    """Return the true difference that a two-sided test detects with this power.

    It is (t(1 - alpha/2) + t(power)) x standard error.

    Quantiles of t with C-1 degrees of freedom, for C groups (Bloom, Evaluation Review 19, 1995). It depends on the
    spread alone, not on the difference that was found.

    Raises:
        TooFewGroupsError: Fewer than two groups.
    """
    n_groups = len(influences)
    multiple = _t_quantile(n_groups, 0.5 + confidence / 2) + _t_quantile(n_groups, power)
    return multiple * standard_error(influences)


def _t_quantile(n_groups: int, share: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n_groups - 1, share))


def correlation(candidate: Floats, baseline: Floats) -> float | None:
    """Return the correlation of two sides' influences over the groups, or None if one of them does not vary."""
    squares = float(np.square(candidate).sum() * np.square(baseline).sum())
    return float((candidate * baseline).sum()) / math.sqrt(squares) if squares > 0 else None


def pairing_factor(candidate: Floats, baseline: Floats) -> float | None:
    """Return the standard error of two independent samples over that of the pairs, or None if a side does not vary.

    It is how many times wider the interval would be if the candidate had been measured on other examples than the
    baseline: with equal spreads 1 / sqrt(1 - correlation).
    """
    paired = float(np.square(candidate - baseline).sum())
    apart = float(np.square(candidate).sum()), float(np.square(baseline).sum())
    return math.sqrt(sum(apart) / paired) if paired > 0 and all(apart) else None


def holm(p_values: Floats) -> Floats:
    """Adjust the p-values of a family of tests, so that the probability of any false rejection is controlled.

    Holm, Scandinavian Journal of Statistics 6, 1979.

    Args:
        p_values: Unadjusted p-values, shape (n_tests,).

    Returns:
        Adjusted ones in the same order: the k-th smallest of n times n - k + 1, not below the one before, at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def is_equivalent(bounds: Interval, margin: float) -> bool:
    """Whether a difference is shown to be smaller than a margin, in either direction.

    Two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987): both reject at 5 %
    exactly if the two-sided 90 % interval is within the margin.

    Args:
        bounds: Two-sided 90 % interval of the difference.
        margin: Largest difference that counts as none, above 0, in the unit of the difference.
    """
    return -margin < bounds.low and bounds.high < margin


def seed_spread(differences: Floats, confidence: float = CONFIDENCE) -> SeedSpread:
    """Return mean m, standard deviation s and m -/+ t(N-1) x s / sqrt(N) of N differences.

    The interval (Student, Biometrika 6, 1908) is cluster-t for a mean in which every adapter is a group. It holds over
    seeds on the rows that were measured: the spread of the rows, which the adapters share, is not part of it.

    Args:
        differences: One difference an adapter, shape (n_adapters,).
        confidence: Nominal coverage.

    Raises:
        EmptyRatioError: There is no adapter.
    """
    ones = np.ones(len(differences))
    mean = ratio(differences, ones)
    if len(differences) < 2:  # noqa: PLR2004
        return SeedSpread(mean, None, None)
    influences = linearised_ratio(differences, ones)
    differ = varies(influences, float(np.abs(differences).max()))
    return SeedSpread(
        mean=mean,
        standard_deviation=float(differences.std(ddof=1)),
        interval=cluster_t_interval(mean, influences, confidence) if differ else None,
    )


def agreement_interval(
    outcome: float, n_groups: int, *, lowest: float, highest: float, confidence: float = CONFIDENCE
) -> Interval:
    """Return bounds for a mean if all groups had the same outcome.

    With C of C groups alike, at least a share s = (alpha/2)^(1/C) of all groups is alike (the Clopper-Pearson limit,
    Biometrika 26, 1934), and the others may have any outcome between the lowest and the highest possible one. Outcome 1
    between 0 and 1 gives Clopper and Pearson's own interval for C successes in C trials. The share is one of groups, so
    the bounds are those of a mean over groups.

    Args:
        outcome: Outcome of every group.
        n_groups: Number of groups.
        lowest: Smallest possible outcome.
        highest: Largest possible outcome.
        confidence: Nominal coverage.

    Raises:
        TooFewGroupsError: There is no group.
    """
    if n_groups < 1:
        raise TooFewGroupsError("bounds take at least 1 group, got 0")
    alike = ((1 - confidence) / 2) ** (1 / n_groups)
    return Interval(
        alike * outcome + (1 - alike) * lowest,
        alike * outcome + (1 - alike) * highest,
        "exact",
    )
