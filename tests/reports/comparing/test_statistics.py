"""Closed forms against scipy, statsmodels and by hand."""

import numpy as np
import pytest
from scipy import stats

from reports.comparing.statistics import EmptyRatioError, correlation, holm, linearised_ratio, pairing_factor, ratio


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_ratio_divides_sums():
    """sum(total)/sum(count), not the mean of ratios."""
    assert ratio(np.array([1.0, 9.0]), np.array([1.0, 3.0])) == 2.5


def test_a_ratio_without_counts_is_refused():
    """Counts that sum to nothing are an error, never a zero."""
    with pytest.raises(EmptyRatioError, match="sum to 0"):
        ratio(np.array([1.0]), np.array([0.0]))


def test_linearised_ratio_is_the_derivative_of_the_ratio_in_the_weights():
    """A group's influence is how fast the ratio moves with the group's weight."""
    rng = _rng()
    totals, counts = rng.normal(size=6), rng.uniform(1, 3, 6)
    step = 1e-6 * np.eye(6)
    moved = [
        (ratio((1 + e) * totals, (1 + e) * counts) - ratio((1 - e) * totals, (1 - e) * counts)) / 2e-6 for e in step
    ]
    assert linearised_ratio(totals, counts) == pytest.approx(moved, abs=1e-8)
    assert linearised_ratio(totals, counts).sum() == pytest.approx(0)


def test_pairing_narrows_the_interval_by_what_is_shared():
    """Against scipy's correlation and the two standard errors by hand; sides of equal spread give 1 / sqrt(1 - r)."""
    rng = _rng(6)
    ones = np.ones(50)
    one = rng.normal(size=50)
    other = one + rng.normal(0, 0.3, 50)
    influences = [linearised_ratio(side, ones) for side in (one, other)]
    r = stats.pearsonr(one, other).statistic
    apart = np.hypot(stats.sem(one), stats.sem(other)) / stats.sem(one - other)
    assert correlation(*influences) == pytest.approx(r)
    assert pairing_factor(*influences) == pytest.approx(apart)
    equal = one, r * one + np.sqrt(1 - r**2) * (np.roll(one, 25) * 1.0)
    swapped = [linearised_ratio(np.concatenate(side), np.ones(100)) for side in (equal, equal[::-1])]
    assert pairing_factor(*swapped) == pytest.approx(1 / np.sqrt(1 - correlation(*swapped)))


def test_a_side_that_does_not_vary_is_correlated_with_nothing():
    """Neither a correlation nor a factor where a side, or the difference, is the same everywhere."""
    flat, wavy = np.zeros(20), linearised_ratio(_rng(7).normal(size=20), np.ones(20))
    assert correlation(flat, wavy) is None
    assert pairing_factor(wavy, flat) is None
    assert pairing_factor(wavy, wavy) is None
    assert correlation(wavy, wavy) == pytest.approx(1.0)


@pytest.mark.parametrize("n_tests", [1, 2, 7, 30])
def test_holm_is_statsmodels(n_tests):
    """Adjusted p-values of a family, ties among them, in its order."""
    from statsmodels.stats.multitest import multipletests

    p_values = np.round(_rng(n_tests).random(n_tests) ** 3, 2)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_by_hand():
    """Four tests: times 4, 3, 2 and 1 from the smallest on, never decreasing; an empty family stays empty."""
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert len(holm(np.array([]))) == 0
