"""Closed forms against scipy, statsmodels and by hand."""

import numpy as np
import pytest
from scipy import stats

from reports.comparing.statistics import (
    EmptyRatioError,
    Interval,
    SeedSpread,
    TooFewGroupsError,
    agreement_interval,
    choose_method,
    cluster_t_interval,
    correlation,
    holm,
    is_equivalent,
    linearised_ratio,
    pairing_factor,
    ratio,
    seed_spread,
    smallest_detectable,
    standard_error,
    varies,
    wilson_interval,
)


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


def test_single_examples_give_the_paired_t_test():
    """One example a group and counts of 1: exactly scipy's interval of the paired t-test."""
    rng = _rng(1)
    ones = np.ones(25)
    candidate, baseline = rng.normal(1, 2, 25), rng.normal(0, 2, 25)
    expected = stats.ttest_rel(candidate, baseline).confidence_interval(0.95)
    influences = linearised_ratio(candidate, ones) - linearised_ratio(baseline, ones)
    interval = cluster_t_interval(candidate.mean() - baseline.mean(), influences)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert interval.method == "cluster-t"


def test_a_constant_baseline_gives_the_one_sample_t_test():
    """Against a constant, and at another confidence, it is scipy's one-sample interval."""
    values = _rng(2).normal(0.7, 1, 40)
    expected = stats.ttest_1samp(values, 0.5).confidence_interval(0.9)
    interval = cluster_t_interval(values.mean() - 0.5, linearised_ratio(values, np.ones(40)), confidence=0.9)
    assert (interval.low + 0.5, interval.high + 0.5) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_outcomes_of_single_examples_get_statsmodels_wilson_interval(confidence):
    """One example a group: the score interval of n - 1 examples, at the level of t, shifted by the definition."""
    from statsmodels.stats.proportion import proportion_confint

    won = np.array([1.0] * 51 + [0.0] * 9)
    alpha = 2 * stats.norm.sf(stats.t.ppf(0.5 + confidence / 2, 59))
    expected = proportion_confint(59 * 0.85, 59, alpha, method="wilson")
    interval = wilson_interval(0.85, linearised_ratio(won, np.ones(60)), 0.5, confidence)
    assert (interval.low + 0.5, interval.high + 0.5) == pytest.approx(expected)


def test_copies_of_an_outcome_in_its_group_are_no_new_evidence():
    """Ten equal outcomes a group: the interval of one, and far from that of ten times as many groups."""
    won = np.array([1.0] * 30 + [0.0] * 10)
    once = wilson_interval(0.75, linearised_ratio(won, np.ones(40)), 0.5)
    often = wilson_interval(0.75, linearised_ratio(10 * won, np.full(40, 10.0)), 0.5)
    apart = wilson_interval(0.75, linearised_ratio(np.repeat(won, 10), np.ones(400)), 0.5)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert apart.high - apart.low < 0.4 * (once.high - once.low)


def test_repeating_every_example_within_its_group_changes_nothing():
    """Ten copies of each example in its own group are no new evidence."""
    totals, counts = _rng(3).normal(size=20), np.ones(20)
    once = cluster_t_interval(0.0, linearised_ratio(totals, counts))
    often = cluster_t_interval(0.0, linearised_ratio(10 * totals, 10 * counts))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_the_standard_error_is_statsmodels_cluster_robust_one():
    """A weighted mean's cluster-robust standard error with statsmodels' own small-sample factor, on the same rows."""
    from statsmodels.regression.linear_model import WLS

    rng = _rng(4)
    groups = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    counts = rng.integers(1, 30, len(groups)).astype(float)
    totals = counts * (rng.gamma(2, 1, len(groups)) + rng.normal(0, 1, 40)[groups])
    model = WLS(totals / counts, np.ones(len(groups)), weights=counts)
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    sums = np.bincount(groups, totals), np.bincount(groups, counts)
    influences = linearised_ratio(*sums)
    interval = cluster_t_interval(ratio(*sums), influences)
    assert ratio(*sums) == pytest.approx(fit.params[0])
    assert standard_error(influences) == pytest.approx(fit.bse[0])
    assert (interval.low, interval.high) == pytest.approx(tuple(fit.conf_int()[0]))


@pytest.mark.parametrize("n_groups", [10, 30, 100, 1_000, 20_000])
def test_the_smallest_detectable_difference_has_the_power_that_statsmodels_computes(n_groups):
    """A two-sided t test at 5 % finds it with a chance of 80 %, by the noncentral t distribution."""
    from statsmodels.stats.power import TTestPower

    influences = _rng(5).normal(0, 1, n_groups)
    detectable = smallest_detectable(influences)
    effect = detectable / (standard_error(influences) * np.sqrt(n_groups))
    assert TTestPower().power(effect, n_groups, 0.05) == pytest.approx(0.8, abs=2e-3)


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


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.4, 0.8])
@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.15])
def test_equivalence_is_statsmodels_two_one_sided_tests(margin, shift):
    """The 90 % interval lies within the margin exactly where both one-sided paired t tests reject at 5 %."""
    from statsmodels.stats.weightstats import ttost_paired

    one = _rng(8).normal(0, 1, 60)
    other = one + _rng(9).normal(shift, 0.5, 60)
    influences = linearised_ratio(other - one, np.ones(60))
    bounds = cluster_t_interval(float((other - one).mean()), influences, confidence=0.9)
    assert is_equivalent(bounds, margin) == (ttost_paired(other, one, -margin, margin)[0] < 0.05)


def test_equivalence_takes_both_ends():
    """One end outside of the margin, or on it, is enough not to be equivalent."""
    inside, above = Interval(-0.1, 0.1, "BCa"), Interval(-0.1, 0.3, "BCa")
    assert is_equivalent(inside, 0.2)
    assert not is_equivalent(above, 0.2)
    assert not is_equivalent(Interval(-0.2, 0.1, "BCa"), 0.2)


@pytest.mark.parametrize("n", [10, 30, 500])
def test_agreement_is_clopper_and_pearson_at_the_edge(n):
    """All of n groups won: scipy's exact binomial interval; n losses its mirror image; n ties inside both."""
    expected = stats.binomtest(n, n).proportion_ci(0.95, method="exact")
    won = agreement_interval(1.0, n, lowest=0.0, highest=1.0)
    lost = agreement_interval(0.0, n, lowest=0.0, highest=1.0)
    tied = agreement_interval(0.5, n, lowest=0.0, highest=1.0)
    assert (won.low, won.high) == pytest.approx((expected.low, expected.high))
    assert (lost.low, lost.high) == pytest.approx((1 - expected.high, 1 - expected.low))
    assert lost.high < tied.high < won.high
    assert tied.high - tied.low == pytest.approx(1 - expected.low)


def test_no_discordant_group_bounds_the_difference_both_ways():
    """No difference in n groups: the share of groups that could differ, in either direction."""
    share = stats.binomtest(0, 50).proportion_ci(0.95, method="exact").high
    interval = agreement_interval(0.0, 50, lowest=-1.0, highest=1.0)
    assert (interval.low, interval.high) == pytest.approx((-share, share))


@pytest.mark.parametrize(
    ("n_groups", "n_apart", "kind", "expected"),
    [
        (9, 8, "amounts", "9 groups; an interval needs 10"),
        (9, 0, "outcomes", "9 groups; an interval needs 10"),
        (10, 9, "amounts", "bootstrap-t"),
        (1_000, 8, "amounts", "bootstrap-t"),
        (1_001, 8, "amounts", "BCa"),
        (5_000, 7, "amounts", "cluster-t"),
        (10, 1, "outcomes", "percentile"),
        (5_000, 900, "outcomes", "percentile"),
        (10, 1, "outcomes against a definition", "Wilson"),
        (5_000, 900, "outcomes against a definition", "Wilson"),
        (100, 0, "outcomes", "exact"),
        (10, 0, "outcomes against a definition", "exact"),
        (500, 0, "identical amounts", "identical scores"),
        (5, 0, "identical amounts", "identical scores"),
        (50, 0, "amounts", "the difference is the same in every group, so its spread cannot be estimated"),
    ],
)
def test_the_rule_that_picks_the_method(n_groups, n_apart, kind, expected):
    """Amounts get the bootstrap-t or BCa, outcomes percentiles or Wilson's; without spread exact bounds or none."""
    flags = {"bounded": "outcomes" in kind, "by_definition": "definition" in kind, "identical": "identical" in kind}
    choice = choose_method(n_groups, n_apart=n_apart, **flags)
    assert expected in (choice.method, choice.reason)
    assert (choice.method is None) != (choice.reason is None)


def test_rounding_errors_are_not_variation():
    """The same shift in every group does not vary, though its influences are not exactly 0."""
    counts = np.full(40, 3.0)
    baseline = _rng(11).normal(5, 2, 40)
    shifted = baseline + 0.1 * counts
    influences = linearised_ratio(shifted, counts) - linearised_ratio(baseline, counts)
    assert influences.any()
    assert not varies(influences, scale=5.0)
    assert varies(linearised_ratio(baseline, counts), scale=5.0)


def test_too_few_groups_are_refused():
    """No spread from a single group, no bound from none."""
    one = np.ones(1)
    with pytest.raises(TooFewGroupsError, match="at least 2 groups, got 1"):
        cluster_t_interval(0.0, one)
    with pytest.raises(TooFewGroupsError, match="at least 1 group"):
        agreement_interval(0.0, 0, lowest=0.0, highest=1.0)


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_the_spread_over_seeds_is_the_t_interval_of_a_mean(n):
    """Mean, standard deviation and t(N-1) x s / sqrt(N), as scipy has them, at any confidence."""
    differences = _rng(n).normal(-0.03, 0.01, n)
    spread = seed_spread(differences, confidence=0.9)
    expected = stats.t.interval(0.9, n - 1, loc=differences.mean(), scale=stats.sem(differences))
    assert spread.mean == pytest.approx(differences.mean())
    assert spread.standard_deviation == pytest.approx(stats.tstd(differences))
    assert (spread.interval.low, spread.interval.high) == pytest.approx(expected, rel=1e-12)


def test_the_spread_over_seeds_by_hand():
    """Differences of 1, 2 and 3: mean 2, standard deviation 1, and t(2) / sqrt(3) to both sides."""
    spread = seed_spread(np.array([1.0, 2.0, 3.0]))
    assert (spread.mean, spread.standard_deviation) == pytest.approx((2.0, 1.0))
    assert spread.interval.high - 2 == pytest.approx(4.302652729911275 / np.sqrt(3))


def test_one_seed_and_equal_seeds_have_no_interval():
    """A single adapter has no spread, and equal ones have one of zero that says nothing; none at all is refused."""
    assert seed_spread(np.array([0.4])) == SeedSpread(0.4, None, None)
    assert seed_spread(np.array([0.4] * 3)).interval is None
    assert seed_spread(np.zeros(3)) == SeedSpread(0.0, 0.0, None)
    with pytest.raises(EmptyRatioError):
        seed_spread(np.array([]))
