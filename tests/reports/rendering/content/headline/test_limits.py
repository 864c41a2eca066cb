"""What limits belief: each limit with its number, and only where it holds, weightiest first."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.records import Gate, Generation, MetricScores, Run, Selection
from reports.rendering.content.headline import headline
from reports.rendering.content.headline.lines import NOTHING_SEEN

ONE_SEED = "One training seed: holds for this adapter, not for its recipe."


def limits_of(run: Run) -> tuple[str, ...]:
    """The limits in a run's headline."""
    comparisons = compare(run)
    found = headline(run, comparisons, over_seeds(run, comparisons))
    assert found is not None
    return found.limits


def won(fakes: SimpleNamespace, **n_won: int) -> Run:
    """Subjects that each win the first so many of 200 pairs, in an order of their own."""
    rng = np.random.default_rng(5)
    names = {name.replace("_", " "): n for name, n in n_won.items()}
    return fakes.small_run(
        {(fakes.ACCURACY, name): fakes.scores(rng.permutation([1] * n + [0] * (200 - n))) for name, n in names.items()}
    )


def with_subject(run: Run, name: str, **changes: object) -> Run:
    """The run with changes of one subject."""
    subjects = tuple(replace(each, **changes) if each.name == name else each for each in run.subjects)
    return replace(run, subjects=subjects)


@pytest.mark.parametrize(
    ("ruler", "expected"),
    [
        (126, "Counting words (a bag of words) reaches 63.0 %, not told apart from 65.0 % here."),
        (170, "Counting words (a bag of words) reaches 85.0 %, more than 65.0 % here."),
        (80, None),
    ],
)
def test_a_ruler_that_is_not_behind_is_named_with_its_value(
    fakes: SimpleNamespace, ruler: int, expected: str | None
) -> None:
    """First of all, because it undoes the gain; not without a gain."""
    found = limits_of(won(fakes, dpo=130, bag_of_words=ruler))
    assert found[0] == (expected or ONE_SEED)
    assert not any("counting words" in limit for limit in limits_of(won(fakes, dpo=100, bag_of_words=ruler)))


def test_a_control_is_named_on_the_target_and_counted_elsewhere(fakes: SimpleNamespace) -> None:
    """With its value where it wins pairs as often, and with how many gains it makes too."""
    name = "control: sft on chosen"
    run = won(fakes, dpo=130, control=128)
    noise = np.random.default_rng(1).normal(0, 0.02, (2, 60))
    nats = {"base": np.full(60, 2.0), "dpo": 1.5 + noise[0], name: 1.5 + noise[1]}
    moved = tuple(MetricScores(fakes.PERPLEXITY, each, fakes.scores(values)) for each, values in nats.items())
    renamed = tuple(replace(each, subject=name if each.subject == "control" else "dpo") for each in run.measurements)
    run = fakes.small_run({(each.metric, each.subject): each.scores for each in (*moved, *renamed)})
    run = with_subject(with_subject(run, name, is_control=True), "dpo", compared_with=(name,))
    assert limits_of(run)[:2] == (
        "Fine-tuning on the chosen answers (SFT) reaches 64.0 %, not told apart from 65.0 % here.",
        "Fine-tuning on the chosen answers (SFT) gains as much on 1 of 1 gains elsewhere.",
    )
    alone = fakes.small_run({(each.metric, each.subject): each.scores for each in (*moved[:2], *renamed[:1])})
    assert limits_of(alone)[-1] == "No control was measured: a lower perplexity alone says nothing of preferences."


def answers(refused: dict[str, str], kind: str) -> tuple[Generation, ...]:
    """Answers of subjects to prompts, refused where the letter is r."""
    return tuple(
        Generation("answers", f"{kind} {n}", name, kind, "?", "!", refused=letter == "r")
        for name, letters in refused.items()
        for n, letter in enumerate(letters)
    )


@pytest.mark.parametrize(
    ("kind", "refused", "expected"),
    [
        (
            "harmful",
            {"base": "rrra", "dpo": "raaa"},
            "refuses 1 of 4 harmful prompts, baseline 3 (counts only, no test)",
        ),
        ("unsafe", {"base": "rrra", "dpo": "raa"}, "refuses 1 of 3 harmful prompts, baseline 3 (counts only, no test)"),
        ("harmful", {"base": "raaa", "dpo": "ararr"}, None),
        ("harmful", {"base": "rr", "dpo": "rr"}, None),
        ("benign look-alike", {"base": "rrrr", "dpo": "aaaa"}, None),
        ("", {"base": "rrrr", "dpo": "aaaa"}, None),
    ],
)
def test_fewer_refusals_of_harmful_prompts_are_counted(
    fakes: SimpleNamespace, kind: str, refused: dict[str, str], expected: str | None
) -> None:
    """Beside what was lost, of prompts that both answered; a benign prompt, or one of no kind, is none."""
    run = replace(won(fakes, dpo=130), generations=answers(refused, kind))
    run = replace(run, subjects=(*run.subjects,))
    comparisons = compare(run)
    found = headline(run, comparisons, over_seeds(run, comparisons))
    assert found is not None
    lost = next(line.text for line in found.lines if line.kind == "lost")
    assert lost == (expected[0].upper() + expected[1:] if expected else NOTHING_SEEN)
    assert ("refuses fewer harmful prompts" in found.sentence) == (expected is not None)
    assert not any("harmful" in limit for limit in found.limits)


def logged(shares: list[float | None], name: str = "dpo") -> tuple[dict[str, object], ...]:
    """Training rows with such reward accuracies."""
    return tuple(
        {"kind": "train", "candidate": name, "step": n, "rewards/accuracies": share} for n, share in enumerate(shares)
    )


@pytest.mark.parametrize(
    ("shares", "is_said"),
    [
        ([0.5] * 10 + [0.9, 1.0] * 5, True),
        ([0.5] * 10 + [0.9, 1.0] * 5 + [None], True),
        ([0.9, 1.0] * 5 + [0.6, 0.7] * 5, False),  # it is the last half that counts
        ([0.9, 1.0] * 2, False),  # too few steps
        ([0.0, 1.0, 1.0, 1.0] * 4, False),  # within the noise of steps of a few pairs
        ([0.7] * 20, False),  # above, but not far
    ],
)
def test_training_far_above_held_out_is_said(fakes: SimpleNamespace, shares: list[float | None], is_said: bool) -> None:
    """By ten points, above the held-out interval, and by more than the noise of the steps."""
    run = replace(won(fakes, dpo=130), training=logged(shares) + logged([1.0] * 20, "other"))
    expected = ["Wins 95 % of its training pairs, 65.0 % of held-out ones."] if is_said else []
    assert [limit for limit in limits_of(run) if "training pairs" in limit] == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"knows_rows": False}, "Whether it saw these rows in training is not known."),
        ({"reference_basis": "unknown"}, "What its training started from is not here, so it has no implicit reward."),
        ({"reference": "base", "beta": 0.1, "beta_basis": "assumed"}, "Its beta is assumed: nothing records it."),
        (
            {"reference": "base", "beta": 0.1, "beta_basis": "assumed", "reference_basis": "assumed"},
            "Its reference and beta are assumed: nothing records them.",
        ),
        ({"is_of_base": False}, "Its files name another base model or none: only the shapes are known to be alike."),
        ({"same_weights": False}, "Its weights are not the baseline's: more than tuning differs."),
        ({"reference": "base", "beta": 0.1}, None),
    ],
)
def test_what_is_not_known_of_its_origin(
    fakes: SimpleNamespace, changes: dict[str, object], expected: str | None
) -> None:
    """Rows, reference, beta and weights; nothing of one that was trained here."""
    plain = limits_of(won(fakes, dpo=130))
    found = limits_of(with_subject(won(fakes, dpo=130), "dpo", **changes))
    assert [limit for limit in found if limit not in plain] == ([expected] if expected else [])


def nats_run(fakes: SimpleNamespace, shift: float, n: int = 60, **changes: object) -> Run:
    """Answers whose nats per token lie so far off the baseline's, and pairs that are won as often as by chance."""
    noise = np.random.default_rng(2).normal(0, 0.02, n)
    sides = {"base": np.full(n, 2.0), "dpo": 2.0 + shift + noise - noise.mean()}
    scores = {(fakes.PERPLEXITY, name): fakes.scores(nats) for name, nats in sides.items()}
    return fakes.small_run({(fakes.ACCURACY, "dpo"): fakes.scores([1, 0] * 100), **scores}, **changes)


def test_what_could_not_have_been_seen_weighs_more_without_a_gain(fakes: SimpleNamespace) -> None:
    """Of each unit the coarsest; before the seed where nothing was seen, behind it after a gain."""
    run = nats_run(fakes, 0.0)
    rows = {row.metric.name: row for row in compare(run)}
    points, percent = (
        100 * rows["accuracy"].smallest_detectable,
        100 * np.expm1(rows["perplexity"].smallest_detectable),
    )
    assert limits_of(run)[:2] == (
        f"Changes smaller than {points:.1f} pp or {percent:.2f} % may be there unseen.",
        ONE_SEED,
    )
    gained = replace(
        run,
        measurements=tuple(
            replace(each, scores=fakes.scores([1, 1, 1, 0] * 50)) if each.metric == fakes.ACCURACY else each
            for each in run.measurements
        ),
    )
    assert limits_of(gained)[:2] == (ONE_SEED, f"Changes smaller than {percent:.2f} % may be there unseen.")


def test_equal_outcomes_may_hide_what_their_interval_holds(fakes: SimpleNamespace) -> None:
    """Twenty answers that are all the same cannot tell a change of some points."""
    run = fakes.small_run({(fakes.MC1, name): fakes.scores([0, 1] * 10) for name in ("base", "dpo")})
    (row,) = compare(run)
    (coarse,) = [limit for limit in limits_of(run) if "unseen" in limit]
    assert coarse == f"Changes smaller than {100 * row.interval[1]:.1f} pp may be there unseen."


def test_the_number_of_comparisons_is_that_of_the_family(fakes: SimpleNamespace) -> None:
    """All that were not chosen together, a recipe by itself, nothing for a single one."""
    assert not any("Corrected" in limit for limit in limits_of(won(fakes, dpo=130)))
    assert "Corrected for 2 comparisons." in limits_of(won(fakes, dpo=130, other=120))
    assert "Corrected for 2 comparisons." in limits_of(fakes.sweep_run())
    run = fakes.sweep_run()
    chosen = Selection("learning_rate=5e-6", 0.9, 0.1, 10, is_winner=True)
    n_primary = sum(row.candidate == "learning_rate=5e-6" and row.is_claim for row in compare(run))
    assert f"Corrected for {n_primary} comparisons." in limits_of(replace(run, selection=(chosen,)))


def test_few_groups_are_told_from_too_few(fakes: SimpleNamespace) -> None:
    """Under thirty claims err more often, under ten there are none, which comes first if it is the target."""
    few = limits_of(nats_run(fakes, 0.5, n=20))
    assert "Under 30 independent rows, where claims err more often: 1 of 2 metrics." in few
    too_few = limits_of(nats_run(fakes, 0.5, n=8))
    assert too_few[1] == "Too few independent rows to tell anything: 1 of 2 metrics."
    untold = fakes.small_run({(fakes.ACCURACY, "dpo"): fakes.scores([1, 0] * 4)})
    assert limits_of(untold)[0] == "Too few independent rows to tell anything: 1 of 1 metrics."
    assert not any("independent" in limit for limit in limits_of(nats_run(fakes, 0.5)))


def test_rows_that_all_differ_by_as_much_are_not_called_too_few(fakes: SimpleNamespace) -> None:
    """Forty rows without a spread have no interval either, and more of them would not help."""
    moved = {"base": np.full(40, 2.0), "dpo": np.full(40, 2.5)}
    found = limits_of(fakes.small_run({(fakes.PERPLEXITY, name): fakes.scores(nats) for name, nats in moved.items()}))
    assert "Every row differs by the same amount, which no test can judge: 1 of 1 metrics." in found
    assert not any("Too few" in limit for limit in found)


def test_a_long_tail_is_counted(fakes: SimpleNamespace) -> None:
    """Where few groups hold the largest amounts."""
    nats = np.full(60, 2.0)
    changed = nats + np.array([3.0] * 2 + [0.1, -0.1] * 29)
    run = fakes.small_run(
        {(fakes.PERPLEXITY, "base"): fakes.scores(nats), (fakes.PERPLEXITY, "dpo"): fakes.scores(changed)}
    )
    assert "A long tail, so rare large values may be missing: 1 of 1 metrics." in limits_of(run)


@pytest.mark.parametrize(
    ("tied_with", "decided_by", "expected"),
    [
        (("b",), "loss", "The choice was a tie with b: the lower loss decided."),
        (("b", "c"), "order", "The choice was a tie with 2 others: the first was taken."),
        ((), "accuracy", None),
    ],
)
def test_a_tie_of_the_choice(
    fakes: SimpleNamespace, tied_with: tuple[str, ...], decided_by: str, expected: str | None
) -> None:
    """With what, and what decided."""
    winner = Selection("dpo", 0.7, 0.4, 56, True, 130.0, 168, decided_by, tied_with)
    found = limits_of(replace(won(fakes, dpo=130), selection=(winner,)))
    assert [limit for limit in found if "tie" in limit] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("accuracy", "n", "is_said"), [(0.469, 32, True), (0.64, 32, True), (0.66, 32, False), (0.54, 500, False)]
)
def test_a_choice_that_chance_explains_is_called_so(
    fakes: SimpleNamespace, accuracy: float, n: int, is_said: bool
) -> None:
    """One candidate's own rows have no such line, for nothing was chosen."""
    winner = Selection("dpo", accuracy, 0.4, n, is_winner=True)
    run = won(fakes, dpo=130)
    line = (
        f"Chosen on {n} rows, of which it favours {100 * accuracy:.1f} %: no clearer than chance, so as good as drawn."
    )
    assert (line in limits_of(replace(run, selection=(winner,)))) == is_said
    assert line not in limits_of(run)


def test_a_contradicting_twin_is_named(fakes: SimpleNamespace) -> None:
    """A metric within its margin whose twin moved the other way is not called unchanged."""
    run = nats_run(fakes, 0.01, gates=(Gate("truthfulness/perplexity", 0.1),))
    twin = replace(fakes.PERPLEXITY, name=fakes.PERPLEXITY.twin, primary=False)
    for shift, is_said in ((-0.2, True), (0.011, False)):
        other = nats_run(fakes, shift).measurements[1:]
        both = replace(run, measurements=(*run.measurements, *(replace(each, metric=twin) for each in other)))
        sentence = "Truthful answers, perplexity is not called unchanged: words and end of turn moved apart."
        assert (sentence in limits_of(both)) == is_said


def test_values_without_information_and_missing_preferences(fakes: SimpleNamespace) -> None:
    """Both are said where nothing is left to be claimed."""
    metric = replace(fakes.PERPLEXITY, uninformative=1.0)
    run = nats_run(fakes, -0.5)
    rows = {each.subject: each.scores for each in run.measurements if each.metric == fakes.PERPLEXITY}
    found = limits_of(fakes.small_run({(metric, name): scores for name, scores in rows.items()}))
    assert found[-2:] == (
        "Worse than a guess at random, so a gain there means nothing: 1 of 1 metrics.",
        "No preferences were measured: what it prefers is not known.",
    )


def test_numbers_that_are_not_finite_come_first(fakes: SimpleNamespace) -> None:
    """Of the candidate and of the baseline, with how many metrics they break."""
    run = nats_run(fakes, 0.0)
    broken = tuple(
        replace(each, scores=fakes.scores([np.nan] * len(each.scores))) if each.metric == fakes.PERPLEXITY else each
        for each in run.measurements
    )
    assert limits_of(replace(run, measurements=broken))[:2] == (
        "Its numbers are not finite (NaN or infinite) in 1 of 2 metrics.",
        "The baseline's numbers are not finite (NaN or infinite) in 1 of 1 metrics.",
    )


def test_few_seeds_of_a_recipe(fakes: SimpleNamespace) -> None:
    """Three hardly tell their spread; two are no recipe, and one is an adapter."""
    assert "3 training seeds hardly tell how far seeds lie apart." in limits_of(fakes.sweep_run())
    two = won(fakes, a=130, b=130)
    two = with_subject(with_subject(two, "a", recipe="r"), "b", recipe="r")
    assert "Too few training seeds to judge the recipe: this holds for this adapter." in limits_of(two)
    assert ONE_SEED in limits_of(won(fakes, a=130))
