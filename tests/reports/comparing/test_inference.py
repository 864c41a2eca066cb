"""One tail function: what follows from it agrees, and equals scipy and statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_amounts import amounts
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar

from reports.comparing import tails
from reports.comparing.inference import PairedDifference


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _outcomes(won, lost, n) -> PairedDifference:
    """Rows of a group each, of which some are won and some lost."""
    candidate, baseline = np.zeros((2, n))
    candidate[:won] = 1
    baseline[won : won + lost] = 1
    ones = np.ones(n)
    return PairedDifference(candidate, ones, baseline, ones, is_outcomes=True, lowest=-1.0, highest=1.0)


def _wins(won, n, known=0.5) -> PairedDifference:
    """Rows of a group each, won or not, against a known share."""
    ones = np.ones(n)
    return PairedDifference(
        *((np.arange(n) < won).astype(float), ones, known * ones, ones),
        by_definition=True,
        is_outcomes=True,
        lowest=-known,
        highest=1 - known,
    )


def _any_kind(kind: str, n_groups: int, shift: float, rng: np.random.Generator) -> PairedDifference:
    """A difference of each kind of data."""
    if kind == "outcomes":
        counts = rng.integers(1, 4, n_groups).astype(float)
        sides = [rng.binomial(counts.astype(int), share).astype(float) for share in (0.5 + shift / 8, 0.5)]
        return PairedDifference(sides[0], counts, sides[1], counts, is_outcomes=True, lowest=-1.0, highest=1.0)
    if kind == "wins":
        return _wins(int(rng.binomial(n_groups, 0.6 + shift / 8)), n_groups)
    if kind == "recipe":
        rows = rng.exponential(1, n_groups) - 1 + shift / 4
        return amounts(rows + 0.2 * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, n_groups)), over_seeds=True)
    rows = rng.exponential(1, n_groups) - 1 + shift / 4
    return amounts(rows * (rng.random(n_groups) < 0.3) if kind == "sparse amounts" else rows)


KINDS = ["amounts", "sparse amounts", "outcomes", "wins", "recipe"]


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 9_999),
    n_groups=st.integers(10, 60),
    shift=st.floats(-2, 2),
    level=st.sampled_from([0.2, 0.05, 0.05 / 8]),
)
def test_p_value_interval_bounds_and_equivalence_agree(kind, seed, n_groups, shift, level):
    """At any level p is small exactly where the interval excludes the limit, and a margin holds where it is in it.

    Limits within a billionth of an end, where rounding decides, are left out.
    """
    paired = _any_kind(kind, n_groups, shift, _rng(seed))
    low, high = (float(end) for end in paired.interval(1 - level))
    assert low <= paired.difference <= high or paired.cannot_tell
    if paired.cannot_tell:
        assert paired.tail(0.0) == (1.0, 1.0)
        assert np.isnan([low, high]).all()
        return
    for limit in (0.0, *(end + step for end in (low, high) for step in (-1e-6, 1e-6)), *_rng(seed).normal(size=3)):
        if min(abs(limit - low), abs(limit - high)) > 1e-9 and paired.lowest < limit < paired.highest:
            assert (paired.p_value(limit) <= level) == (limit < low or limit > high)
    for margin in (0.01, 0.1, 0.5):
        bounds = paired.interval(1 - 2 * level)
        if min(abs(margin - bounds[1]), abs(margin + bounds[0])) > 1e-9 and margin < paired.highest:
            assert (paired.equivalence_p(margin) <= level) == (-margin < bounds[0] and bounds[1] < margin)


@settings(max_examples=40)
@given(kind=st.sampled_from(KINDS[:3]), seed=st.integers(0, 9_999), n_groups=st.integers(10, 40))
def test_swapped_sides_mirror_everything(kind, seed, n_groups):
    """Difference and interval change their signs and ends; p-value, error and power stay as they are."""
    paired = _any_kind(kind, n_groups, 0.5, _rng(seed))
    swapped = PairedDifference(
        *(paired.baseline_totals, paired.baseline_counts, paired.candidate_totals, paired.candidate_counts),
        is_outcomes=paired.is_outcomes,
        lowest=-paired.highest,
        highest=-paired.lowest,
    )
    low, high = paired.interval()

    assert swapped.difference == -paired.difference
    assert np.array(swapped.interval()) == pytest.approx([-high, -low], rel=1e-9, abs=1e-12, nan_ok=True)
    assert swapped.tail(0.1).above == pytest.approx(float(paired.tail(-0.1).below), rel=1e-9)
    assert swapped.p_value() == pytest.approx(float(paired.p_value()), rel=1e-9)
    assert swapped.standard_error == pytest.approx(float(paired.standard_error), rel=1e-9)
    assert swapped.smallest_detectable == pytest.approx(float(paired.smallest_detectable), nan_ok=True)


def test_symmetric_amounts_are_scipys_paired_t_test():
    """Without skewness p, interval and one-sided tails are those of a t-test, and the error that of a mean."""
    half = _rng(1).normal(size=20)
    rows = np.concatenate([half, -half]) + 0.3
    paired, expected = amounts(rows), stats.ttest_1samp(rows, 0)

    assert paired.p_value() == pytest.approx(expected.pvalue)
    assert paired.interval(0.9) == pytest.approx(expected.confidence_interval(0.9))
    assert paired.tail(0.2).above == pytest.approx(stats.ttest_1samp(rows, 0.2, alternative="greater").pvalue)
    assert paired.standard_error == pytest.approx(stats.sem(rows))
    assert paired.smallest_detectable == pytest.approx(
        (stats.t.ppf(0.975, 39) + stats.t.ppf(0.8, 39)) * stats.sem(rows)
    )


def test_the_error_leaves_out_one_group_at_a_time():
    """The variance is (G-1)/G times the squares of what each left-out group changes, ratios taken anew."""
    rng = _rng(2)
    candidate, baseline = rng.random((2, 12))
    counts, other_counts = rng.integers(1, 9, (2, 12)).astype(float)
    paired = PairedDifference(candidate, counts, baseline, other_counts)

    def difference(kept):
        return candidate[kept].sum() / counts[kept].sum() - baseline[kept].sum() / other_counts[kept].sum()

    changes = [difference(np.arange(12) != left) - difference(np.ones(12, bool)) for left in range(12)]
    assert paired.standard_error == pytest.approx(np.sqrt(11 / 12 * np.sum(np.square(changes))))


def test_skewness_asks_for_more_away_from_the_long_tail_only():
    """With a long tail above, a rise is judged by t; a fall by Hall's t with 5/3 of the sample's skewness."""
    rows = _rng(3).exponential(1, 40) - 1
    paired, n = amounts(rows), 40
    t = rows.mean() / stats.sem(rows)
    s = -5 / 3 * stats.skew(rows) / np.sqrt(n)
    hall = -t + s * (t**2 / 3 + 1 / 6) - s**2 * t**3 / 27

    assert paired.tail(0.0).above == pytest.approx(stats.t.sf(t, n - 1))
    assert paired.tail(0.0).below == pytest.approx(max(stats.t.cdf(t, n - 1), stats.t.sf(hall, n - 1)))
    skewed = np.append(rows, 9.0)
    assert (amounts(skewed).long_tail, amounts(-skewed).long_tail) == ("above", "below")
    assert amounts(_rng(3).normal(size=40)).long_tail is None


@pytest.mark.parametrize(("won", "lost", "n"), [(9, 1, 60), (4, 0, 70), (0, 4, 70), (20, 8, 200), (3, 3, 40)])
def test_paired_outcomes_are_mcnemars_mid_p_and_score_test(won, lost, n):
    """The larger of statsmodels' exact p less half of the point, and McNemar's chi-squared without correction."""
    exact = mcnemar([[0, won], [lost, n - won - lost]], exact=True).pvalue
    mid_p = min(1.0, exact - stats.binom.pmf(min(won, lost), won + lost, 0.5)) if won != lost else 1.0
    score = mcnemar([[0, won], [lost, n - won - lost]], exact=False, correction=False).pvalue

    assert _outcomes(won, lost, n).p_value() == pytest.approx(max(mid_p, score))


def test_few_discordant_pairs_do_not_exclude_no_change():
    """4 of 70 lost and none won: p .0625, and the interval holds 0 (a percentile interval did not)."""
    paired = _outcomes(0, 4, 70)
    low, high = paired.interval()

    assert paired.p_value() == pytest.approx(0.0625)
    assert low < 0 < high < 0.01


def test_the_score_interval_is_the_published_one():
    """Airway responsiveness of 21 children, 1 worse and 7 better: -.517 to -.026 in Fagerland et al. 2014."""
    won, lost, n = (np.asarray(each) for each in (1.0, 7.0, 21.0))

    assert tails.score(won, lost, n).limit(0.025) == pytest.approx(-0.517, abs=5e-4)
    assert -tails.score(lost, won, n).limit(0.025) == pytest.approx(-0.026, abs=5e-4)


@pytest.mark.parametrize("limit", [-0.3, -0.05, 0.0, 0.1, 0.4])
@pytest.mark.parametrize(("won", "lost", "n"), [(1, 7, 21), (12, 5, 60), (3, 0, 30)])
def test_the_score_test_takes_the_most_likely_shares_at_the_limit(won, lost, n, limit):
    """Tango's closed form against a numerical maximum of the multinomial likelihood."""
    lowest, highest = max(0.0, -limit), (1 - limit) / 2

    def unlikely(share_lost):
        shares = np.array([share_lost + limit, share_lost, 1 - 2 * share_lost - limit])
        return -np.sum(special.xlogy([won, lost, n - won - lost], np.maximum(shares, 1e-300)))

    likely = optimize.minimize_scalar(unlikely, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-10}).x
    z = (won - lost - n * limit) / np.sqrt(n * (2 * likely + limit - limit**2))
    found = tails.score(*(np.asarray(float(each)) for each in (won, lost, n))).p(np.asarray(limit))

    assert found == pytest.approx(stats.norm.sf(z), rel=1e-4)


@pytest.mark.parametrize("won", [30, 37, 40])
def test_wins_against_a_half_are_the_binomial_mid_p_and_wilsons_test(won):
    """Of 40 rows: the larger p of both, at any limit; 40 of 40 leave a bound below 1 and none above."""
    paired = _wins(won, 40)
    for share in (0.5, 0.7):
        mid_p = stats.binom.sf(won, 40, share) + stats.binom.pmf(won, 40, share) / 2
        score = stats.t.sf((won / 40 - share) / np.sqrt(share * (1 - share) / 40), 39)
        assert paired.tail(share - 0.5).above == pytest.approx(max(mid_p, score))
    low, high = paired.interval()
    assert 0 < low < 0.5
    assert high <= 0.5


def test_clustered_wins_count_as_fewer():
    """Rows that repeat their group's outcome add nothing; where all are won each group counts once as well."""
    won = (_rng(4).random(40) < 0.8).astype(float)
    once, often = (
        PairedDifference(
            m * won, np.full(40, m), np.full(40, m / 2), np.full(40, m), by_definition=True, is_outcomes=True
        )
        for m in (1.0, 5.0)
    )
    assert often.tail(0.0).above == pytest.approx(float(once.tail(0.0).above), rel=0.1)
    ones = np.full(40, 5.0)
    all_won = PairedDifference(ones, ones, ones / 2, ones, by_definition=True, is_outcomes=True)
    assert np.array(all_won.interval()) == pytest.approx(np.array(_wins(40, 40).interval()), abs=1e-6)


def test_few_groups_that_differ_are_judged_by_their_signs():
    """Amounts of which 4 of 60 differ, all alike in sign: no smaller p than that of four signs."""
    rows = np.zeros(60)
    rows[:4] = 0.3

    assert amounts(rows).p_value() == pytest.approx(2 * 0.5**4 / 2)
    assert amounts(rows).interval()[0] < 0.0


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (np.ones(9), "9 groups; an interval needs 10"),
        (np.append(np.ones(29), 29.0), "the largest has 50%"),
        (np.append(np.ones(39), 1e6), "the largest has 100%"),
        (np.append(np.ones(11), 5.0), "count as 7.1; an interval needs 10: more groups help, or shorter ones"),
    ],
)
def test_it_cannot_tell_where_few_groups_have_the_weight(counts, reason):
    """Under ten effective groups nothing is claimed, passed or called equivalent, and it says what would help."""
    paired = amounts(counts * (_rng(5).normal(size=len(counts)) + 9), counts)

    assert paired.cannot_tell
    assert reason in str(paired.reason)
    assert (paired.p_value(), paired.equivalence_p(1e9)) == (1.0, 1.0)
    assert np.isnan(paired.interval()).all()


def test_identical_and_shifted_amounts_have_no_spread():
    """Both sides equal are told apart from the same shift everywhere; neither has an interval."""
    rows = _rng(6).random(40)
    ones = np.ones(40)

    assert PairedDifference(rows, ones, rows, ones).reason == "identical scores"
    assert "the same in every group" in str(PairedDifference(rows + 0.25, ones, rows, ones).reason)


def test_no_interval_ends_beyond_what_the_metric_can_be():
    """A recipe whose adapters won 38, 39 and 40 of 40 rows ends at 100 %, not at 105 %."""
    rows = np.array([(np.arange(40) < won).astype(float) for won in (38, 39, 40)])
    ones = np.ones_like(rows)
    paired = PairedDifference(
        *(rows, ones, ones / 2, ones), by_definition=True, is_outcomes=True, over_seeds=True, lowest=-0.5, highest=0.5
    )
    assert paired.interval()[1] == 0.5
    assert paired.tail(0.51).below == 0.0


def test_a_recipe_adds_both_variances_with_cochran_and_coxs_critical_value():
    """By hand: the spread of the seeds over their number plus that of the groups, t of each weighted with its share."""
    half = _rng(7).normal(size=15)
    rows, shifts = np.concatenate([half, -half]), np.array([[0.4], [0.5], [0.9]])
    paired = amounts(rows + shifts, over_seeds=True)
    of_seeds, of_groups = np.var(shifts, ddof=1) / 3, stats.sem(rows) ** 2
    error = np.sqrt(of_seeds + of_groups)
    critical = (of_seeds * stats.t.ppf(0.975, 2) + of_groups * stats.t.ppf(0.975, 29)) / (of_seeds + of_groups)

    assert paired.standard_error == pytest.approx(error)
    assert paired.interval() == pytest.approx((0.6 - critical * error, 0.6 + critical * error))
    assert paired.p_value(0.6 - critical * error) == pytest.approx(0.05)


@pytest.mark.parametrize("kind", ["the same everywhere", "a constant apart", "outcomes against a definition"])
def test_a_recipe_whose_groups_do_not_differ_says_nothing_and_warns_of_nothing(kind):
    """Without a spread of groups or seeds their shares are 0 of 0; warnings are errors here."""
    rows = np.full((3, 12), 0.0 if kind == "the same everywhere" else 1.0)
    ones, is_outcomes = np.ones_like(rows), kind == "outcomes against a definition"
    paired = PairedDifference(
        rows, ones, ones / 2 if is_outcomes else 0 * ones, ones, is_outcomes, is_outcomes, over_seeds=True
    )
    assert paired.cannot_tell
    assert np.isnan(paired.interval()).all()
    assert (paired.p_value(), paired.tail(0.1), paired.equivalence_p(0.1)) == (1.0, (1.0, 1.0), 1.0)
    assert np.isnan(paired.smallest_detectable)


def test_a_batch_is_its_differences_one_by_one():
    """Leading axes change no number."""
    for kind in KINDS:
        each = [_any_kind(kind, 20, 0.5, _rng(seed)) for seed in range(4)]
        arrays = [
            np.stack([getattr(one, name) for one in each])
            for name in ("candidate_totals", "candidate_counts", "baseline_totals", "baseline_counts")
        ]
        one = each[0]
        batch = PairedDifference(
            *arrays, one.by_definition, one.is_outcomes, one.over_seeds, lowest=one.lowest, highest=one.highest
        )
        assert batch.p_value() == pytest.approx([float(single.p_value()) for single in each])
        assert pytest.approx(np.array([single.interval() for single in each])) == np.array(batch.interval()).T
        assert batch.tail(0.1).below == pytest.approx([float(single.tail(0.1).below) for single in each])


_DEGENERATE = {
    "nothing": (np.zeros(20), np.zeros(20)),
    "all won": (np.ones(20), np.zeros(20)),
    "all lost": (np.zeros(20), np.ones(20)),
    "ties": (np.full(20, 0.5), np.full(20, 0.5)),
    "one apart": (np.eye(20)[0], np.zeros(20)),
    "huge": (np.full(20, 1e150) * np.arange(20), np.zeros(20)),
    "tiny": (np.full(20, 1e-150) * np.arange(20), np.zeros(20)),
}


@pytest.mark.parametrize("name", _DEGENERATE)
@pytest.mark.parametrize(("by_definition", "is_outcomes"), [(False, False), (False, True), (True, False), (True, True)])
def test_degenerate_inputs_give_probabilities_and_no_warning(name, by_definition, is_outcomes):
    """No p-value is NaN or outside of 0 to 1, and the interval, if there is one, holds the difference."""
    candidate, baseline = _DEGENERATE[name]
    if is_outcomes and name in ("huge", "tiny"):
        pytest.skip("no outcomes")
    ones = np.ones(20)
    paired = PairedDifference(
        candidate, ones, 0.5 * ones if by_definition else baseline, ones, by_definition, is_outcomes
    )
    found = [*paired.tail(0.0), *paired.tail(0.3), *paired.tail(-0.3), paired.p_value(), paired.equivalence_p(0.1)]

    assert all(0 <= float(p) <= 1 for p in found)
    low, high = paired.interval()
    assert paired.cannot_tell or low <= paired.difference <= high
