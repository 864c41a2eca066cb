"""Sentences about candidates and recipes: what they stand against, and no more than the intervals support."""

from dataclasses import replace

import numpy as np
import pytest

from reports.comparing.choice import headline_candidate
from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import EvaluationCounts, Gate, Selection
from reports.rendering.content.display import MINUS
from reports.rendering.content.verdict import (
    candidates_of,
    choice,
    not_finite_sentences,
    p_text,
    recipe_verdicts,
    verdict,
)

NOT_AHEAD = "a gain there, such as a lower perplexity, says nothing about preferences."


def _against_control(fakes, shifts, control_shifts, metric=None):
    """Verdict of "dpo" whose scores lie `shifts` off the baseline's, with a control "shuffled" beside it."""
    base = np.full(40, 2.0)
    sides = {"base": base, "dpo": base + shifts, "shuffled": base + control_shifts}
    run = fakes.small_run({(metric or fakes.PERPLEXITY, name): fakes.scores(rows) for name, rows in sides.items()})
    changes = {"dpo": {"compared_with": ("shuffled",)}, "shuffled": {"is_control": True}}
    run = replace(run, subjects=tuple(replace(s, **changes.get(s.name, {})) for s in run.subjects))
    return verdict(run, compare(run), "dpo")


@pytest.mark.parametrize(
    ("gap", "words", "is_ahead"),
    [(-0.3, "ahead on", True), (0.3, "behind on", False), (0.0, "no clear difference on", False)],
)
def test_a_lower_perplexity_counts_only_ahead_of_the_controls(fakes, gap, words, is_ahead):
    """Better than the baseline either way; unless it is ahead of the control too, that is said to mean nothing."""
    noise, other = np.random.default_rng(1).normal(0, 0.05, (2, 40))
    sentences = _against_control(fakes, -0.5 + noise + gap, -0.5 + other)
    assert sentences[0].startswith("Better, interval clear of zero: truthfulness")
    assert f"Against “shuffled”: {words} truthfulness · perplexity." in sentences
    warning = f"Not ahead of every control on truthfulness · perplexity: {NOT_AHEAD}"
    assert (warning in sentences) == (not is_ahead)


@pytest.mark.parametrize(("gap", "words"), [(0.3, "above on"), (-0.3, "below on")])
def test_without_a_direction_nothing_is_ahead(fakes, gap, words):
    """A metric of which neither way is better is above or below its control, and is no gain."""
    noise, other = np.random.default_rng(2).normal(0, 0.05, (2, 40))
    sentences = _against_control(fakes, noise + gap, other, fakes.SAFETY)
    assert f"Against “shuffled”: {words} safety · perplexity." in sentences
    assert any(sentence.endswith(NOT_AHEAD) for sentence in sentences)


def test_a_control_without_an_interval_is_no_one_to_be_ahead_of(fakes):
    """Identical scores claim nothing."""
    sentences = _against_control(fakes, 0.1, 0.1)
    assert "Against “shuffled”: no clear difference on truthfulness · perplexity." in sentences
    assert sentences[-1].endswith(NOT_AHEAD)


def _primary_run(fakes, shift, spread=0.1, **changes):
    """Forty answers whose nats per token lie `shift` off the baseline's, with noise, and the verdict on them."""
    base = np.full(40, 2.0)
    noise = np.random.default_rng(4).normal(0, spread, 40)
    sides = {"base": base, "dpo": base + shift + noise - noise.mean()}
    run = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(rows) for name, rows in sides.items()}, **changes)
    return run, compare(run)


def test_the_verdict_names_what_it_could_not_have_seen(fakes):
    """The smallest detectable difference of each primary metric with a spread, in the units of the table."""
    run, rows = _primary_run(fakes, 0.0)
    (row,) = rows
    percent = 100 * np.expm1(row.smallest_detectable)
    expected = f"could be detected: truthfulness · perplexity {percent:.1f} %."
    assert any(sentence.endswith(expected) for sentence in verdict(run, rows, "dpo"))
    equal = fakes.small_run({(fakes.MC1, name): fakes.scores([0, 1] * 20) for name in ("base", "dpo")})
    assert not any("80 % power" in sentence for sentence in verdict(equal, compare(equal), "dpo"))


def test_one_seed_speaks_for_one_adapter(fakes):
    """Said of an adapter that is alone in its recipe; not of full models, nor where other seeds are there."""
    run = fakes.sweep_run()
    rows = compare(run)
    alone = [
        name
        for name in candidates_of(run, rows)
        if "One training seed: this holds for this adapter, not for its recipe." in verdict(run, rows, name)
    ]
    assert alone == ["learning_rate=5e-6", *fakes.CONTROLS]


def test_no_change_is_said_after_an_equivalence_test_alone(fakes):
    """Only with a gate, and only where the 90 % interval lies within its margin; else the interval speaks."""
    key = "truthfulness/perplexity"
    for shift, gates, is_said in (
        (0.0, (), False),
        (0.0, (Gate(key, 0.05),), True),
        (0.0, (Gate(key, 0.05, relative=True),), True),
        (0.0, (Gate(key, 0.02),), False),
        (0.04, (Gate(key, 0.05),), False),
        (0.0, (Gate("safety/perplexity", 0.05),), False),
    ):
        run, rows = _primary_run(fakes, shift, gates=gates)
        sentences = verdict(run, rows, "dpo")
        assert any(sentence.startswith("No change beyond") for sentence in sentences) == is_said
        assert sentences[0].startswith("No change seen" if shift == 0 else "Worse, interval clear")
    run, rows = _primary_run(fakes, 0.0, gates=(Gate(key, 0.05),))
    expected = (
        "No change beyond the margin of a gate, by an equivalence test at 5 %: truthfulness · perplexity within 5.1 %."
    )
    assert expected in verdict(run, rows, "dpo")


def test_what_does_not_stand_after_correction_is_said_so(fakes):
    """Clear of zero alone, not among many: its own sentence, with the corrected p; a control is not corrected."""
    run, rows = _primary_run(fakes, 0.04, spread=0.1)
    (row,) = rows
    assert row.p_adjusted < 0.05
    assert verdict(run, rows, "dpo")[0].startswith("Worse, interval clear of zero: truthfulness")
    corrected = [replace(row, p_adjusted=0.07)]
    sentence = verdict(run, corrected, "dpo")[0]
    assert sentence.startswith("No change seen: clear of zero by itself, but not after correction: truthfulness")
    assert sentence.endswith(", corrected p 0.070).")
    uncorrected = verdict(run, [replace(row, p_adjusted=None)], "dpo")[0]
    assert "corrected" not in uncorrected


@pytest.mark.parametrize(("p_value", "text"), [(0.0, "< 0.001"), (0.0012, "0.001"), (0.0496, "0.050"), (1.0, "1.000")])
def test_p_values_have_three_decimals(p_value, text):
    """None is shown as 0."""
    assert p_text(p_value) == text


def test_merging_is_told_by_what_it_changed(fakes):
    """Other weights held against the adapter they were made from: each primary metric's difference and interval."""
    run = fakes.sweep_run()
    sentences = verdict(run, compare(run), "merged")
    opening = f"What merging “{fakes.LR}, seed 42” changed: preferences · accuracy 0.0 pp (no change seen, "
    changed = next(sentence for sentence in sentences if sentence.startswith(opening))
    assert "truthfulness · perplexity 0.0 % (no change seen, " in changed
    assert changed.endswith(" Each reward is taken against its own reference.")
    started = next(sentence for sentence in sentences if sentence.startswith("Against “unquantised”, which it started"))
    assert "accuracy" not in started


def test_a_second_stage_names_the_first(fakes):
    """A candidate whose reference is another one started from it, and gained or lost from there."""
    rng = np.random.default_rng(3)
    base = rng.normal(2, 0.1, 40)
    sides = {"base": base, "sft": base - 0.5 + rng.normal(0, 0.01, 40), "sft+dpo": base + rng.normal(0, 0.01, 40)}
    run = fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(rows) for name, rows in sides.items()})
    stage = {"reference": "sft", "compared_with": ("sft", "nobody")}
    run = replace(run, subjects=tuple(replace(s, **stage) if s.name == "sft+dpo" else s for s in run.subjects))
    sentences = verdict(run, compare(run), "sft+dpo")
    expected = "Against “sft”, which it started from: truthfulness · perplexity +6"
    (found,) = [sentence for sentence in sentences if sentence.startswith(expected)]
    assert "(worse, +" in found
    assert "its own reference" not in found
    assert "Against “nobody”: no primary metric in common." in sentences
    assert not any(sentence.endswith(NOT_AHEAD) for sentence in sentences)


def test_another_candidate_on_the_same_weights_is_just_another(fakes):
    """Neither control, stage nor merged: the difference alone, with the reason where there is no interval."""
    run = fakes.small_run({(fakes.MC1, name): fakes.scores([1, 0, 1]) for name in ("base", "a", "b")})
    run = replace(run, subjects=tuple(replace(s, compared_with=("a",) if s.name == "b" else ()) for s in run.subjects))
    expected = "Against “a”: lm_eval · truthfulqa_mc1 acc 0.0 pp (3 groups; an interval needs 10)."
    assert verdict(run, compare(run), "b")[-1] == expected


def test_a_recipe_is_judged_from_three_seeds_on(fakes):
    """Three seeds get the sentences of their mean, fewer are counted, and what one adapter shows is not claimed."""
    run = fakes.sweep_run()
    verdicts = recipe_verdicts(run, over_seeds(run, compare(run)))
    unclear, detectable, few, *controls = verdicts[fakes.LR]
    assert unclear.startswith("No change seen: preferences · accuracy 50.0 % by definition → 83.3 %")
    assert f"truthfulness · perplexity 7.389 → 6.050 ({MINUS}18.1 %" in unclear
    assert unclear.endswith("is compatible with these seeds and rows).")
    assert detectable.startswith("With 80 % power only changes larger than these")
    assert few == "3 seeds hardly tell how far seeds lie apart: if far, a claim takes 4.3 standard errors (5: 2.8)."
    assert [sentence.split(": ")[0] for sentence in controls[:2]] == ["Against “control", "Against “control"]
    assert verdicts["learning_rate=5e-6"] == ["Not judged as a recipe: 1 of at least 3 training seeds."]


def test_the_foremost_candidate_is_the_chosen_one(fakes):
    """The winner, or the first adapter of the winning recipe; without a choice the first that is not a control."""
    run = fakes.sweep_run()
    names = candidates_of(run, compare(run))
    assert names == [subject.name for subject in run.subjects[1:]]
    assert headline_candidate(run, names) == f"{fakes.LR}, seed 42"
    winner = Selection("learning_rate=5e-6", 0.9, 0.1, 10, is_winner=True)
    assert headline_candidate(replace(run, selection=(winner,)), names) == "learning_rate=5e-6"
    unchosen = replace(run, selection=())
    assert headline_candidate(unchosen, [fakes.CONTROLS[0], "merged"]) == "merged"
    assert headline_candidate(unchosen, [fakes.CONTROLS[1], fakes.CONTROLS[0]]) == fakes.CONTROLS[1]


def test_the_choice_is_a_sentence(fakes):
    """Who was chosen and where; nothing without a winner."""
    chosen = f"Chosen on selection rows, which are not those of this report: {fakes.LR}."
    assert choice(fakes.sweep_run()) == [chosen]
    assert choice(fakes.realistic_run()) == []


@pytest.mark.parametrize(
    ("decided_by", "ending"),
    [
        ("loss", "its lower loss decided."),
        ("order", "their losses are equal too, so the first was taken."),
    ],
)
def test_a_tie_of_selection_is_said(fakes, decided_by, ending):
    """What the winner won as often as, in whole numbers, and which rule decided; an older run says nothing of ties."""
    winner = Selection("a", 65 / 84, 0.4, 56, True, 130.0, 168, decided_by, ("b", "c"))
    _, sentence = choice(replace(fakes.sweep_run(), selection=(winner,)))
    assert sentence == f"The choice was a tie with b, c (130 of 168 comparisons won by each); {ending}"


def test_a_subject_that_is_not_finite_is_one_line(fakes):
    """It names the subject and the evaluations that lack numbers; sound subjects have no line."""
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores(np.full(20, 2.0)),
            (fakes.PERPLEXITY, "dpo"): fakes.scores([*np.full(19, 2.0), np.nan]),
            (fakes.ACCURACY, "dpo"): fakes.scores([*np.ones(19), np.inf]),
        }
    )
    [sentence] = not_finite_sentences(run)
    assert sentence == (
        "The log-probabilities of dpo are not finite (NaN or infinite), so it has no number in truthfulness, "
        "preferences; a gate on what is missing fails."
    )
    assert not_finite_sentences(fakes.sweep_run()) == []


def test_a_group_of_the_suite_is_told_apart_from_what_was_tuned_for(fakes):
    """Gained here, lost there: a suite with a capability group begins the verdict with both."""
    base = np.full(40, 2.0)
    noise = np.linspace(-0.1, 0.1, 40)
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores(base),
            (fakes.PERPLEXITY, "dpo"): fakes.scores(base - 0.5 + noise),
            (fakes.COREFERENCE, "base"): fakes.scores(base),
            (fakes.COREFERENCE, "dpo"): fakes.scores(base + 0.5 + noise),
        },
        counts=(EvaluationCounts("coreference", "rows", 40, 40, 40, suite_group="capability"),),
    )
    gained, lost, *_ = verdict(run, compare(run), "dpo")

    assert gained == "What tuning changed: gained on truthfulness · perplexity."
    assert lost == "Elsewhere (capability): lost on coreference · perplexity."
    assert "What tuning changed" not in " ".join(verdict(replace(run, counts=()), compare(run), "dpo"))


def of_origin(fakes, **changes):
    """A run whose one candidate has an origin of its own."""
    run = fakes.realistic_run()
    subjects = (replace(each, **changes) if each.name == "dpo" else each for each in run.subjects)
    return replace(run, subjects=tuple(subjects))


def test_an_adapter_from_elsewhere_may_have_seen_the_rows(fakes):
    """The verdict says so, and says nothing of the kind of one that was trained here."""
    run = of_origin(fakes, knows_rows=False)
    sentence = "Not trained by this project: whether it saw these rows is not known."
    assert sentence in verdict(run, compare(run), "dpo")
    assert sentence not in verdict(fakes.realistic_run(), compare(run), "dpo")


@pytest.mark.parametrize(
    ("bases", "said"),
    [
        (
            {"reference_basis": "assumed", "beta_basis": "assumed"},
            "Nothing says what its training started from or its beta: its reward is taken against base, with beta 0.1.",
        ),
        ({"beta_basis": "assumed"}, "Nothing says its beta: its reward is taken against base, with beta 0.1."),
        (
            {"reference": None, "reference_basis": "unknown", "beta": None},
            "No implicit reward: the weights that its training started from are not here.",
        ),
    ],
)
def test_a_reward_on_assumptions_says_which(fakes, bases, said):
    """What is not known, and what is taken instead."""
    run = of_origin(fakes, **{"reference": "base", "beta": 0.1} | bases)
    assert said in verdict(run, compare(run), "dpo")
