"""What is said of a difference: coverage by simulation, and that nothing is said without grounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.comparing.inference import Inference, PairedSums, infer
from reports.comparing.statistics import cluster_t_interval, linearised_ratio, ratio

REPLICATIONS = 1_500


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _amounts(candidate, baseline, counts, **changes) -> PairedSums:
    flags = {"by_definition": False, "is_outcomes": False, "identical": False} | changes
    return PairedSums(candidate, counts, baseline, counts, **flags)


def _against(known, totals, counts) -> PairedSums:
    return _amounts(totals, known * counts, counts, by_definition=True, is_outcomes=True)


def _cells(n_groups: int, rng: np.random.Generator):
    """Which of five examples a group has, and the tokens of each, shape (replications, groups, examples)."""
    there = np.arange(5) < rng.integers(1, 6, (REPLICATIONS, n_groups, 1))
    return rng.integers(5, 40, there.shape) * there


def _nats(n_groups, rng, draw):
    """Nats of two subjects on the same clustered examples; the shift is `draw` less its mean, and truly 0."""
    tokens = _cells(n_groups, rng).astype(float)
    baseline = tokens * rng.gamma(2, 1, tokens.shape)
    shift = draw((REPLICATIONS, n_groups, 1)) + draw(tokens.shape)
    return baseline + 0.1 * tokens * shift, baseline, tokens


def _gamma(n_groups, rng):
    """Skewness 1."""
    return _nats(n_groups, rng, lambda shape: rng.gamma(4, 0.5, shape) - 2)


def _exponential(n_groups, rng):
    """Skewness 2."""
    return _nats(n_groups, rng, lambda shape: rng.exponential(1, shape) - 1)


def _flips(n_groups, rng):
    """Outcomes of which 12 % are gained and 12 % lost, alike within a group for the most part."""
    counts = (_cells(n_groups, rng) > 0).astype(float)
    drawn = np.where(rng.random(counts.shape) < 0.7, rng.random((REPLICATIONS, n_groups, 1)), rng.random(counts.shape))
    return counts * (drawn < 0.32), counts * ((drawn > 0.12) & (drawn < 0.44)), counts


def _wins(n_groups, rng):
    """Pairs of which 85 % are won, more alike within a group, held against their true share."""
    counts = (_cells(n_groups, rng) > 0).astype(float)
    won = counts * (rng.random(counts.shape) < rng.beta(3 * 0.85, 3 * 0.15, (REPLICATIONS, n_groups, 1)))
    return won, 0.85 * counts, counts


def _covers(interval) -> bool:
    return interval.low <= 0 <= interval.high


def _coverage(rows, *, is_outcomes: bool, by_definition: bool) -> tuple[float, float]:
    """Shares of 95 % intervals, and of ends of the 90 % ones, that are right about a true difference of 0."""
    groups = [array.sum(axis=2) for array in rows]
    sides = [
        _amounts(*arrays, is_outcomes=is_outcomes, by_definition=by_definition) for arrays in zip(*groups, strict=True)
    ]
    inferred = infer(sides, seed=1)
    ends = [end for each in inferred for end in (each.bounds.low <= 0, each.bounds.high >= 0)]
    return float(np.mean([_covers(each.interval) for each in inferred])), float(np.mean(ends))


def _coverage_ignoring_groups(candidate, baseline, counts) -> float:
    """The same with every example taken as a group of its own."""
    covered = []
    for one, other, weights in zip(candidate, baseline, counts, strict=True):
        cells = weights > 0
        influences = linearised_ratio(one[cells], weights[cells]) - linearised_ratio(other[cells], weights[cells])
        difference = ratio(one[cells], weights[cells]) - ratio(other[cells], weights[cells])
        covered.append(_covers(cluster_t_interval(difference, influences)))
    return float(np.mean(covered))


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [30, 100, 300])
@pytest.mark.parametrize("simulate", [_gamma, _exponential, _flips, _wins])
def test_intervals_cover_what_they_claim_and_ignoring_groups_does_not(simulate, n_groups):
    """By simulation: 93-97 % coverage with the method of the rule; well under 90 % with rows taken as independent."""
    rows = simulate(n_groups, _rng(n_groups))
    outcomes = simulate in (_flips, _wins)
    coverage, one_sided = _coverage(rows, is_outcomes=outcomes, by_definition=simulate is _wins)
    assert 0.93 <= coverage <= 0.97
    assert 0.93 <= one_sided <= 0.97
    assert _coverage_ignoring_groups(*(array[:500] for array in rows)) < 0.9


@pytest.mark.slow
def test_the_rule_holds_where_a_t_interval_does_not():
    """Thirty groups of very unequal size and skewed amounts: the rule's interval covers 93-97 %, cluster-t does not."""
    rng = _rng(3)
    counts = 1.0 + rng.geometric(0.3, (REPLICATIONS, 30, 1))
    candidate = counts * (rng.exponential(1, counts.shape) - 1)
    coverage, _ = _coverage((candidate, 0 * candidate, counts), is_outcomes=False, by_definition=False)
    assert 0.93 <= coverage <= 0.97
    assert _coverage_ignoring_groups(candidate, 0 * candidate, counts) < 0.92


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 60), st.booleans())
def test_swapped_sides_mirror_everything(seed, n_groups, is_outcomes):
    """Interval and bounds change signs and ends; error, p-value, power, correlation and factor stay as they are."""
    rng = _rng(seed)
    counts = rng.integers(1, 4, n_groups).astype(float)
    one, other = (
        rng.binomial(counts.astype(int), 0.5, (2, n_groups)).astype(float)
        if is_outcomes
        else counts * rng.exponential(1, (2, n_groups))
    )
    (straight,) = infer([_amounts(one, other, counts, is_outcomes=is_outcomes)], seed=2)
    (swapped,) = infer([_amounts(other, one, counts, is_outcomes=is_outcomes)], seed=2)
    for interval, mirrored in ((straight.interval, swapped.interval), (straight.bounds, swapped.bounds)):
        assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low), abs=1e-12)
    assert swapped.p_value == straight.p_value
    for field in ("standard_error", "smallest_detectable", "correlation", "pairing_factor"):
        assert getattr(swapped, field) == pytest.approx(getattr(straight, field))


def test_amounts_that_rest_on_few_large_groups_get_a_t_interval():
    """Two groups among tiny ones: resamples without them would send the bootstrap-t anywhere; both levels change."""
    totals = np.append(_rng(8).normal(0, 0.001, 28), [0.2, 0.3])
    ones = np.ones(30)
    (row,) = infer([_amounts(totals, np.zeros(30), ones)], seed=0)
    influences = linearised_ratio(totals, ones)
    assert row.interval == cluster_t_interval(totals.mean(), influences)
    assert row.bounds == cluster_t_interval(totals.mean(), influences, 0.9)


def test_bounds_lie_within_the_interval():
    """A 90 % interval is part of the 95 % one, with every method."""
    counts = np.ones(40)
    rng = _rng(4)
    won = (rng.random(40) < 0.8).astype(float)
    sides = [
        _amounts(rng.exponential(1, 40), rng.exponential(1, 40), counts),
        _amounts(won, np.roll(won, 1), counts, is_outcomes=True),
        _against(0.5, won, counts),
        _against(0.5, counts, counts),
    ]
    inferred = infer(sides, seed=0)
    assert [each.interval.method for each in inferred] == ["bootstrap-t", "percentile", "Wilson", "exact"]
    for each in inferred:
        assert each.interval.low < each.bounds.low < each.bounds.high < each.interval.high or (
            each.interval.method == "exact" and each.interval.high == each.bounds.high
        )


def test_differences_that_are_inferred_together_or_alone_are_the_same(monkeypatch):
    """Neither neighbours nor the size of a block change a number: all share their draws."""
    rng = _rng(5)
    counts = rng.integers(1, 5, 30).astype(float)
    sides = [_amounts(*(counts * rng.exponential(1, (2, 30))), counts) for _ in range(5)]
    together = infer(sides, seed=1)
    monkeypatch.setattr("reports.comparing.inference.CELLS_A_BLOCK", 20_000)
    in_blocks = infer(sides, seed=1)
    alone = [infer([each], seed=1)[0] for each in sides]
    for one, other, third in zip(together, in_blocks, alone, strict=True):
        assert one.p_value == other.p_value == third.p_value
        assert one.interval.low == pytest.approx(other.interval.low, rel=1e-12)
        assert one.interval.low == pytest.approx(third.interval.low, rel=1e-12)


def test_equal_sides_have_a_p_value_of_one_and_no_interval():
    """Identical scores say nothing about a spread; under ten groups nothing is said at all."""
    totals, counts = _rng(6).random(300), np.ones(300)
    (equal,) = infer([_amounts(totals, totals, counts, identical=True)], seed=0)
    assert equal == Inference(why_no_interval="identical scores", is_identical=True, p_value=1.0)
    (few,) = infer([_amounts(totals[:9], totals[9:18], counts[:9])], seed=0)
    assert few == Inference(why_no_interval="9 groups; an interval needs 10")


def test_a_definition_is_no_side_to_be_correlated_with():
    """Against a half there is neither a correlation nor a factor; swaps turn wins into losses: a binomial test."""
    from scipy import stats

    won = np.array([1.0] * 31 + [0.0] * 9)
    (row,) = infer([_against(0.5, won, np.ones(40))], seed=0)
    assert (row.correlation, row.pairing_factor) == (None, None)
    assert row.p_value == pytest.approx(stats.binomtest(31, 40).pvalue)


def test_unequal_counts_are_swapped_with_their_totals():
    """Where a swap changes denominators too, the p-value is that of the ratios' difference under every swap."""
    rng = _rng(7)
    totals, counts = rng.random((2, 11)), rng.integers(1, 9, (2, 11)).astype(float)
    sides = PairedSums(totals[0], counts[0], totals[1], counts[1], False, False, False)
    swapped = (np.arange(2**11)[:, None] >> np.arange(11)) & 1
    first, second = (
        np.where(swapped == side, totals[0], totals[1]).sum(axis=1)
        / np.where(swapped == side, counts[0], counts[1]).sum(axis=1)
        for side in (0, 1)
    )
    differences = np.abs(first - second)
    exact = np.mean(differences >= differences[0] - 1e-12)
    assert infer([sides], seed=0)[0].p_value == pytest.approx(exact, abs=0.02)
    assert sides.difference == pytest.approx(first[0] - second[0])


@pytest.mark.parametrize(("rates", "n_apart"), [([0.5] * 12, 0), ([0.5] * 10 + [0.1, 0.7], 2), (range(12), 11)])
def test_groups_stand_apart_from_what_most_of_them_show(rates, n_apart):
    """By what a group shows per count, whatever its size; groups without counts show nothing."""
    counts = np.append(np.arange(1.0, 13.0), 0.0)
    baseline = 3.1 * counts
    totals = baseline + np.append(np.array(rates, dtype=float), 0.0) * counts
    assert _amounts(totals, baseline, counts).n_apart == n_apart
