"""Parts of an inference: one-sided p-values of a kind of data, and the limits at which they reach a level.

A part speaks for a rise: its p is the chance of data as high as these if the true difference is at a limit, and its
limit is the inverse of that. A fall is a rise of the mirrored data. All arguments broadcast.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Part(NamedTuple):
    """A one-sided p-value and its inverse."""

    p: Callable[[Floats], Floats]
    """Limit -> chance of data as high as these; it rises with the limit."""
    limit: Callable[[float], Floats]
    """Level -> the largest limit at which p is within the level."""


_NO_SKEWNESS = 1e-6
"""Skewness below which Hall's t is Student's, up to rounding."""
_ROUNDING = 1e-12
_LEAST_Z, _MOST_Z = -30.0, 7.0
"""Normal scores of the least and of the largest p that is told apart: 5e-198, and 1 less 1e-12."""
_HALVINGS = 52
"""Steps that halve a range down to the spacing of doubles."""


def amounts(difference: Floats, error: Floats, skewness: Floats, freedom: Floats) -> Part:
    """Return the part whose p is the larger one of Student's t and of Hall's, which allows for skewness.

    Hall's third transformation (Journal of the Royal Statistical Society B 54, 1992) removes the first term of the
    Edgeworth expansion of a studentised mean and is monotone: H = t + s (t^2/3 + 1/6) + s^2 t^3/27. It is held against
    t with the same degrees of freedom. With a long tail above, a rise is judged by t, which is then the larger p.

    Args:
        difference: The estimate.
        error: Its standard error.
        skewness: s, skewness of the estimate, which is g/sqrt(n) for n groups of skewness g.
        freedom: Degrees of freedom.
    """
    from scipy.special import stdtr

    def p(limit: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t = (difference - limit) / error
            hall = t + skewness * (t**2 / 3 + 1 / 6) + skewness**2 * t**3 / 27
        return np.asarray(np.maximum(stdtr(freedom, -t), stdtr(freedom, -hall)))

    return Part(p, lambda level: difference - error * amounts_multiple(np.asarray(level), skewness, freedom))


def amounts_multiple(level: Floats, skewness: Floats, freedom: Floats) -> Floats:
    """Return how many standard errors below the estimate the limit lies at which the p of amounts is the level.

    Args:
        level: One-sided level.
        skewness: As in `amounts`.
        freedom: Degrees of freedom.
    """
    from scipy.special import stdtrit

    quantile = -stdtrit(freedom, level)
    s = np.where(np.abs(skewness) < _NO_SKEWNESS, _NO_SKEWNESS, skewness)
    return np.asarray(np.maximum(quantile, 3 / s * (np.cbrt(1 + s * (quantile - s / 6)) - 1)))


def seeds_and_groups(
    estimate: tuple[Floats, Floats], of_seeds: Floats, n_seeds: int, skewness: Floats, freedom: Floats
) -> Part:
    """Return the part of a mean over seeds, whose variance is that of the seeds plus that of the groups.

    Its critical value is Cochran and Cox's (Experimental Designs, 2nd ed. 1957, section 4.14): those of both parts,
    each weighted with its share of the variance. It is conservative, which Satterthwaite's degrees of freedom are not
    where a part has two of them.

    Args:
        estimate: The difference and its standard error.
        of_seeds: The seeds' share of the variance.
        n_seeds: Number of seeds.
        skewness: Skewness of the groups' part, as in `amounts`.
        freedom: Degrees of freedom of the groups' part.
    """
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    difference, error = estimate

    def multiple(level: Floats) -> Floats:
        of_groups = amounts_multiple(level, skewness, freedom)
        return np.asarray(of_groups - of_seeds * (stdtrit(n_seeds - 1, level) + of_groups))

    def p(limit: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (difference - limit) / error
        parts = amounts(t, np.ones_like(t), skewness, freedom).p(np.zeros_like(t)), stdtr(n_seeds - 1, -t)
        ends = [np.clip(ndtri(each), _LEAST_Z, _MOST_Z) for each in parts]  # p lies between those of the parts
        z = solve(lambda z: -multiple(ndtr(z)), np.minimum(*ends) - 1e-9, np.maximum(*ends) + 1e-9, -t)
        return np.asarray(ndtr(z))

    return Part(p, lambda level: difference - error * multiple(np.asarray(level)))


def mid_p(successes: Floats, trials: Floats, share: Floats) -> Floats:
    """Return P(X > successes) + P(X = successes) / 2 for a binomial X: the mid-p (Lancaster, JASA 56, 1961).

    Both numbers may be fractions, as effective numbers are: the incomplete beta function goes on between integers
    (Korn and Graubard, Survey Methodology 24, 1998). Without a trial it is 1.
    """
    from scipy.special import betainc

    failures = np.maximum(trials - successes, 0.0)
    share = np.minimum(np.maximum(share, 0.0), 1.0)
    at_least = np.where(successes > 0, betainc(np.where(successes > 0, successes, 1.0), failures + 1, share), 1.0)
    more = np.where(failures > 0, betainc(successes + 1, np.where(failures > 0, failures, 1.0), share), 0.0)
    p: Floats = np.where(trials > 0, (at_least + more) / 2, 1.0)
    return p


def signs(won: Floats, lost: Floats, squares: Floats, n: Floats) -> Part:
    """Return the part that asks only how often groups are won and lost, with the size of the differences as it is.

    McNemar's test with mid-p (Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13, 2013), at the
    effective number of groups that differ, which is their number if they differ by the same amount. A difference is
    (2 q - 1) x mean absolute difference, where q is the share that is won.

    Args:
        won: Sum of the groups' differences above 0.
        lost: Sum of those below 0, without their sign.
        squares: Sum of their squares.
        n: Sum of the counts.
    """
    apart = won + lost
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(apart > 0, apart / squares, 0.0)
        size = np.where(apart > 0, apart / n, 1.0)

    def p(limit: Floats) -> Floats:
        return np.where(limit < -size, 0.0, mid_p(won * weight, apart * weight, (1 + limit / size) / 2))

    return Part(p, lambda level: solve(p, -size, np.where(apart > 0, (won - lost) / n, -size), level))


def score(won: Floats, lost: Floats, n: Floats) -> Part:
    """Return the part of Tango's score test (Statistics in Medicine 17, 1998) of won/n - lost/n.

    Its variance is that of the most likely shares of which the difference is the limit; at 0 it is McNemar's test
    without continuity correction. Its interval is one of those that Fagerland, Lydersen and Laake (Statistics in
    Medicine 33, 2014) recommend.

    Args:
        won: Effective number of groups that are won.
        lost: Effective number of groups that are lost.
        n: Effective number of all groups.
    """
    from scipy.special import ndtr

    def p(limit: Floats) -> Floats:
        b = (2 * n - won + lost) * limit - won - lost
        most_likely = (np.sqrt(np.maximum(b**2 + 8 * n * lost * limit * (1 - limit), 0.0)) - b) / (4 * n)
        distance, variance = won - lost - n * limit, n * (2 * most_likely + limit * (1 - limit))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = distance / np.sqrt(np.maximum(variance, 0.0))
        return np.asarray(ndtr(-np.where(np.abs(distance) <= _ROUNDING * n, 0.0, z)))

    return Part(p, lambda level: solve(p, -np.ones_like(n), (won - lost) / n, level))


def share(value: Floats, known: Floats, n: Floats, freedom: Floats) -> Part:
    """Return the part of a share of outcomes less a known one: the larger p of the binomial mid-p and the score test.

    Both are taken at the effective number n of outcomes (Korn and Graubard, Survey Methodology 24, 1998). The score
    test (Wilson, JASA 22, 1927) is by t, because the groups have to tell that number (Dean and Pagano, Journal of
    Survey Statistics and Methodology 3, 2015).

    Args:
        value: The share.
        known: What it is compared with.
        n: Effective number of outcomes.
        freedom: Degrees of freedom.
    """
    from scipy.special import stdtr

    def p(limit: Floats) -> Floats:
        at = np.clip(known + limit, 0.0, 1.0)
        distance = value - at
        with np.errstate(divide="ignore", invalid="ignore"):
            t = distance * np.sqrt(n / (at * (1 - at)))
        of_score = stdtr(freedom, -np.where(np.abs(distance) <= _ROUNDING, 0.0, t))
        return np.where(known + limit < 0, 0.0, np.maximum(mid_p(n * value, n, at), of_score))

    return Part(p, lambda level: solve(p, -known, value - known, level))


def solve(rising: Callable[[Floats], Floats], start: Floats, end: Floats, level: Floats | float) -> Floats:
    """Return where a rising function reaches the level between start and end; the start if it is above it there."""
    low, high = (each.copy() for each in np.broadcast_arrays(np.asarray(start, float), np.asarray(end, float)))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_within = rising(middle) <= level
        low, high = np.where(is_within, middle, low), np.where(is_within, high, middle)
    return low
