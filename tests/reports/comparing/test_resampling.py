"""Bootstrap and sign flips against scipy, statsmodels, exact tests and a loop that follows the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import reports.comparing.resampling
from reports.comparing.resampling import (
    Draws,
    bca_interval,
    bootstrap,
    bootstrap_t_interval,
    percentile_interval,
    resamples_for,
    sign_flip_p_values,
)
from reports.comparing.statistics import TooFewGroupsError, cluster_t_interval, linearised_ratio, ratio, standard_error


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _sides(n_groups: int, seed: int = 4):
    """Skewed totals of a candidate and a baseline, and the counts they share."""
    rng = _rng(seed)
    counts = rng.integers(1, 30, n_groups).astype(float)
    baseline = counts * rng.gamma(2, 1, n_groups)
    return baseline + counts * (rng.gamma(2, 0.4, n_groups) - 0.6), baseline, counts


def _difference(candidate, baseline, counts):
    """Estimate and influences of a difference of ratios."""
    influences = linearised_ratio(candidate, counts) - linearised_ratio(baseline, counts)
    return ratio(candidate, counts) - ratio(baseline, counts), influences


def _draws(influences, counts, n_resamples, seed=5) -> Draws:
    return bootstrap(influences[:, None], (counts / counts.sum())[:, None], _rng(seed), n_resamples).of(0)


def _p_value(exchanges, n_swaps=10_000, seed=0) -> float:
    return float(sign_flip_p_values(np.asarray(exchanges, dtype=float)[:, None], _rng(seed), n_swaps)[0])


def test_every_draw_is_the_difference_of_the_resampled_groups():
    """Groups are really drawn, ratios really taken anew, and each resample has the standard error of its own groups."""
    candidate, baseline, counts = _sides(25)
    difference, influences = _difference(candidate, baseline, counts)
    draws = _draws(influences, counts, 40, seed=1)
    for row, drawn in enumerate(_rng(1).integers(25, size=(40, 25))):
        expected, resampled = _difference(candidate[drawn], baseline[drawn], counts[drawn])
        assert difference + draws.shifts[row] == pytest.approx(expected)
        assert draws.standard_errors[row] == pytest.approx(standard_error(resampled))


def test_unequal_counts_are_followed_to_first_order():
    """Sides that counted differently, such as answers of their own lengths: the spread of ratios taken anew, nearly."""
    rng = _rng(2)
    counts = rng.integers(20, 60, (2, 300)).astype(float)
    totals = counts * rng.beta(2, 8, (2, 300))
    influences = linearised_ratio(totals[0], counts[0]) - linearised_ratio(totals[1], counts[1])
    shares = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    shifts = _draws(influences, shares, 2_000, seed=3).shifts
    drawn = _rng(3).integers(300, size=(2_000, 300))
    ratios = totals[:, drawn].sum(axis=2) / counts[:, drawn].sum(axis=2)
    anew = ratios[0] - ratios[1] - np.subtract(*(totals.sum(axis=1) / counts.sum(axis=1)))
    assert (shifts - anew).std() < 0.02 * anew.std()
    assert np.abs(shifts - anew).max() < 0.1 * anew.std()


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_agree_with_scipys_bootstrap(method):
    """Percentiles and BCa of a paired ratio difference are scipy's, at the level that they are expanded to."""
    candidate, baseline, counts = _sides(120)
    difference, influences = _difference(candidate, baseline, counts)
    shifts = _draws(influences, counts, 10_000).shifts
    interval = (
        percentile_interval(difference, shifts, 120)
        if method == "percentile"
        else bca_interval(difference, influences, shifts)
    )
    expanded = 2 * stats.norm.cdf(np.sqrt(120 / 119) * stats.t.ppf(0.975, 119)) - 1
    expected = stats.bootstrap(
        (candidate, baseline, counts),
        lambda c, b, n, axis: c.sum(axis) / n.sum(axis) - b.sum(axis) / n.sum(axis),
        paired=True,
        confidence_level=expanded,
        method=method,
        n_resamples=10_000,
        rng=_rng(6),
    ).confidence_interval
    width = expected.high - expected.low
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.03 * width)
    assert interval.method == method


@pytest.mark.parametrize("method", ["percentile", "BCa", "bootstrap-t"])
def test_all_methods_agree_with_cluster_t_on_many_groups(method):
    """With 3,000 groups of unequal size and little skewness nothing is left to choose."""
    rng = _rng(7)
    counts = rng.integers(1, 9, 3_000).astype(float)
    totals = counts * rng.normal(1, 1, 3_000)
    difference, influences = ratio(totals, counts), linearised_ratio(totals, counts)
    draws = _draws(influences, counts, 4_000)
    interval = {
        "percentile": percentile_interval(difference, draws.shifts, 3_000, 0.9),
        "BCa": bca_interval(difference, influences, draws.shifts, 0.9),
        "bootstrap-t": bootstrap_t_interval(difference, standard_error(influences), draws, 0.9),
    }[method]
    closed = cluster_t_interval(difference, influences, 0.9)
    assert (interval.low, interval.high) == pytest.approx(
        (closed.low, closed.high), abs=0.04 * (closed.high - closed.low)
    )


def test_skewed_amounts_get_a_longer_arm_where_the_tail_is():
    """Amounts with a long right tail: the bootstrap-t reaches farther up than down, a t interval does not."""
    totals = _rng(8).exponential(1, 40)
    difference, influences = totals.mean(), linearised_ratio(totals, np.ones(40))
    interval = bootstrap_t_interval(difference, standard_error(influences), _draws(influences, np.ones(40), 10_000))
    assert interval.high - difference > 1.2 * (difference - interval.low)


def test_resamples_without_a_spread_do_not_break_the_interval():
    """A resample of equal groups has no standard error; the interval stays a pair of numbers."""
    totals = np.array([1.0] * 5 + [2.0] * 5)
    influences = linearised_ratio(totals, np.ones(10))
    draws = _draws(influences, np.ones(10), 10_000)
    assert draws.standard_errors.min() < 1e-9
    interval = bootstrap_t_interval(1.5, standard_error(influences), draws)
    assert 0 < interval.low < 1.5 < interval.high < 3


def test_an_end_on_zero_is_not_clear_of_it():
    """Where resampled outcomes give exactly no difference, rounding does not turn that into one."""
    won = np.array([1.0] * 11 + [0.0])
    influences = linearised_ratio(won, np.ones(12))
    difference = float(won.mean()) - 0.5
    interval = bca_interval(difference, influences, np.full(100, 0.5 - won.mean()))
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_chunks_do_not_change_the_draws(monkeypatch):
    """Memory is bounded by chunks; the same generator gives the same draws and swaps whatever their size."""
    candidate, baseline, counts = _sides(30)
    difference, influences = _difference(candidate, baseline, counts)
    whole, p_value = _draws(influences, counts, 100), _p_value(candidate - baseline, 999)
    monkeypatch.setattr(reports.comparing.resampling, "CELLS_A_CHUNK", 7 * 30)
    chunked = _draws(influences, counts, 100)
    assert chunked.shifts == pytest.approx(whole.shifts, abs=1e-14)
    assert chunked.standard_errors == pytest.approx(whole.standard_errors, abs=1e-14)
    assert _p_value(candidate - baseline, 999) == p_value
    assert difference > 0


def test_equal_columns_have_equal_draws():
    """Columns share their draws, so a difference between two differences is paired as well."""
    influences = linearised_ratio(_rng(10).normal(size=200), np.ones(200))
    both = np.column_stack([influences, influences])
    draws = bootstrap(both, np.full((200, 2), 1 / 200), _rng(), 50)
    assert np.array_equal(draws.shifts[:, 0], draws.shifts[:, 1])


def test_a_single_group_is_refused():
    """No spread from one group."""
    with pytest.raises(TooFewGroupsError, match="at least 2 groups, got 1"):
        bootstrap(np.ones((1, 1)), np.ones((1, 1)), _rng(), 10)


def test_large_samples_get_fewer_resamples():
    """10,000 resamples up to 5,000 groups, 2,000 above."""
    assert [resamples_for(n) for n in (100, 5_000, 5_001)] == [10_000, 10_000, 2_000]


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (7, 0), (9, 3), (40, 61), (300, 250), (20, 20)])
def test_on_paired_outcomes_it_is_mcnemars_exact_test(gained, lost):
    """Any number of discordant 0/1 pairs: the binomial test of scipy, which is statsmodels' exact McNemar test."""
    from statsmodels.stats.contingency_tables import mcnemar

    p_value = _p_value(np.concatenate([np.ones(gained), -np.ones(lost), np.zeros(30)]))
    assert p_value == pytest.approx(stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0)
    assert p_value == pytest.approx(mcnemar([[10, gained], [lost, 20]], exact=True).pvalue)


def test_few_groups_are_enumerated_as_scipy_does():
    """All 2^12 swaps of unequal differences: scipy's exact permutation test of paired samples."""
    one, other = _rng(11).normal(0.4, 1, 12), _rng(12).normal(0, 1, 12)
    expected = stats.permutation_test(
        (one, other), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", n_resamples=np.inf
    )
    assert len(expected.null_distribution) == 2**12
    assert _p_value(one - other) == pytest.approx(expected.pvalue)
    assert _p_value(np.concatenate([one - other, np.zeros(50)])) == pytest.approx(expected.pvalue)


def test_many_groups_are_sampled_near_the_exact_value():
    """Sixteen groups are beyond enumeration here, not beyond a loop: random swaps come near, and none gives 0."""
    exchanges = _rng(13).normal(0.3, 1, 16)
    kept = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    sums = (2 * kept - 1) @ exchanges
    exact = np.mean(np.abs(sums) >= abs(exchanges.sum()) - 1e-12)
    assert _p_value(exchanges, 20_000) == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))
    assert _p_value(np.arange(1, 101), 999) == 1 / 1_000


def test_the_test_keeps_its_level():
    """Skewed, unequal groups without a difference are called different at 5 % in one case of twenty."""
    rng = _rng(14)
    sizes = rng.exponential(1, (40, 2_000)) * rng.choice([-1.0, 1.0], (40, 2_000))
    p_values = sign_flip_p_values(sizes, rng, 999)
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=0.015)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 3.0]), min_size=1, max_size=40))
def test_swapping_all_sides_leaves_the_p_value_as_it_is(exchanges):
    """A p-value lies in (0, 1], and is that of the mirrored difference, to the last digit."""
    p_value = _p_value(exchanges, 200)
    assert 0 < p_value <= 1
    assert _p_value(-np.array(exchanges), 200) == p_value
