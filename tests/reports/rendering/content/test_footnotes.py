"""What a row's footnotes withhold: equivalence that its twin contradicts, values without information, failed claims."""

from dataclasses import replace

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import Gate
from reports.rendering.content.display import MINUS
from reports.rendering.content.footnotes import row_notes

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


def perplexity_run(fakes, shift, **changes):
    """Forty answers whose nats per token lie so far off the baseline's, with noise."""
    base = np.full(40, 2.0)
    noise = np.random.default_rng(4).normal(0, 0.1, 40)
    sides = {"base": base, "dpo": base + shift + noise - noise.mean()}
    return fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(rows) for name, rows in sides.items()}, **changes)


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
    """Another sign, or a change beyond the margin, withholds that it is small, and says by how much the twin moved."""
    run = twins_run(fakes, shift, twin_shift)
    row = compare(run)[0]
    assert row.p_unchanged <= 0.05
    change = f"{100 * np.expm1(twin_shift):+.2f}".replace("-", MINUS)
    expected = (
        "Within 10.5 %, the margin of its gate, but not called unchanged: perplexity_without_eos changed by "
        f"{change} %, so words and the end of turn moved apart."
        if is_contradicted
        else "Changed by less than 10.5 %, the margin of its gate."
    )
    assert row_notes(run, row) == (expected,)


def test_a_recipe_is_held_to_its_twins_too(fakes):
    """The mean over seeds of the twin contradicts the mean of the metric."""
    run = twins_run(fakes, 0.02, 0.2, ("s0", "s1", "s2"))
    run = replace(run, subjects=(run.subjects[0], *(replace(each, recipe="dpo") for each in run.subjects[1:])))
    [recipe] = over_seeds(run, compare(run))
    assert recipe.mean.twin_difference == pytest.approx(0.201)
    assert recipe.mean.p_unchanged <= 0.05
    [note] = row_notes(run, recipe.mean)
    assert note.startswith("Within 10.5 %, the margin of its gate, but not called unchanged: perplexity_without_eos")


@pytest.mark.parametrize(
    ("shift", "gates", "said"),
    [
        (0.0, (), ""),
        (0.0, (Gate(KEY, 0.05),), "Unchanged within 5.1 %, the margin of its gate."),
        (0.0, (Gate(KEY, 0.05, relative=True),), "Unchanged within 5.0 %, the margin of its gate."),
        (0.04, (Gate(KEY, 0.1),), "Changed by less than 10.5 %, the margin of its gate."),
        (0.0, (Gate(KEY, 0.02),), ""),
        (0.04, (Gate(KEY, 0.05),), ""),
        (0.0, (Gate("safety/perplexity", 0.05),), ""),
    ],
)
def test_unchanged_is_said_after_an_equivalence_test_alone(fakes, shift, gates, said):
    """Only with a gate, and only where the 90 % interval lies within its margin; else the interval speaks."""
    run = perplexity_run(fakes, shift, gates=gates)
    [row] = compare(run)
    assert row.outcome == ("worse" if shift else "no change seen")
    assert row_notes(run, row) == ((said,) if said else ())


@pytest.mark.parametrize(("base_nats", "nats", "is_said"), [(7.0, 7.5, False), (7.0, 9.0, True), (9.0, 7.0, True)])
def test_a_perplexity_above_the_vocabulary_carries_no_information(fakes, base_nats, nats, is_said):
    """Where either value is worse than a uniform guess over the tokens, whose number is said."""
    metric = replace(fakes.PERPLEXITY, uninformative=float(np.log(2048)))
    rows = {"base": np.full(40, base_nats), "dpo": nats + np.linspace(-0.01, 0.01, 40)}
    run = fakes.small_run({(metric, name): fakes.scores(values) for name, values in rows.items()})
    [row] = compare(run)
    place = "Above 2,048, the tokens of the vocabulary, it is worse than guessing"
    said = f"{place}: a gain there means nothing, but a loss counts."
    assert row_notes(run, row) == ((said,) if is_said else ())


def test_what_does_not_stand_after_correction_is_said_so(fakes):
    """Clear of zero alone, not among many; a row outside of any family has nothing that could fail."""
    run = perplexity_run(fakes, 0.04)
    [row] = compare(run)
    assert row.outcome == "worse"
    assert row_notes(run, row) == ()
    failing = replace(row, p_adjusted=0.07)
    assert failing.outcome == "no change seen"
    assert row_notes(run, failing) == (
        "Clear of zero by itself, but not after correction for the number of comparisons.",
    )
    assert row_notes(run, replace(row, p_adjusted=None)) == ()


@pytest.mark.parametrize(
    "origin",
    [
        {"reference": "base", "beta": 0.1, "reference_basis": "assumed", "beta_basis": "assumed"},
        {"reference": "base", "beta": 0.1, "beta_basis": "assumed"},
        {"reference": None, "reference_basis": "unknown", "beta": None},
        {"reference": "base", "beta": 0.1},
    ],
)
def test_only_a_reward_on_assumptions_is_noted(fakes, origin):
    """Of an adapter from elsewhere: a reference or a beta that nothing says, where there is a reward at all."""
    run = fakes.realistic_run()
    subjects = (replace(each, **origin) if each.name == "dpo" else each for each in run.subjects)
    run = replace(run, subjects=tuple(subjects))
    noted = [
        row.metric for row in compare(run) if row.primary and any("assumed" in note for note in row_notes(run, row))
    ]
    assert noted == ([fakes.ACCURACY] if "assumed" in origin.values() else [])
