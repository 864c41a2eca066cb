"""What the rows show becomes facts, and nothing is claimed that is not corrected or carries no information."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from reports.comparing.choice import headline_candidate
from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import EvaluationCounts, Selection
from reports.rendering.content.headline.facts import facts_of, n_peers, standing
from reports.rendering.content.headline.subject import Judged, judged


def judged_of(rows: SimpleNamespace, target: list[str], elsewhere: list[str]) -> Judged:
    """A candidate whose rows show this."""
    metrics = [replace(rows.REWARD, evaluation=f"preferences {n}") for n in range(len(target))]
    others = [replace(rows.PERPLEXITY, evaluation=f"set {n}") for n in range(len(elsewhere))]
    return Judged(
        name="dpo",
        adapters=("dpo",),
        is_recipe=False,
        target=tuple(
            rows.row_of(metric, shows, "definition", "0.5 by definition")
            for metric, shows in zip(metrics, target, strict=True)
        ),
        elsewhere=tuple(rows.row_of(metric, shows) for metric, shows in zip(others, elsewhere, strict=True)),
        against_rulers=(),
        against_controls=(),
    )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["better"], "gain"),
        (["worse"], "loss"),
        (["better", "no change seen"], "gain"),
        (["better", "worse", "cannot tell"], "both"),
        (["better", "not finite"], "not finite"),
        (["no change seen", "cannot tell"], "no change seen"),
        (["changed", "no change seen"], "changed"),
        (["cannot tell", "not measured"], "cannot tell"),
        (["not measured"], "not measured"),
        ([], "not measured"),
    ],
)
def test_the_target_is_told_from_its_rows(
    fakes: SimpleNamespace, rows: SimpleNamespace, target: list[str], expected: str
) -> None:
    """What is broken comes first, then gain and loss, then what was not seen."""
    subject = judged_of(rows, target, ["better", "worse"])
    assert facts_of(fakes.realistic_run(), subject, []).target == expected


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [
        (["better", "no change seen"], "gains"),
        (["worse", "no change seen"], "losses"),
        (["better", "worse"], "both"),
        (["worse"], "losses"),
        (["worse", "worse"], "everything worse"),
        (["worse", "worse", "cannot tell"], "losses"),
        (["changed"], "none"),
        (["no change seen", "cannot tell"], "none"),
        (["cannot tell", "not measured"], "cannot tell"),
        (["better", "not finite"], "not finite"),
        (["not measured"], "not measured"),
        ([], "not measured"),
    ],
)
def test_elsewhere_is_told_from_the_other_rows(
    fakes: SimpleNamespace, rows: SimpleNamespace, elsewhere: list[str], expected: str
) -> None:
    """Gains and losses are both named, and everything worse only where everything is."""
    subject = judged_of(rows, ["better"], elsewhere)
    assert facts_of(fakes.realistic_run(), subject, []).elsewhere == expected


def test_a_claim_is_corrected_and_informative(rows: SimpleNamespace) -> None:
    """An interval clear of zero by itself claims nothing, nor does a gain between two values worse than a guess."""
    better = rows.row_of(rows.PERPLEXITY, "better")
    assert standing(better) == "better"
    assert standing(replace(better, p_adjusted=None)) == "cannot tell"
    assert standing(replace(better, p_adjusted=0.2)) == "no change seen"
    guessed = replace(better, metric=replace(rows.PERPLEXITY, uninformative=0.2))
    assert standing(guessed) == "cannot tell"
    assert standing(replace(rows.row_of(rows.PERPLEXITY, "worse"), metric=guessed.metric)) == "worse"
    crossed = replace(guessed, candidate_value=0.1)
    assert standing(crossed) == "better"


def rival_run(fakes: SimpleNamespace, won: int, ruler: int, control: int | None = None, n: int = 200):
    """A candidate, a ruler and a control that win so many pairs of all, each its own."""
    outcomes = {"dpo": won, "bag of words": ruler} | ({} if control is None else {"control": control})
    rng = np.random.default_rng(5)
    run = fakes.small_run(
        {
            (fakes.ACCURACY, name): fakes.scores(rng.permutation([1] * n_won + [0] * (n - n_won)))
            for name, n_won in outcomes.items()
        }
    )
    changes = {"dpo": {"compared_with": ("control",)}, "control": {"is_control": True}}
    return replace(run, subjects=tuple(replace(each, **changes.get(each.name, {})) for each in run.subjects))


def facts(run):
    """Facts of a run's headline."""
    comparisons = compare(run)
    recipes = over_seeds(run, comparisons)
    return facts_of(run, judged(run, comparisons, recipes), comparisons)


@pytest.mark.parametrize(
    ("won", "ruler", "expected"),
    [
        (130, 126, "as well"),
        (130, 170, "ahead"),
        (170, 100, "behind"),
        (120, 104, "not told apart"),
        (100, 126, "none"),  # without a gain no ruler matters
    ],
)
def test_a_ruler_does_as_well_only_if_it_beats_chance_itself(
    fakes: SimpleNamespace, won: int, ruler: int, expected: str
) -> None:
    """Of one that is merely not told apart it is not known whether it does."""
    assert facts(rival_run(fakes, won, ruler)).ruler == expected
    assert facts(rival_run(fakes, won, 100, ruler)).control == expected


def test_without_preferences_all_that_has_no_group_is_the_target(fakes: SimpleNamespace) -> None:
    """A group of the suite is elsewhere, and so is everything but the reward where there is one."""
    run = fakes.realistic_run()
    comparisons = compare(run)
    subject = judged(run, comparisons, [])
    assert [row.metric for row in subject.target] == [fakes.ACCURACY]
    assert subject.has_preferences
    without = [row for row in comparisons if row.metric.chance is None]
    grouped = replace(run, counts=(EvaluationCounts("safety", "", 1, 1, 1, suite_group="capability"),))
    subject = judged(grouped, without, [])
    assert not subject.has_preferences
    assert [row.metric for row in subject.elsewhere] == [fakes.SAFETY]
    assert fakes.PERPLEXITY in {row.metric for row in subject.target}


def test_three_seeds_are_judged_as_a_recipe(fakes: SimpleNamespace) -> None:
    """The chosen recipe with the rows of its mean; an adapter alone where a recipe has fewer."""
    run = fakes.sweep_run()
    comparisons = compare(run)
    recipes = over_seeds(run, comparisons)
    subject = judged(run, comparisons, recipes)
    assert (subject.name, subject.is_recipe, len(subject.adapters)) == (fakes.LR, True, 3)
    assert {row.candidate for row in subject.rows} == {fakes.LR}
    found = facts_of(run, subject, comparisons)
    assert (found.seeds, found.choice) == ("recipe", "chosen")
    other = replace(run, selection=(Selection("learning_rate=5e-6", 0.9, 0.1, 10, is_winner=True),))
    subject = judged(other, comparisons, recipes)
    assert (subject.name, facts_of(other, subject, comparisons).seeds) == ("learning_rate=5e-6", "one")
    assert facts_of(replace(run, selection=()), judged(run, comparisons, recipes), comparisons).choice == (
        "first of several"
    )


def test_seeds_are_one_candidate_and_controls_none(fakes: SimpleNamespace) -> None:
    """Of what there was to choose from: two recipes in a sweep of three seeds, with controls and a merged model."""
    assert n_peers(fakes.sweep_run()) == 2
    assert n_peers(fakes.realistic_run()) == 1


def test_a_first_stage_is_not_what_it_is_about(fakes: SimpleNamespace) -> None:
    """The candidate that continued it is; nobody is judged where nobody was measured."""
    run = fakes.realistic_run(("sft", "sft+dpo"))
    staged = tuple(replace(each, reference="sft") if each.name == "sft+dpo" else each for each in run.subjects)
    run = replace(run, subjects=staged)
    assert headline_candidate(run, ["sft", "sft+dpo"]) == "sft+dpo"
    assert facts(run).choice == "only"
    assert judged(run, [], []) is None
