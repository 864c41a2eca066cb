"""What a verdict does not claim: twins that disagree, values without information, rulers and controls as good."""

from dataclasses import replace

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import Gate
from reports.rendering.content.display import MINUS
from reports.rendering.content.verdict import recipe_verdicts, verdict

KEY = "truthfulness/perplexity"
MARGIN = 0.1


def twins_run(fakes, shift, twin_shift, candidates=("dpo",)):
    """Forty answers whose nats per token, with and without the end of turn, lie so far off the baseline's."""
    base, noise = np.full(40, 2.0), np.linspace(-0.01, 0.01, 40)
    twin = replace(fakes.PERPLEXITY, name=fakes.PERPLEXITY.twin, primary=False)
    scores = {}
    for metric, moved in ((fakes.PERPLEXITY, shift), (twin, twin_shift)):
        scores[metric, "base"] = fakes.scores(base)
        for number, name in enumerate(candidates):
            scores[metric, name] = fakes.scores(base + moved + noise + 0.001 * number)
    return fakes.small_run(scores, gates=(Gate(KEY, MARGIN),))


@pytest.mark.parametrize(
    ("shift", "twin_shift", "is_contradicted"),
    [
        (0.02, 0.03, False),
        (-0.02, -0.03, False),
        (0.02, 0.21, True),  # the words became dearer, the end of turn cheaper
        (-0.02, 0.03, True),
        (0.02, -0.03, True),
    ],
)
def test_a_metric_whose_twin_disagrees_is_not_called_unchanged(fakes, shift, twin_shift, is_contradicted):
    """Another sign, or a change beyond the margin, withholds "no change" and is said in a line of its own."""
    run = twins_run(fakes, shift, twin_shift)
    rows = compare(run)
    assert rows[0].p_unchanged <= 0.05
    sentences = [each for each in verdict(run, rows, "dpo") if "unchanged" in each or "No change" in each]
    change = f"{100 * np.expm1(twin_shift):+.2f}".replace("-", MINUS)
    within = "truthfulness · perplexity is within its margin of 10.5 %, but perplexity_without_eos changed by"
    expected = (
        f"Not called unchanged: {within} {change} %: words and the end of turn moved apart."
        if is_contradicted
        else "No change beyond the margin of a gate, by an equivalence test at 5 %: truthfulness · perplexity within "
        "10.5 %."
    )
    assert sentences == [expected]


def test_a_recipe_is_held_to_its_twins_too(fakes):
    """The mean over seeds of the twin contradicts the mean of the metric."""
    run = twins_run(fakes, 0.02, 0.2, ("s0", "s1", "s2"))
    run = replace(run, subjects=(run.subjects[0], *(replace(each, recipe="dpo") for each in run.subjects[1:])))
    [recipe] = over_seeds(run, compare(run))
    assert recipe.mean.twin_difference == pytest.approx(0.201)
    assert recipe.mean.p_unchanged <= 0.05
    sentences = recipe_verdicts(run, [recipe])["dpo"]
    assert not any(sentence.startswith("No change") for sentence in sentences)
    assert any(sentence.startswith("Not called unchanged: truthfulness · perplexity") for sentence in sentences)


def test_a_primary_metric_without_a_gate_has_its_twins(fakes):
    """Where answers are short the gate on the perplexity is the margin of the one without the end of turn."""
    run = twins_run(fakes, 0.02, 0.03)
    swapped = tuple(
        replace(each, metric=replace(each.metric, primary=not each.metric.primary)) for each in run.measurements
    )
    without = next(row for row in compare(replace(run, measurements=swapped)) if row.primary)
    assert (without.metric.name, without.margin, without.twin_difference) == (
        "perplexity_without_eos",
        MARGIN,
        pytest.approx(0.02),
    )


@pytest.mark.parametrize(("base_nats", "nats", "is_said"), [(7.0, 7.5, False), (7.0, 9.0, True), (9.0, 7.0, True)])
def test_a_perplexity_above_the_vocabulary_carries_no_information(fakes, base_nats, nats, is_said):
    """Both values and the number of tokens, where either value is worse than a uniform guess over them."""
    metric = replace(fakes.PERPLEXITY, uninformative=float(np.log(2048)))
    rows = {"base": np.full(40, base_nats), "dpo": nats + np.linspace(-0.01, 0.01, 40)}
    run = fakes.small_run({(metric, name): fakes.scores(values) for name, values in rows.items()})
    said = [each for each in verdict(run, compare(run), "dpo") if each.startswith("Above the size of the vocabulary")]
    assert bool(said) == is_said
    if is_said:
        values = [f"{np.exp(value):,.0f}" for value in (base_nats, nats)]
        assert said[0].endswith(f"truthfulness · perplexity ({values[0]} and {values[1]}; 2,048 tokens).")


def accuracy_run(fakes, n_won, rulers):
    """A candidate that wins the first pairs of sixty, and rulers that win those of their own."""
    outcomes = {"dpo": [1] * n_won + [0] * (60 - n_won)} | rulers
    return fakes.small_run({(fakes.ACCURACY, name): fakes.scores(values) for name, values in outcomes.items()})


def test_a_ruler_that_does_as_well_is_named_with_its_paired_test(fakes):
    """Ahead of one ruler, not of the other, which stands with difference, interval and corrected p-value."""
    rulers = {"longest": [0] * 30 + [1] * 10 + [0] * 20, "shortest": [1] * 38 + [0] * 20 + [1] * 2}
    run = accuracy_run(fakes, 42, rulers)
    rows = compare(run)
    sentences = [each for each in verdict(run, rows, "dpo") if "ruler" in each]
    assert sentences[0] == (
        "Among the surface rulers on preferences · accuracy: ahead of longest; no clear difference from shortest."
    )
    shortest = next(row for row in rows if row.baseline == "shortest")
    low, high = (f"{100 * end:+.1f}".replace("-", MINUS) for end in shortest.interval)
    [sentence] = sentences[1:]
    assert sentence == (
        "Not ahead of every ruler on preferences · accuracy, so a gain there is not shown to be alignment: "
        f"shortest (+3.3 pp, {low} to {high}, paired p {shortest.p_value:.3f})."
    )


def test_ahead_of_a_ruler_is_a_claim_that_is_corrected_over_rulers(fakes):
    """An interval clear of zero against one of three rulers does not do where it would not remain after Holm."""
    close = [1] * 35 + [0] * 25
    run = accuracy_run(fakes, 40, {"longest": close, "shortest": close, "bag of words": close})
    rows = [row for row in compare(run) if row.against == "ruler"]
    assert all(0.05 / 3 < row.p_value <= 0.05 for row in rows)
    alone = verdict(run, [rows[0]], "dpo")
    together = verdict(run, rows, "dpo")
    assert "Among the surface rulers on preferences · accuracy: ahead of longest." in alone
    assert any("no clear difference from longest, shortest, bag of words" in each for each in together)


def test_equal_outcomes_are_said_to_be_equal_with_what_they_leave_open(fakes):
    """Not just "includes no change": no row changed, and the interval is what other rows could still show."""
    run = fakes.small_run({(fakes.MC1, name): fakes.scores([0, 1] * 20) for name in ("base", "dpo")})
    [row] = compare(run)
    assert row.has_same_outcomes
    assert "(0.0 pp; the same in every group; anything from" in verdict(run, [row], "dpo")[0]
    moved = fakes.small_run(
        {(fakes.MC1, "base"): fakes.scores([0, 1] * 20), (fakes.MC1, "dpo"): fakes.scores([1, 0] * 20)}
    )
    assert not compare(moved)[0].has_same_outcomes
