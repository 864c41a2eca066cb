"""Bootstrap intervals and sign-flip tests for paired differences, by group: one matrix of draws for many differences.

Every difference over the same groups is a column, so that one matrix of weights (or of signs) serves all subjects and
metrics of an evaluation. Only a chunk of that matrix is in memory at a time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.comparing.statistics import CONFIDENCE, Floats, Interval, TooFewGroupsError

CELLS_A_CHUNK = 2_000_000
"""Weights or signs in memory at a time: 16 MB as doubles."""
MOST_ENUMERATED = 14
"""Most groups in which the sides differ for which all swaps are enumerated."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The draws of a bootstrap; both arrays have the shape (n_resamples, n_differences)."""

    shifts: Floats
    """Difference of each resample less the observed one."""
    standard_errors: Floats
    """Standard error of each resample's difference, from the spread of its own groups."""

    def of(self, position: int) -> "Draws":
        """Return the draws of one difference, both of shape (n_resamples,)."""
        return Draws(self.shifts[:, position], self.standard_errors[:, position])


def resamples_for(n_groups: int) -> int:
    """Return the number of bootstrap resamples, or random swaps, for a number of groups."""
    return 10_000 if n_groups <= 5_000 else 2_000  # noqa: PLR2004


def bootstrap(influences: Floats, shares: Floats, rng: np.random.Generator, n_resamples: int) -> Draws:
    """Resample groups with replacement and return the differences of ratios; every column has the same draws.

    A resample with weights w shifts a difference by d = sum(w influence) / sum(w share), and the spread of its C groups
    gives it a standard error: the root of C/(C-1) sum(w (influence - d share)^2) / sum(w share)^2. If both sides
    have the same counts, this is the paired bootstrap of the difference of ratios itself (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapters 6, 8 and 12), otherwise it is that to first order.

    Args:
        influences: Influence of each group on a difference, shape (n_groups, n_differences); columns sum to 0.
        shares: Each group's share of the counts, the same shape; columns sum to 1.
        rng: Source of the draws.
        n_resamples: Number of resamples.

    Raises:
        TooFewGroupsError: Fewer than two groups.
    """
    n_groups, n_differences = influences.shape
    if n_groups < 2:  # noqa: PLR2004
        raise TooFewGroupsError(f"a bootstrap takes at least 2 groups, got {n_groups}")
    columns = np.hstack([influences, shares, influences**2, influences * shares, shares**2])
    shifts, standard_errors = np.empty((2, n_resamples, n_differences))
    for rows in _chunks(n_resamples, columns):
        drawn = rng.integers(n_groups, size=(rows.stop - rows.start, n_groups))
        drawn += np.arange(len(drawn))[:, None] * n_groups  # one stretch of cells for each resample
        weights = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
        moved, counted, squares, products, counted_squares = np.split(weights @ columns, 5, axis=1)
        shift = moved / counted
        squared = np.maximum(squares - 2 * shift * products + shift**2 * counted_squares, 0.0)
        shifts[rows] = shift
        standard_errors[rows] = np.sqrt(n_groups / (n_groups - 1) * squared) / counted
    return Draws(shifts, standard_errors)


def percentile_interval(difference: float, shifts: Floats, n_groups: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the central share of a difference's bootstrap draws, expanded for few groups.

    Percentiles (Efron and Tibshirani 1993, chapter 13) leave out the factor C/(C-1) and the tails of t. Their normal
    level is therefore taken at sqrt(C/(C-1)) times the quantile of t with C-1 degrees of freedom, for C groups
    (Hesterberg, The American Statistician 69, 2015).

    Args:
        difference: The estimate.
        shifts: Shifts of the bootstrap, shape (n_resamples,).
        n_groups: Number of groups that were drawn from.
        confidence: Nominal coverage.
    """
    from scipy.special import ndtr

    low, high = np.quantile(shifts, ndtr(_normal_ends(n_groups, confidence)))
    return Interval(_end(difference, low), _end(difference, high), "percentile")


def bca_interval(difference: float, influences: Floats, shifts: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return percentiles corrected for bias and acceleration, expanded like those of `percentile_interval`.

    BCa after Efron (Journal of the American Statistical Association 82, 1987), with the acceleration from the
    influences (Efron and Tibshirani 1993, section 22.5).

    Args:
        difference: The estimate.
        influences: Influences of the groups, shape (n_groups,).
        shifts: Shifts of the bootstrap, shape (n_resamples,).
        confidence: Nominal coverage.
    """
    from scipy.special import ndtr, ndtri

    n_resamples = len(shifts)
    acceleration = float((influences**3).sum() / (6 * (influences**2).sum() ** 1.5))
    tie = 1e-9 * float(np.abs(shifts).max())  # outcomes often give the very difference that was observed
    below = (np.count_nonzero(shifts < -tie) + np.count_nonzero(shifts <= tie)) / 2
    bias = float(ndtri(np.clip(below, 0.5, n_resamples - 0.5) / n_resamples))
    ends = bias + _normal_ends(len(influences), confidence)
    low, high = np.quantile(shifts, ndtr(bias + ends / np.maximum(1 - acceleration * ends, 1e-3)))
    return Interval(_end(difference, low), _end(difference, high), "BCa")


def _normal_ends(n_groups: int, confidence: float) -> Floats:
    """Return both ends of the expanded central share of a standard normal distribution."""
    from scipy.special import stdtrit

    reach = math.sqrt(n_groups / (n_groups - 1)) * float(stdtrit(n_groups - 1, 0.5 + confidence / 2))
    return np.array([-reach, reach])


def _end(difference: float, shift: float) -> float:
    """Return an end of an interval; for outcomes it is often 0, which rounding must not change."""
    end = difference + float(shift)
    return 0.0 if abs(end) < 1e-12 * abs(difference) else end


def bootstrap_t_interval(
    difference: float, standard_error: float, draws: Draws, confidence: float = CONFIDENCE
) -> Interval:
    """Return the estimate less the quantiles of the studentised draws times the standard error.

    The bootstrap-t (Efron and Tibshirani 1993, section 12.5): unlike a t interval it follows the skewness of the data.
    Its tails are equal, so that each end is a bound of its own.

    Args:
        difference: The estimate.
        standard_error: Standard error of the estimate.
        draws: Draws of this one difference; nearly every resample must have a spread.
        confidence: Nominal coverage.
    """
    studentised = draws.shifts / np.maximum(draws.standard_errors, 1e-12 * standard_error)
    low, high = np.quantile(studentised, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(difference - float(high) * standard_error, difference - float(low) * standard_error, "bootstrap-t")


def sign_flip_p_values(exchanges: Floats, rng: np.random.Generator, n_swaps: int) -> Floats:
    """Return two-sided p-values, shape (n_differences,), of swapping the two sides of a difference within groups.

    If neither side is better, their labels can be swapped in any group (Fisher, The Design of Experiments, 1935,
    section 21; Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd ed. 2005, section 3.2). The p-value
    is the share of swaps that separate the sides at least as far as was observed. It is exact if all the groups that
    differ do so by the same amount (a sign test; with one 0/1 example a group, McNemar's exact test) and if few of
    them differ, so that all swaps are enumerated; otherwise it is (b + 1) / (m + 1) for b of m random swaps (Phipson
    and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010).

    Args:
        exchanges: Contribution of a group to the separation, shape (n_groups, n_differences); a swap negates it.
        rng: Source of the swaps; every column has the same.
        n_swaps: Number of random swaps, if not all are enumerated.
    """
    p_values = np.array([_exact_p_value(column) for column in exchanges.T])
    rest = np.isnan(p_values)
    if not rest.any():
        return p_values
    columns = exchanges[:, rest]
    total = columns.sum(axis=0)
    n_as_far = np.zeros(columns.shape[1])
    for rows in _chunks(n_swaps, columns):
        kept = rng.integers(2, size=(rows.stop - rows.start, len(columns))).astype(np.float64)
        n_as_far += _as_far(2 * (kept @ columns) - total, total).sum(axis=0)
    p_values[rest] = (n_as_far + 1) / (n_swaps + 1)
    return p_values


def _exact_p_value(exchanges: Floats) -> float:
    """Return the exact p-value, or NaN if there are too many swaps to enumerate."""
    from scipy.special import bdtr

    differing = exchanges[exchanges != 0]
    n_differing = len(differing)
    if not n_differing:
        return 1.0
    sizes = np.abs(differing)
    if sizes.max() - sizes.min() <= 1e-9 * sizes.max():
        n_fewer = min(np.count_nonzero(differing > 0), np.count_nonzero(differing < 0))
        return min(1.0, 2 * float(bdtr(n_fewer, n_differing, 0.5)))
    if n_differing > MOST_ENUMERATED:
        return math.nan
    kept = (np.arange(2**n_differing)[:, None] >> np.arange(n_differing)) & 1
    total = differing.sum(keepdims=True)
    return float(_as_far(2 * (kept @ differing) - total, total).mean())


def _as_far(sums: Floats, total: Floats) -> NDArray[np.bool_]:
    """Return which sums are at least as far from 0 as the total, up to rounding."""
    return np.abs(sums) >= np.abs(total) * (1 - 1e-9)


def _chunks(n_rows: int, columns: Floats) -> Iterator[slice]:
    """Yield slices of `n_rows` whose weights on the columns, and sums over them, fit into a chunk."""
    rows_a_chunk = max(1, CELLS_A_CHUNK // max(columns.shape))
    for start in range(0, n_rows, rows_a_chunk):
        yield slice(start, min(start + rows_a_chunk, n_rows))
