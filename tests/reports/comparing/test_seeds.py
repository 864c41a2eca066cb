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
    rows = over_seeds(run, compare(run))
    return {(row.mean.candidate, row.mean.metric.name): row for row in rows if row.mean.primary}


def test_the_mean_over_seeds_has_the_variance_of_seeds_and_of_groups(fakes):
    """Three adapters by hand: variance of the seeds over three plus that of the mean difference by group."""
    row = _summaries(fakes.sweep_run())[fakes.LR, "perplexity"]
    assert row.mean.difference == pytest.approx(-0.2)
    assert row.standard_deviation == pytest.approx(0.1)
    own = [c for c in compare(fakes.sweep_run()) if c.candidate in row.adapters and c.metric == fakes.PERPLEXITY]
    of_groups = row.mean.paired.standard_error**2 - 0.1**2 / 3
    assert of_groups == pytest.approx(np.mean([c.paired.standard_error for c in own if c.against == "baseline"]) ** 2)
    critical = (0.1**2 / 3 * stats.t.ppf(0.975, 2) + of_groups * stats.t.ppf(0.975, row.mean.paired._freedom)) / (
        0.1**2 / 3 + of_groups
    )
    assert row.mean.interval[1] + 0.2 >= critical * row.mean.paired.standard_error * (1 - 1e-9)
    assert (row.mean.baseline_value, row.mean.candidate_value) == pytest.approx((2.0, 1.8))
    assert row.adapters == tuple(f"{fakes.LR}, {seed}" for seed in fakes.SHIFTS)
    assert row.mean.method == "seeds and groups"


def test_a_recipe_is_corrected_over_its_own_metrics(fakes):
    """Holm over the recipe's primary metrics; what is compared with a ruler or a control has no corrected p."""
    from statsmodels.stats.multitest import multipletests

    rows = [row.mean for row in over_seeds(fakes.sweep_run(), compare(fakes.sweep_run())) if row.mean.p_value]
    family = [row for row in rows if row.primary and row.candidate == fakes.LR]
    expected = multipletests([row.p_value for row in family], method="holm")[1]
    assert len(family) == 2
    assert [row.p_adjusted for row in family] == pytest.approx(list(expected))
    assert all(row.p_adjusted is None for row in rows if not row.primary)


def test_what_is_known_of_one_adapter_is_not_carried_over(fakes):
    """A recipe that is not judged has neither a p-value nor a power of its first adapter."""
    run = fakes.sweep_run()
    subjects = tuple(replace(s, recipe="") if s.name.endswith("44") else s for s in run.subjects)
    for row in over_seeds(replace(run, subjects=subjects), compare(run)):
        mean = row.mean
        assert (mean.paired, mean.p_value, mean.p_adjusted, mean.smallest_detectable) == (None,) * 4
        assert (mean.correlation, mean.pairing_factor) == (None, None)


def test_few_groups_and_a_long_tail_are_carried_over(fakes):
    """What a footnote of a recipe needs: the number of groups, and the side of a tail that they do not carry."""
    run = fakes.sweep_run()
    recipe = [subject.name for subject in run.candidates if subject.recipe == fakes.LR]
    far = {"e0000": 40.0}  # one response of one group that gets much less probable
    measurements = tuple(
        replace(each, scores=tuple(replace(s, total=s.total + far.get(s.example_id, 0.0)) for s in each.scores))
        if each.subject in recipe and each.metric == fakes.PERPLEXITY
        else each
        for each in run.measurements
    )
    mean = _summaries(replace(run, measurements=measurements))[fakes.LR, "perplexity"].mean
    assert (mean.n_groups, mean.method, mean.long_tail) == (12, "seeds and groups", "above")


def test_the_width_beside_it_is_the_mean_of_the_adapters_own(fakes):
    """Each adapter's interval by example enters once; a clear one of each adapter may be unclear over seeds."""
    run = fakes.sweep_run()
    row = _summaries(run)[fakes.LR, "perplexity"]
    own = [c for c in compare(run) if c.candidate in row.adapters and c.primary and c.metric == fakes.PERPLEXITY]
    assert row.mean_width == pytest.approx(np.mean([c.interval[1] - c.interval[0] for c in own]))
    assert {c.outcome for c in own} == {"better"}
    assert row.mean.outcome == "no change seen"


def test_a_recipe_of_fewer_than_three_adapters_is_not_judged(fakes):
    """The mean is given, the interval is not, and the reason counts the seeds; one adapter has no spread either."""
    run = fakes.sweep_run()
    row = _summaries(run)["learning_rate=5e-6", "accuracy"]
    assert (row.mean.difference, row.standard_deviation) == (pytest.approx(8 / 12 - 0.5), None)
    assert (row.mean.interval, row.mean.outcome) == (None, "cannot tell")
    assert row.mean.why_no_interval == "not judged: 1 of at least 3 training seeds"
    subjects = tuple(replace(s, recipe="") if s.name.endswith("44") else s for s in run.subjects)
    pair = _summaries(replace(run, subjects=subjects))[fakes.LR, "accuracy"]
    assert (pair.mean.interval, pair.standard_deviation) == (None, pytest.approx(sqrt(0.5) / 12))


def test_seeds_that_all_agree_still_have_the_spread_of_the_groups(fakes):
    """Three adapters that won the same rows are as uncertain as one: their rows are the same ones."""
    won = fakes.scores([1] * 9 + [0] * 3)
    run = fakes.small_run({(fakes.ACCURACY, name): won for name in "abc"})
    run = replace(run, subjects=tuple(replace(s, recipe="r" if s.kind == "candidate" else "") for s in run.subjects))
    row = _summaries(run)["r", "accuracy"]
    assert (row.mean.difference, row.standard_deviation) == (0.25, 0.0)
    assert row.mean.interval[0] < 0 < row.mean.interval[1] <= 0.5


@pytest.mark.parametrize("is_absent", [True, False])
def test_an_adapter_without_a_number_leaves_its_recipe_without_one(fakes, is_absent):
    """A mean over the seeds that survived would flatter: the recipe has no number and names the adapter."""
    run, name = fakes.sweep_run(), f"{fakes.LR}, seed 43"
    measurements = [m for m in run.measurements if (m.metric, m.subject) != (fakes.PERPLEXITY, name)]
    if not is_absent:
        measurements.append(MetricScores(fakes.PERPLEXITY, name, (), missing="it diverged"))
    row = _summaries(replace(run, measurements=tuple(measurements)))[fakes.LR, "perplexity"]
    assert (row.mean.difference, row.mean.candidate_value, row.mean.interval, row.mean_width) == (None,) * 4
    assert row.mean.why_no_interval == f"no difference of {name}"


@pytest.mark.parametrize("broken", [f"seed {seed}" for seed in (42, 44)])
def test_a_seed_of_nan_makes_its_recipe_not_finite(fakes, broken):
    """Whichever seed it is, the recipe is marked as not finite, as its adapter is, and the reason names the adapter."""
    run, name = fakes.sweep_run(), f"{fakes.LR}, {broken}"
    measurements = [m for m in run.measurements if (m.metric, m.subject) != (fakes.PERPLEXITY, name)]
    measurements.append(MetricScores(fakes.PERPLEXITY, name, fakes.scores([float("nan")] * 12)))
    rows = _summaries(replace(run, measurements=tuple(measurements)))
    assert rows[fakes.LR, "perplexity"].mean.why_no_interval == f"numbers of {name} are not finite"
    assert not rows[fakes.LR, "perplexity"].mean.is_finite
    assert rows[fakes.LR, "accuracy"].mean.is_finite


def test_rulers_and_controls_are_held_against_a_recipe_too(fakes):
    """Primary metrics against the baseline or a definition, and against each control and ruler; nothing exploratory."""
    rows = over_seeds(fakes.sweep_run(), compare(fakes.sweep_run()))
    assert {(row.mean.candidate, row.mean.metric.name, row.mean.baseline) for row in rows} == {
        (recipe, metric, other)
        for recipe in (fakes.LR, "learning_rate=5e-6")
        for metric, baseline in (("accuracy", "0.5 by definition"), ("perplexity", "base"))
        for other in (baseline, *fakes.CONTROLS)
    }
    assert all(row.mean.outcome != "cannot tell" for row in rows if row.mean.candidate == fakes.LR)


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
