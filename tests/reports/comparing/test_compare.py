"""Pairing by id: signs, exact zeros, refusals, and which interval a row gets."""

import math
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.comparing.compare import compare
from reports.comparing.metric_table import UnpairedExamplesError
from reports.records import ExampleScore, MetricScores


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _pair_of(fakes, metric, baseline, candidate, **changes):
    return compare(fakes.small_run({(metric, "base"): baseline, (metric, "dpo"): candidate}, **changes))


def test_the_difference_is_candidate_minus_baseline_in_the_unit_of_the_metric(fakes):
    """Nats per token stay nats per token: sums over sums, subtracted."""
    baseline = fakes.scores(range(20, 40), [10] * 20)
    candidate = fakes.scores([total + position % 2 for position, total in enumerate(range(20, 40))], [10] * 20)
    (row,) = _pair_of(fakes, fakes.PERPLEXITY, baseline, candidate)
    assert row.baseline_value == pytest.approx(2.95)
    assert row.difference == pytest.approx(0.05)
    assert (row.n, row.n_groups, row.method) == (20, 20, "t and skewness")
    assert (row.outcome, row.primary, row.against, row.baseline) == ("worse", True, "baseline", "base")


def _is_near(interval, expected, share=0.06):
    """Whether both ends lie within a share of the expected interval's width."""
    width = expected.high - expected.low
    return interval == pytest.approx((expected.low, expected.high), abs=share * width)


def test_without_skewness_it_is_near_the_paired_t_test(fakes):
    """From records to interval and error, one example a group: scipy's paired t-test, as amounts are symmetric."""
    one, other = _rng(1).random((2, 40))
    (row,) = _pair_of(fakes, fakes.MC2, fakes.scores(one), fakes.scores(other))
    expected = stats.ttest_rel(other, one)
    assert _is_near(row.interval, expected.confidence_interval())
    assert _is_near(row.paired.interval(0.9), expected.confidence_interval(0.9))
    assert row.paired.standard_error == pytest.approx(stats.sem(other - one))
    assert row.difference / row.paired.standard_error == pytest.approx(expected.statistic)
    assert row.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert row.correlation == pytest.approx(stats.pearsonr(one, other).statistic)
    assert row.pairing_factor == pytest.approx(np.hypot(stats.sem(one), stats.sem(other)) / stats.sem(other - one))


@pytest.mark.parametrize("n", [40, 250])
def test_swapped_subjects_mirror_the_signs(fakes, n):
    """Swapping baseline and candidate turns difference and interval around, with either method."""
    one, other = (fakes.scores(values) for values in _rng(2).random((2, n)))
    (row,), (mirrored,) = (_pair_of(fakes, fakes.MC2, *sides) for sides in ((one, other), (other, one)))
    assert mirrored.difference == -row.difference
    assert mirrored.interval == pytest.approx((-row.interval[1], -row.interval[0]))


def test_equal_continuous_scores_differ_by_exactly_zero_and_have_no_interval(fakes):
    """Identical scores say nothing about a spread: difference 0, no width of 0."""
    rows = fakes.scores(_rng(3).random(300), _rng(4).integers(1, 9, 300))
    (row,) = _pair_of(fakes, fakes.PERPLEXITY, rows, rows)
    assert row.difference == 0.0
    assert (row.interval, row.why_no_interval, row.outcome) == (None, "identical scores", "no change seen")


def test_equal_outcomes_get_bounds(fakes):
    """Where all paired 0/1 outcomes agree, the interval bounds what could have gone unseen: z^2 / (n + z^2)."""
    rows = fakes.scores(_rng(5).random(60) < 0.4)
    (row,) = _pair_of(fakes, fakes.MC1, rows, rows)
    unseen = stats.norm.ppf(0.975) ** 2
    bound = unseen / (60 + unseen)
    assert (row.difference, row.p_value) == (0.0, 1.0)
    assert (row.method, row.interval) == ("mid-p and score", pytest.approx((-bound, bound)))


def test_twins_of_which_every_group_wins_one_have_no_width_of_zero(fakes):
    """Each group with one right and one wrong has no spread between groups, and still gets bounds, not a point."""
    groups = np.repeat(np.arange(50), 2)
    run = fakes.small_run({(fakes.ACCURACY, "dpo"): fakes.scores(np.tile([0, 1], 50), groups=groups)})
    (row,) = compare(run)
    assert row.difference == 0.0
    assert row.interval[0] < -0.05 < 0.05 < row.interval[1]


def test_a_constant_shift_has_no_interval(fakes):
    """The same shift everywhere leaves no spread to estimate from."""
    values = _rng(6).random(50)
    (row,) = _pair_of(fakes, fakes.MC2, fakes.scores(values), fakes.scores(values + 0.25))
    assert row.difference == pytest.approx(0.25)
    assert row.interval is None
    assert "same in every group" in row.why_no_interval


def test_under_ten_groups_there_is_no_interval(fakes):
    """Many rows of few groups are few."""
    groups = np.arange(90) % 9
    one, other = (fakes.scores(values, groups=groups) for values in _rng(7).random((2, 90)))
    (row,) = _pair_of(fakes, fakes.MC2, one, other)
    assert (row.n, row.n_groups, row.interval) == (90, 9, None)
    assert row.why_no_interval == "9 groups; an interval needs 10"


def test_reward_accuracy_is_held_against_its_definition_and_every_ruler(fakes):
    """Against 0.5 it is the binomial test; against rulers McNemar's, exploratory."""
    won, longest = _rng(8).random((2, 60)) < [[0.8], [0.5]]
    first, second = compare(
        fakes.small_run(
            {(fakes.ACCURACY, "dpo"): fakes.scores(won), (fakes.ACCURACY, "longest"): fakes.scores(longest)}
        )
    )
    against_half = stats.binomtest(int(won.sum()), 60).proportion_ci(method="wilson")
    against_longest = stats.ttest_rel(won.astype(float), longest.astype(float)).confidence_interval()
    assert (first.baseline, first.against, first.baseline_value, first.primary) == (
        "0.5 by definition",
        "definition",
        0.5,
        True,
    )
    assert first.interval == pytest.approx((against_half.low - 0.5, against_half.high - 0.5), abs=1 / 60)
    assert (first.correlation, first.pairing_factor) == (None, None)
    assert first.p_value == pytest.approx(2 * stats.t.sf((won.mean() - 0.5) * np.sqrt(240), 59))
    gained, lost = int((won & ~longest).sum()), int((longest & ~won).sum())
    score = stats.norm.sf((gained - lost) / np.sqrt(gained + lost)) * 2
    mid_p = 2 * (stats.binom.sf(gained, gained + lost, 0.5) + stats.binom.pmf(gained, gained + lost, 0.5) / 2)
    assert second.p_value == pytest.approx(max(score, mid_p))
    assert second.p_adjusted is None
    assert (second.baseline, second.against, second.primary) == ("longest", "ruler", False)
    assert _is_near(second.interval, against_longest)


def test_winning_every_pair_is_better_without_a_bound_above_one(fakes):
    """All of 150 won: wider than Clopper and Pearson's mid-p bound, not beyond 100 %."""
    (row,) = compare(fakes.small_run({(fakes.ACCURACY, "dpo"): fakes.scores(np.ones(150))}))
    low, high = row.interval
    assert 0.5 + low == pytest.approx(stats.binomtest(150, 150).proportion_ci(method="wilson").low, abs=0.002)
    assert high == 0.5
    assert row.outcome == "better"


def test_many_groups_are_inferred_reproducibly(fakes):
    """The same whenever it is asked, near the paired t-test."""
    one, other = _rng(9).random((2, 400))
    run = fakes.small_run({(fakes.MC2, "base"): fakes.scores(one), (fakes.MC2, "dpo"): fakes.scores(other)})
    (row,), (again,) = compare(run), compare(run)
    assert row == again
    assert _is_near(row.interval, stats.ttest_rel(other, one).confidence_interval(), 0.03)


def test_the_order_of_rows_does_not_matter(fakes):
    """Pairs are made by id: shuffled rows give the very same comparison."""
    one, other = (fakes.scores(values, groups=np.arange(200) // 2) for values in _rng(10).random((2, 200)))
    assert _pair_of(fakes, fakes.MC2, one, other) == _pair_of(fakes, fakes.MC2, one[::-1], other)


@pytest.mark.parametrize("lacking", ["base", "dpo"])
def test_a_missing_example_is_refused_with_three_ids_and_the_subject(fakes, lacking):
    """Whichever side lacks examples is named with three of them."""
    sides = {name: fakes.scores(_rng(11).random(30)) for name in ("base", "dpo")}
    sides[lacking] = sides[lacking][5:]
    other = "dpo" if lacking == "base" else "base"
    message = rf"lm_eval truthfulqa_mc2 acc: {lacking} lacks 5 of the examples of {other}.*: e0000, e0001, e0002$"
    with pytest.raises(UnpairedExamplesError, match=message):
        _pair_of(fakes, fakes.MC2, sides["base"], sides["dpo"])


def test_candidates_are_held_to_the_same_examples_even_without_a_baseline(fakes):
    """Two adapters whose reward accuracy is taken over different pairs are refused."""
    rows = fakes.scores(np.arange(30) % 2)
    with pytest.raises(UnpairedExamplesError, match=r"a lacks 1 of the examples of b.*: e0000"):
        compare(fakes.small_run({(fakes.ACCURACY, "a"): rows[1:], (fakes.ACCURACY, "b"): rows}))


def test_examples_in_other_groups_and_doubled_examples_are_refused(fakes):
    """An id that stands in two groups, or twice, cannot be paired honestly."""
    rows = fakes.scores(_rng(12).random(30))
    with pytest.raises(UnpairedExamplesError, match="by id and group"):
        _pair_of(fakes, fakes.MC2, rows, (replace(rows[0], group="other"), *rows[1:]))
    with pytest.raises(UnpairedExamplesError, match="dpo has the example e0000 twice"):
        _pair_of(fakes, fakes.MC2, rows, (rows[0], *rows))


def test_a_librarys_value_is_carried_without_an_interval(fakes):
    """What is not a sum over examples keeps its number and says why it has no interval."""
    values = tuple(MetricScores(fakes.F1, name, (), value=value) for name, value in (("base", 0.25), ("dpo", 0.75)))
    (row,) = compare(replace(fakes.small_run({(fakes.F1, "dpo"): ()}), measurements=values))
    assert (row.baseline_value, row.candidate_value, row.difference) == (0.25, 0.75, 0.5)
    assert (row.interval, row.why_no_interval, row.n) == (None, "not a sum over examples", 0)


def test_missing_numbers_are_none_with_their_reason(fakes):
    """Nothing measured is never a zero, on either side."""
    rows = fakes.scores(_rng(13).random(20))
    nan = (ExampleScore("e0000", "g0", math.nan, 1.0), *rows[1:])
    (of_baseline,) = _pair_of(fakes, fakes.MC2, nan, rows)
    (of_candidate,) = _pair_of(fakes, fakes.MC2, rows, ())
    (unmeasured,) = compare(fakes.small_run({(fakes.MC2, "dpo"): rows}))
    (uncounted,) = _pair_of(fakes, fakes.MC2, rows, fakes.scores(np.zeros(20), np.zeros(20)))
    assert (of_baseline.baseline_value, of_baseline.difference, of_baseline.n) == (None, None, 20)
    assert of_baseline.why_no_interval.startswith("base: 1 of 20 scores are not finite")
    assert (of_candidate.candidate_value, of_candidate.why_no_interval) == (None, "no examples")
    assert (unmeasured.outcome, unmeasured.why_no_interval) == (
        "not measured",
        "base: not measured",
    )
    assert uncounted.why_no_interval == "the counts of its examples sum to 0"


@pytest.mark.parametrize(
    ("shift", "higher_is_better", "outcome"),
    [
        (1, True, "better"),
        (-1, True, "worse"),
        (1, False, "worse"),
        (-1, False, "better"),
        (1, None, "higher"),
        (-1, None, "lower"),
    ],
)
def test_the_direction_comes_from_the_metric(fakes, shift, higher_is_better, outcome):
    """Better and worse are the metric's to say; without a direction it is higher or lower."""
    base = _rng(14).random(40)
    metric = replace(fakes.MC2, higher_is_better=higher_is_better)
    (row,) = _pair_of(fakes, metric, fakes.scores(base), fakes.scores(base + shift * (1 + 0.1 * _rng(15).random(40))))
    assert row.outcome == outcome


def test_rows_come_by_metric_then_candidate_with_the_baseline_before_rulers(fakes):
    """The order of a run is the order of its comparisons."""
    rows = compare(fakes.realistic_run(("a", "b")))
    reward = [(row.candidate, row.baseline) for row in rows if row.metric == fakes.ACCURACY]
    rulers = ["longest", "shortest", "bag of words"]
    assert reward == [(name, baseline) for name in "ab" for baseline in ("0.5 by definition", *rulers)]


@pytest.mark.slow
def test_twenty_thousand_groups_fit_time_and_memory(fakes):
    """Five metrics of three subjects over 20,000 groups: 10 seconds and 256 MiB are enough."""
    rng = _rng(16)
    metrics = [replace(fakes.MC2, name=f"metric {position}") for position in range(5)]
    scores = {(metric, name): fakes.scores(rng.random(20_000)) for metric in metrics for name in ("base", "a", "b")}
    run = fakes.small_run(scores)
    started = time.perf_counter()
    rows = compare(run)
    assert time.perf_counter() - started < 10
    tracemalloc.start()
    assert compare(run) == rows
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 256 * 2**20
    assert len(rows) == 10
    assert all(row.method == "t and skewness" and row.p_value is not None for row in rows)


def test_equal_runs_differ_by_exactly_nothing(fakes):
    """A candidate that is its baseline: differences of exactly 0, and no claim on any kind of metric."""
    rng = _rng(22)
    kinds = {fakes.PERPLEXITY: rng.normal(2, 1, 120), fakes.MC1: rng.random(120) < 0.4, fakes.MC2: rng.random(120)}
    scores = {metric: fakes.scores(totals) for metric, totals in kinds.items()}
    rows = compare(fakes.small_run({(m, name): rows for m, rows in scores.items() for name in ("base", "dpo")}))
    assert [row.difference for row in rows] == [0.0] * 3
    assert [row.p_value for row in rows] == [None, 1.0, None]
    assert [row.is_identical for row in rows] == [True, False, True]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.integers(1, 9)), min_size=10, max_size=40),
)
def test_swapped_candidates_mirror_signs_whatever_the_scores(fakes, rows):
    """Any scores: difference and interval change their signs, the p-value stays."""
    one, other, counts = zip(*rows, strict=True)
    sides = fakes.scores(one, counts), fakes.scores(other, counts)
    (row,), (mirrored,) = (_pair_of(fakes, fakes.PERPLEXITY, *order) for order in (sides, sides[::-1]))
    assert mirrored.difference == -row.difference
    assert mirrored.p_value == (None if row.p_value is None else pytest.approx(row.p_value, rel=1e-9))
    assert (mirrored.interval is None) == (row.interval is None)
    if row.interval:
        ends = (-row.interval[1], -row.interval[0])
        assert mirrored.interval == pytest.approx(ends, rel=1e-6, abs=1e-9)


def _held_against(run, name, *others):
    subjects = (replace(s, compared_with=others) if s.name == name else s for s in run.subjects)
    return replace(run, subjects=tuple(subjects))


def test_a_candidate_is_held_against_others_as_a_paired_t_test(fakes):
    """Candidate minus control on the same examples, exploratory even on a primary metric."""
    base, dpo, control = _rng(17).random((3, 40))
    sides = dict(zip(("base", "dpo", "sft"), map(fakes.scores, (base, dpo, control)), strict=True))
    metric = replace(fakes.MC2, primary=True)
    run = _held_against(fakes.small_run({(metric, name): rows for name, rows in sides.items()}), "dpo", "sft")
    rows = compare(run)
    assert [(row.candidate, row.against, row.baseline, row.primary) for row in rows] == [
        ("dpo", "baseline", "base", True),
        ("dpo", "candidate", "sft", False),
        ("sft", "baseline", "base", True),
    ]
    expected = stats.ttest_rel(dpo, control).confidence_interval()
    assert rows[1].difference == pytest.approx((dpo - control).mean())
    assert _is_near(rows[1].interval, expected)


def test_a_metric_with_a_definition_is_paired_between_candidates(fakes):
    """Reward accuracies of two candidates differ from one another, not from a half; equal ones get bounds."""
    won, control = fakes.scores([1] * 9 + [0] * 3), fakes.scores([1, 0] * 6)
    run = fakes.small_run({(fakes.ACCURACY, "dpo"): won, (fakes.ACCURACY, "a"): control, (fakes.ACCURACY, "b"): won})
    rows = [row for row in compare(_held_against(run, "dpo", "a", "b")) if row.against == "candidate"]
    assert [(row.baseline, row.difference) for row in rows] == [("a", 0.25), ("b", 0.0)]
    unseen = stats.norm.ppf(0.975) ** 2
    assert rows[1].interval == pytest.approx((-unseen / (12 + unseen), unseen / (12 + unseen)))
    assert rows[0].p_value == pytest.approx(2 * (stats.binom.sf(4, 5, 0.5) + stats.binom.pmf(4, 5, 0.5) / 2))
    assert rows[0].interval[0] <= 0 <= rows[0].interval[1]


def test_a_metric_that_either_candidate_lacks_is_passed_over(fakes):
    """No measurement, no number and no such subject are no error between candidates; a library's values are kept."""
    rows = fakes.scores(_rng(19).random(20))
    run = fakes.small_run({(fakes.MC2, "base"): rows, (fakes.MC2, "dpo"): rows, (fakes.ACCURACY, "dpo"): rows})
    run = replace(run, measurements=(*run.measurements, MetricScores(fakes.MC2, "bare", (), missing="not run")))
    run = replace(run, subjects=(*run.subjects, replace(run.subjects[1], name="bare")))
    assert {row.against for row in compare(_held_against(run, "dpo", "bare", "nobody"))} == {"baseline", "definition"}
    assert {row.against for row in compare(_held_against(run, "bare", "dpo"))} == {"baseline", "definition"}
    values = tuple(MetricScores(fakes.F1, name, (), value=value) for name, value in (("a", 0.25), ("b", 0.75)))
    carried = replace(fakes.small_run({(fakes.F1, "a"): (), (fakes.F1, "b"): ()}), measurements=values)
    row = next(row for row in compare(_held_against(carried, "b", "a")) if row.against == "candidate")
    assert (row.difference, row.interval, row.why_no_interval) == (0.5, None, "not a sum over examples")


def test_candidates_that_are_held_against_one_another_must_share_examples(fakes):
    """Being exploratory does not excuse other rows."""
    rows = fakes.scores(_rng(20).random(30))
    run = fakes.small_run({(fakes.ACCURACY, "dpo"): rows[1:], (fakes.ACCURACY, "sft"): rows})
    with pytest.raises(UnpairedExamplesError, match="dpo lacks 1 of the examples of sft"):
        compare(_held_against(run, "dpo", "sft"))


def test_a_subject_with_a_number_that_is_not_finite_is_marked(fakes):
    """One NaN among the scores of either side, and no other row is touched."""
    rows = fakes.scores(_rng(24).random(20))
    nan = (ExampleScore("e0000", "g0", math.nan, 1.0), *rows[1:])
    marked, fine = compare(fakes.small_run({(fakes.MC2, "base"): rows, (fakes.MC2, "a"): nan, (fakes.MC2, "b"): rows}))
    assert (marked.is_finite, fine.is_finite) == (False, True)
