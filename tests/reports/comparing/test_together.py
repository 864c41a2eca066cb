"""Several runs in one report."""

from dataclasses import replace

import pytest

from reports.comparing.against import IncomparableRunsError
from reports.comparing.compare import compare
from reports.comparing.together import put_together
from reports.records import Subject


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


def test_candidates_of_two_runs_stand_beside_each_other_against_one_baseline(run_of):
    """Equal baselines are one; each difference is what its own run's report says."""
    one, two = run_of("one", "first", -1.0), run_of("two", "second", 1.0)
    together = put_together([one, two])

    assert [subject.name for subject in together.subjects] == ["base", "first", "second"]
    alone = [row for run in (one, two) for row in compare(run)]
    assert [(row.candidate, row.difference) for row in compare(together)] == [
        (row.candidate, row.difference) for row in alone
    ]


def test_names_that_are_taken_get_their_run_behind_them(run_of):
    """Two adapters of one name are two candidates; what a subject refers to is renamed with it."""
    one, two = run_of("one", "adapter", -1.0), run_of("two", "adapter", 1.0)
    merged = Subject("merged", "candidate", "", reference="base", compared_with=("adapter",))
    two = replace(two, subjects=(*two.subjects, merged))
    together = put_together([one, two])

    assert [subject.name for subject in together.subjects] == ["base", "adapter", "adapter (two)", "merged"]
    assert together.subject("merged").compared_with == ("adapter (two)",)
    assert {row.candidate: round(row.difference, 6) for row in compare(together)} == {
        "adapter": -0.1,
        "adapter (two)": 0.1,
    }


def test_another_base_becomes_a_candidate_and_all_on_it_are_marked(run_of):
    """Adapters of another base are held against the first run's baseline, beside their own."""
    together = put_together([run_of("one", "first", -1.0), run_of("two", "second", -1.0, base=3.0)])

    assert [(subject.name, subject.kind, subject.same_weights) for subject in together.subjects] == [
        ("base", "baseline", True),
        ("first", "candidate", True),
        ("baseline of two", "candidate", False),
        ("second", "candidate", False),
    ]
    assert {row.candidate: round(row.difference, 6) for row in compare(together)} == {
        "first": -0.1,
        "baseline of two": 1.0,
        "second": 0.9,
    }


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
        ("base", True),
        ("first", True),
        ("second", True),
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
    assert [subject.name for subject in together.subjects] == ["base", "first", "baseline of two", "second"]
    assert [subject.same_weights for subject in together.subjects] == [True, True, False, False]
    assert together.notes[0].startswith("different weights: ")
