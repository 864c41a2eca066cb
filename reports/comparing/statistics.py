"""Closed formulas that are no part of the inference itself: ratios, the gain from pairing, corrected p-values."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8
"""Probability with which the smallest detectable difference is detected."""


class EmptyRatioError(ValueError):
    """A ratio takes a positive sum of counts."""


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
        p_values: Unadjusted p-values, shape (*batch, n_tests).

    Returns:
        Adjusted ones in the same order: the k-th smallest of n times n - k + 1, not below the one before, at most 1.
    """
    order = np.argsort(p_values, axis=-1, kind="stable")
    factors = np.arange(p_values.shape[-1], 0, -1)
    steps = np.maximum.accumulate(np.take_along_axis(p_values, order, axis=-1) * factors, axis=-1)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.minimum(steps, 1.0), axis=-1)
    return adjusted
