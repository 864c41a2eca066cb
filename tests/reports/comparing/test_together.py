"""Several runs in one report: two against each other, more beside each other."""

from dataclasses import replace

import pytest

from reports.comparing.against import IncomparableRunsError
from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.comparing.together import put_together
from reports.records import DifferingSetting, Selection, Subject


@pytest.fixture
def run_of(fakes):
    """A run of one adapter, whose responses are `shift` nats away from the baseline's."""

    def make(name, candidate, shift, base=2.0):
        tokens = [10] * 12
        nats = [base * n + n % 7 for n in tokens]
        return fakes.small_run(
            {
                (fakes.PERPLEXITY, "base"): fakes.scores(nats, tokens),
                (fakes.PERPLEXITY, candidate): fakes.scores([each + shift for each in nats], tokens),
            },
            name=name,
        )

    return make


def by_candidate(run, against):
    """Candidate -> difference, of the rows that are compared with that."""
    return {row.candidate: round(row.difference, 6) for row in compare(run) if row.against == against}


def kinds(run):
    """Name and kind of each subject, in order."""
    return [(subject.name, subject.kind) for subject in run.subjects]


def test_the_second_run_is_held_to_the_first(run_of):
    """B's candidate minus A's is what is claimed; both differences from the base stay, and claim nothing."""
    one, two = run_of("one", "first", -1.0), run_of("two", "second", 1.0)
    together = put_together([one, two])

    assert kinds(together) == [("first", "baseline"), ("second", "candidate"), ("base", "base")]
    assert by_candidate(together, "baseline") == {"second": 0.2}
    alone = {row.candidate: round(row.difference, 6) for run in (one, two) for row in compare(run)}
    assert by_candidate(together, "base") == alone
    assert {row.against for row in compare(together) if row.primary} == {"baseline"}
    assert {row.against for row in compare(together) if row.is_claim} <= {"baseline"}
    assert together.runs == ("one", "two")


def test_a_reward_is_held_to_the_other_runs_reward(fakes):
    """Not to chance, which stays what each is held to beside it; each pair is won or lost by both."""
    runs = [
        fakes.small_run({(fakes.ACCURACY, name): fakes.scores(won), (fakes.PERPLEXITY, "base"): fakes.scores([1] * 20)})
        for name, won in (("a", [1, 0] * 10), ("b", [1, 1, 1, 0] * 5))
    ]
    found = {(row.candidate, row.against): row for row in compare(put_together(runs)) if row.metric == fakes.ACCURACY}
    assert found["b", "baseline"].difference == 0.25
    assert found["b", "baseline"].paired is not None
    assert not found["b", "baseline"].paired.by_definition
    assert [found[name, "base"].difference for name in "ab"] == [0.0, 0.25]
    assert {found[name, "base"].baseline for name in "ab"} == {"0.5 by definition"}


def configured(run, **settings):
    """The run with such settings of its training."""
    return replace(run, config={"training": {"beta": 0.1, "method": "dpo"} | settings, "description": run.name})


def test_two_adapters_are_called_by_what_differs(run_of):
    """Wherever their name stands; a description is no setting that differs."""
    one, two = configured(run_of("one", "adapter", -1.0)), configured(run_of("two", "adapter", 1.0), beta=0.5)
    row = {"kind": "train", "step": 1, "loss": 0.7}
    together = put_together([replace(one, training=(row,)), replace(two, training=(row | {"candidate": "adapter"},))])

    assert kinds(together) == [("beta=0.1", "baseline"), ("beta=0.5", "candidate"), ("base", "base")]
    assert by_candidate(together, "baseline") == {"beta=0.5": 0.2}
    assert [each["candidate"] for each in together.training] == ["beta=0.1", "beta=0.5"]
    assert together.headline == "one and two differ in training.beta (0.1 and 0.5)."
    assert together.differing == (DifferingSetting("training.beta", ("0.1", "0.5")),)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta": 0.5, "epochs": 2, "learning_rate": 1e-5},
        {"prompt": "x" * 40},
    ],
)
def test_what_differs_too_much_or_not_at_all_is_called_by_its_run(run_of, settings):
    """A name is short, or it is the run's."""
    one, two = configured(run_of("one", "adapter", -1.0)), configured(run_of("two", "adapter", 1.0), **settings)
    together = put_together([one, two])
    assert [name for name, _ in kinds(together)] == ["adapter (one)", "adapter (two)", "base"]


def test_a_run_beside_itself_is_two(run_of):
    """The same folder given twice has two names still, and no difference."""
    run = run_of("one", "adapter", -1.0)
    together = put_together([run, run])
    assert [name for name, _ in kinds(together)] == ["adapter (one, 1)", "adapter (one, 2)", "base"]
    assert by_candidate(together, "baseline") == {"adapter (one, 2)": 0.0}


def test_seeds_and_recipes_of_two_runs_are_not_mixed(run_of):
    """Recipes of one name are two; what the report is about is one adapter of each, and the others stand aside."""
    runs = []
    for name, shift in (("one", -1.0), ("two", 1.0)):
        run = configured(run_of(name, "adapter, seed 42", shift), beta=shift)
        other = [replace(each, subject="adapter, seed 43") for each in run.measurements if each.subject != "base"]
        subjects = (*run.subjects, replace(run.subjects[-1], name="adapter, seed 43"))
        subjects = tuple(each if each.kind == "baseline" else replace(each, recipe="adapter") for each in subjects)
        runs.append(replace(run, subjects=subjects, measurements=(*run.measurements, *other)))
    together = put_together(runs)

    assert kinds(together) == [
        ("beta=-1, seed 42", "baseline"),
        ("beta=1, seed 42", "candidate"),
        ("base", "base"),
        ("beta=-1, seed 43", "aside"),
        ("beta=1, seed 43", "aside"),
    ]
    assert [subject.recipe for subject in together.subjects] == ["", "", "", "beta=-1", "beta=1"]
    assert len(by_candidate(together, "base")) == 4
    assert over_seeds(together, compare(together)) == []


def test_what_a_subject_refers_to_is_renamed_with_it(run_of):
    """References, and what is chosen of a sweep and what it tied with."""
    one, two = run_of("one", "adapter", -1.0), run_of("two", "adapter", 1.0)
    merged = Subject("merged", "candidate", "", reference="adapter")
    chosen = Selection("adapter", 0.7, 0.4, 56, is_winner=True, tied_with=("adapter",))
    together = put_together([replace(one, selection=(chosen,)), replace(two, subjects=(*two.subjects, merged))])
    assert together.subject("merged").reference == "adapter (two)"
    assert (together.selection[0].candidate, together.selection[0].tied_with) == ("adapter (one)", ("adapter (one)",))


def test_three_runs_stand_beside_each_other_against_one_baseline(run_of):
    """Equal baselines are one; each difference is what its own run's report says."""
    runs = [
        run_of(name, candidate, shift) for name, candidate, shift in (("x", "a", -1.0), ("y", "b", 0.5), ("z", "a", 1))
    ]
    together = put_together(runs)
    assert kinds(together) == [("base", "baseline"), ("a (x)", "candidate"), ("b", "candidate"), ("a (z)", "candidate")]
    assert by_candidate(together, "baseline") == {"a (x)": -0.1, "b": 0.05, "a (z)": 0.1}
    assert (together.name, together.runs) == ("x and y and z", ("x", "y", "z"))


def test_another_base_stands_aside_and_all_on_it_are_marked(run_of):
    """Adapters of another base are held to the first run's candidate and base, and have other weights."""
    together = put_together([run_of("one", "first", -1.0), run_of("two", "second", -1.0, base=3.0)])

    assert [(subject.name, subject.kind, subject.same_weights) for subject in together.subjects] == [
        ("first", "baseline", True),
        ("second", "candidate", False),
        ("base", "base", True),
        ("baseline of two", "aside", False),
    ]
    assert by_candidate(together, "base") == {"first": -0.1, "baseline of two": 1.0, "second": 0.9}


def test_runs_of_other_suites_are_refused(run_of):
    """Runs that did not measure the same are not put into one table."""
    with pytest.raises(IncomparableRunsError, match="did not measure the same"):
        put_together([run_of("one", "a", 0.0), replace(run_of("two", "b", 0.0), suite_fingerprint="other")])


def test_one_run_is_itself(run_of):
    """Nothing is changed where there is nothing to put together."""
    run = run_of("one", "a", 0.5)
    assert put_together([run]) == run


BASE = {"fingerprint": "aa", "quantization": "none", "dtype": "bfloat16", "compute_dtype": "bfloat16"}


def on_device(run, device, **base):
    """The run, with its weights and its device on record."""
    return replace(run, provenance={"base": BASE | base, "device": device})


def test_the_same_weights_on_two_devices_are_one_baseline(run_of):
    """One greedy token or a last digit that differs makes no other weights; how much differs is said."""
    one = on_device(run_of("one", "first", -1.0), "NVIDIA A100")
    two = on_device(run_of("two", "second", 1.0, base=2.0 + 1e-6), "NVIDIA H100")
    together = put_together([one, two])

    assert [(subject.name, subject.same_weights) for subject in together.subjects] == [
        ("first", True),
        ("second", True),
        ("base", True),
    ]
    assert together.notes[0] == (
        "the baselines of one and two are the same weights, on NVIDIA A100 and NVIDIA H100; their scores differ in 1 "
        "of 1 metrics, and one's are shown"
    )
    assert put_together([one, on_device(run_of("two", "second", 1.0), "NVIDIA H100")]).notes == ()


@pytest.mark.parametrize(
    "base", [{"fingerprint": "bb"}, {"quantization": "nf4"}, {"dtype": "float32"}, {"compute_dtype": "float32"}]
)
def test_equal_scores_of_other_weights_are_two_baselines(run_of, base):
    """What they are decides, not whether their numbers happen to agree on these rows."""
    together = put_together(
        [on_device(run_of("one", "first", -1.0), "cpu"), on_device(run_of("two", "second", 1.0), "cpu", **base)]
    )
    assert [subject.name for subject in together.subjects] == ["first", "second", "base", "baseline of two"]
    assert [subject.same_weights for subject in together.subjects] == [True, False, True, False]
    assert together.notes[0].startswith("different weights: ")
