"""Two runs: candidates of the same name paired by example, and runs that measured something else refused."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from reports.comparing.against import (
    IncomparableRunsError,
    check_same_suite,
    compare_adapters,
    compare_with,
    differing_fields,
    remarks,
)
from reports.comparing.compare import compare
from reports.comparing.metric_table import UnpairedExamplesError
from reports.records import Run


def test_a_run_against_itself_differs_by_nothing(fakes: SimpleNamespace) -> None:
    """Every difference is exactly 0 and none is told from another, values by definition included."""
    run = fakes.realistic_run()
    rows = compare_with(run, run, ["dpo"])

    assert rows
    assert {row.difference for row in rows if row.difference is not None} == {0.0}
    assert {row.baseline for row in rows} == {"dpo of run"}
    assert all(row.interval[0] <= 0 <= row.interval[1] for row in rows if row.interval)


def test_two_candidates_are_paired_as_in_one_run(fakes: SimpleNamespace) -> None:
    """Against another run's candidate the interval is the one that a run of both gives with that as its baseline."""
    first, second = fakes.realistic_run(("dpo",), seed=3), fakes.realistic_run(("dpo", "other"), seed=3)
    moved = [replace(each, subject="dpo") for each in second.measurements if each.subject == "other"]
    later = replace(
        second,
        name="later",
        measurements=(*(each for each in second.measurements if each.subject not in ("dpo", "other")), *moved),
    )
    (found,) = [
        row
        for row in compare_with(first, later, ["dpo"])
        if row.metric.name == "perplexity" and row.metric.evaluation == "truthfulness"
    ]
    candidates = [
        each
        for run, name in ((first, "dpo"), (second, "other"))
        for each in run.measurements
        if each.subject == name and each.metric == found.metric
    ]
    expected = fakes.small_run(
        {(found.metric, name): each.scores for name, each in zip(("base", "dpo"), candidates, strict=True)}
    )
    (row,) = compare(expected)

    assert (found.difference, found.interval, found.p_value) == (row.difference, row.interval, row.p_value)
    assert found.baseline == "dpo of run"


def test_an_accuracy_is_held_against_the_other_candidates(fakes: SimpleNamespace) -> None:
    """A metric whose baseline value is known by definition is compared with what the other run measured."""
    run = fakes.sweep_run()
    rows = compare_adapters(run, [subject.name for subject in run.subjects if subject.recipe == fakes.LR])
    (accuracy, _) = [row for row in rows if row.metric.name == "accuracy"]

    assert accuracy.against == "baseline"
    assert accuracy.baseline_value == pytest.approx(9 / 12)
    assert accuracy.difference == pytest.approx(1 / 12)


def test_examples_that_differ_are_refused(fakes: SimpleNamespace) -> None:
    """A run in which an example is missing cannot be paired."""
    run = fakes.realistic_run()
    shorter = replace(run, measurements=tuple(replace(each, scores=each.scores[1:]) for each in run.measurements))

    with pytest.raises(UnpairedExamplesError, match="e0000"):
        compare_with(run, shorter, ["dpo"])


def test_equal_fingerprints_are_accepted(fakes: SimpleNamespace) -> None:
    """Runs of one suite on the same rows may differ in everything else."""
    run = fakes.realistic_run()
    check_same_suite(run, replace(run, name="later", config={"training": {"beta": 0.5}}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: replace(run, suite="smoke"), r"suite \(alignment and smoke\)"),
        (
            lambda run: replace(run, config={"data": {"max_tokens": 128}}),
            r"data\.max_tokens \(256 and 128\)",
        ),
        (
            lambda run: replace(
                run, measurements=tuple(each for each in run.measurements if each.metric.evaluation != "safety")
            ),
            r"metrics of run alone \(safety/perplexity\)",
        ),
        (
            lambda run: replace(
                run, measurements=tuple(replace(each, scores=each.scores[2:]) for each in run.measurements)
            ),
            r"examples of truthfulness \(2 in one run alone, such as e0000\)",
        ),
        (lambda run: run, "the suite's definition or the chat template"),
    ],
)
def test_other_suites_are_refused_with_the_fields_that_differ(
    fakes: SimpleNamespace, change: Callable[[Run], Run], told: str
) -> None:
    """Unequal fingerprints are an error that names what the records tell apart."""
    run = replace(fakes.realistic_run(), config={"data": {"max_tokens": 256}})
    other = replace(change(run), suite_fingerprint="another")

    with pytest.raises(IncomparableRunsError, match=told):
        check_same_suite(run, other)


def test_long_settings_are_cut(fakes: SimpleNamespace) -> None:
    """A whole mapping of roles does not fill the line."""
    run = fakes.realistic_run()
    (field,) = differing_fields(run, replace(run, config={"data": {"roles": {"safety": "x" * 200}}}))

    assert field.startswith("data.roles (None and {'safety': 'xxx")
    assert len(field) < 120


NF4 = {"fingerprint": "aa", "quantization": "nf4", "dtype": "float32", "compute_dtype": "bfloat16", "template": "model"}
UNQUANTISED = NF4 | {"quantization": "none", "compute_dtype": "float32"}


def on_weights(run: Run, base: dict[str, str] | None, **subject: object) -> Run:
    """A run whose baseline has these weights, and whose candidate these properties."""
    subjects = tuple(replace(each, **subject) if each.kind == "candidate" else each for each in run.subjects)
    return replace(run, provenance={} if base is None else {"base": base}, subjects=subjects)


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (NF4, None),
        (UNQUANTISED, "quantisation nf4 and none; products in bfloat16 and float32"),
        (NF4 | {"fingerprint": "bb"}, "hash aa and bb"),
        ({"quantization": "nf4"}, None),
        (None, None),
    ],
    ids=["the same", "unquantised", "other weights", "an older run knows less", "a run from before knows nothing"],
)
def test_other_weights_are_said_in_a_line(fakes: SimpleNamespace, base: dict[str, str] | None, said: str) -> None:
    """What NF4 costs may be what is asked, so it is told and not refused."""
    run = on_weights(fakes.realistic_run(), NF4)
    later = on_weights(replace(fakes.realistic_run(), name="later"), base)
    line = (
        f"different weights: {said} (run and later): a difference between their candidates is that of the weights as "
        f"well"
    )
    check_same_suite(run, later)
    assert remarks(run, later) == ([] if said is None else [line])


def test_a_candidate_that_is_something_else_there_is_said(fakes: SimpleNamespace) -> None:
    """An adapter and a merged model, another reference, another beta: each is a line that names both runs."""
    run = on_weights(fakes.realistic_run(), NF4, reference="sft", beta=0.1)
    later = on_weights(fakes.realistic_run(), NF4, reference="unquantised", beta=0.3, same_weights=False)
    lines = remarks(run, replace(later, name="later"))

    assert [line.partition(":")[0] for line in lines] == ["different weights", "different references", "different beta"]
    assert "an adapter in run and a model of its own weights in later" in lines[0]
    assert "held to sft in run and to unquantised in later" in lines[1]
    assert "0.1 in run and 0.3 in later" in lines[2]


def test_runs_that_differ_in_beta_alone_are_compared(fakes: SimpleNamespace) -> None:
    """Beta scales margins, and no other number; the fingerprints differ, and the line above says it."""
    run = replace(fakes.realistic_run(), fingerprint_without_beta="same")
    check_same_suite(run, replace(run, suite_fingerprint="another"))
    with pytest.raises(IncomparableRunsError):
        check_same_suite(run, replace(run, suite_fingerprint="another", fingerprint_without_beta="other"))
    with pytest.raises(IncomparableRunsError):
        check_same_suite(fakes.realistic_run(), replace(fakes.realistic_run(), suite_fingerprint="another"))


def with_conditions(run: Run, **conditions: str) -> Run:
    """A run whose evaluation of truthfulness has these conditions."""
    counts = (
        replace(each, conditions={name.replace("_", " "): value for name, value in conditions.items()})
        if each.evaluation == "truthfulness"
        else each
        for each in run.counts
    )
    return replace(run, counts=tuple(counts))


def test_other_shots_prompts_and_versions_are_named(fakes: SimpleNamespace) -> None:
    """A task that was edited asks the same rows otherwise, which no example id shows."""
    run = with_conditions(fakes.realistic_run(), shots="0", task_version="1.0", prompts="aa")
    other = with_conditions(run, shots="5", task_version="1.0", prompts="bb")

    with pytest.raises(IncomparableRunsError, match=r"prompts of truthfulness \(aa and bb\); shots of .* \(0 and 5\)"):
        check_same_suite(run, replace(other, suite_fingerprint="another"))
    with pytest.raises(IncomparableRunsError, match="of 1 evaluations, which older did not record"):
        check_same_suite(run, replace(with_conditions(run), name="older", suite_fingerprint="another"))
