"""Recipes over their training seeds: means, spreads and refusals against scipy and by hand."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import MetricScores


def _summaries(run):
    return {(row.mean.candidate, row.mean.metric.name): row for row in over_seeds(run, compare(run))}


def test_the_mean_over_seeds_is_scipys_t_interval_of_the_differences(fakes):
    """Mean, standard deviation and interval of three adapters are those of a one-sample t test of their differences."""
    row = _summaries(fakes.sweep_run())[fakes.LR, "perplexity"]
    differences = [shift / 15 for shift in fakes.SHIFTS.values()]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert row.mean.difference == pytest.approx(-0.2)
    assert row.standard_deviation == pytest.approx(0.1)
    assert (row.mean.interval.low, row.mean.interval.high) == pytest.approx((expected.low, expected.high))
    half_width = 4.302652729911275 * 0.1 / sqrt(3)  # t of 2 degrees of freedom
    assert row.mean.interval.high == pytest.approx(-0.2 + half_width)
    assert (row.mean.baseline_value, row.mean.candidate_value) == pytest.approx((2.0, 1.8))
    assert row.adapters == tuple(f"{fakes.LR}, {seed}" for seed in fakes.SHIFTS)


def test_what_is_known_of_one_adapter_is_not_carried_over(fakes):
    """Neither a p-value nor a power of the first adapter stands in the row of the recipe."""
    for row in over_seeds(fakes.sweep_run(), compare(fakes.sweep_run())):
        mean = row.mean
        assert (mean.inference.p_value, mean.p_adjusted, mean.inference.bounds, mean.inference.standard_error) == (
            None,
        ) * 4
        assert (mean.inference.smallest_detectable, mean.inference.correlation, mean.inference.pairing_factor) == (
            None,
        ) * 3


def test_the_width_beside_it_is_the_mean_of_the_adapters_own(fakes):
    """Each adapter's interval by example enters once; a clear one of each adapter may be unclear over seeds."""
    run = fakes.sweep_run()
    row = _summaries(run)[fakes.LR, "perplexity"]
    own = [c for c in compare(run) if c.candidate in row.adapters and c.primary and c.metric == fakes.PERPLEXITY]
    assert row.mean_width == pytest.approx(np.mean([c.interval.high - c.interval.low for c in own]))
    assert {c.outcome for c in own} == {"better"}
    assert row.mean.outcome == "unclear"


def test_a_recipe_of_fewer_than_three_adapters_is_not_judged(fakes):
    """The mean is given, the interval is not, and the reason counts the seeds; one adapter has no spread either."""
    run = fakes.sweep_run()
    row = _summaries(run)["learning_rate=5e-6", "accuracy"]
    assert (row.mean.difference, row.standard_deviation) == (pytest.approx(8 / 12 - 0.5), None)
    assert (row.mean.interval, row.mean.outcome) == (None, "no interval")
    assert row.mean.inference.why_no_interval == "not judged: 1 of at least 3 training seeds"
    subjects = tuple(replace(s, recipe="") if s.name.endswith("44") else s for s in run.subjects)
    pair = _summaries(replace(run, subjects=subjects))[fakes.LR, "accuracy"]
    assert (pair.mean.interval, pair.standard_deviation) == (None, pytest.approx(sqrt(0.5) / 12))


def test_seeds_that_all_agree_have_no_interval_of_width_zero(fakes):
    """Three adapters with the same accuracy say nothing about how far a fourth one would lie."""
    won = fakes.scores([1] * 9 + [0] * 3)
    run = fakes.small_run({(fakes.ACCURACY, name): won for name in "abc"})
    run = replace(run, subjects=tuple(replace(s, recipe="r" if s.kind == "candidate" else "") for s in run.subjects))
    row = _summaries(run)["r", "accuracy"]
    assert (row.mean.difference, row.standard_deviation, row.mean.interval) == (0.25, 0.0, None)
    assert "same difference with every seed" in row.mean.inference.why_no_interval


@pytest.mark.parametrize("is_absent", [True, False])
def test_an_adapter_without_a_number_leaves_its_recipe_without_one(fakes, is_absent):
    """A mean over the seeds that survived would flatter: the recipe has no number and names the adapter."""
    run, name = fakes.sweep_run(), f"{fakes.LR}, seed 43"
    measurements = [m for m in run.measurements if (m.metric, m.subject) != (fakes.PERPLEXITY, name)]
    if not is_absent:
        measurements.append(MetricScores(fakes.PERPLEXITY, name, (), missing="it diverged"))
    row = _summaries(replace(run, measurements=tuple(measurements)))[fakes.LR, "perplexity"]
    assert (row.mean.difference, row.mean.candidate_value, row.mean.interval, row.mean_width) == (None,) * 4
    assert row.mean.inference.why_no_interval == f"no difference of {name}"


def test_rulers_controls_and_exploratory_metrics_are_not_summarised(fakes):
    """Only what claims are made from is: primary metrics against the baseline or a definition, of named recipes."""
    summaries = _summaries(fakes.sweep_run())
    recipes = (fakes.LR, "learning_rate=5e-6")
    assert set(summaries) == {(recipe, metric) for recipe in recipes for metric in ("accuracy", "perplexity")}


def test_a_run_without_seeds_has_no_summaries(fakes):
    """Recipes are empty where there is one seed."""
    assert _summaries(fakes.realistic_run(("a", "b"))) == {}


def test_a_width_without_all_intervals_is_missing(fakes):
    """Where an adapter has no interval by example, there is no mean width."""
    rng = np.random.default_rng(0)
    base = rng.random(40)
    sides = {(fakes.MC2, "base"): fakes.scores(base), (fakes.MC2, "a"): fakes.scores(base + 0.25)}
    sides |= {(fakes.MC2, name): fakes.scores(rng.random(40)) for name in "bc"}
    run = fakes.small_run({(replace(metric, primary=True), name): rows for (metric, name), rows in sides.items()})
    run = replace(run, subjects=tuple(replace(s, recipe="r" if s.kind == "candidate" else "") for s in run.subjects))
    (row,) = over_seeds(run, compare(run))
    assert row.mean_width is None
    assert row.mean.interval is not None
