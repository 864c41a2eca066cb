"""Run folders: exact round trips, refusals in one line, nothing half-written."""

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reports.run_folder
from reports.free_records import odd_part
from reports.records import (
    EvaluationCounts,
    ExampleScore,
    ExampleText,
    Generation,
    Metric,
    MetricScores,
    Published,
    Run,
    Selection,
    Subject,
)
from reports.run_folder import (
    RunExistsError,
    RunFileError,
    RunNotFoundError,
    RunNotWritableError,
    SchemaVersionError,
    check_run_folder,
    list_runs,
    read_run,
    write_run,
)

TEXTS = st.text(max_size=8)
WILD_TEXTS = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates, line separators, NUL
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | WILD_TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WILD_TEXTS, inner, max_size=2),
    max_leaves=4,
)
JSON_OBJECTS = st.dictionaries(WILD_TEXTS, JSON_VALUES, max_size=3)
METRICS = st.builds(Metric, TEXTS, TEXTS, TEXTS, st.none() | st.booleans(), chance=st.none() | NUMBERS)
RUNS = st.builds(
    Run,
    *[WILD_TEXTS] * 5,
    subjects=st.lists(
        st.builds(
            Subject,
            TEXTS,
            st.just("ruler"),
            WILD_TEXTS,
            recipe=WILD_TEXTS,
            is_control=st.booleans(),
            compared_with=st.lists(WILD_TEXTS, max_size=2).map(tuple),
        ),
        max_size=2,
        unique_by=lambda subject: subject.name,
    ).map(lambda rulers: (Subject("base", "baseline", ""), *(each for each in rulers if each.name != "base"))),
    measurements=st.lists(
        st.builds(
            MetricScores,
            METRICS,
            st.just("base"),
            st.lists(st.builds(ExampleScore, TEXTS, TEXTS, NUMBERS, NUMBERS), max_size=3).map(tuple),
            st.none() | NUMBERS,
            st.none() | TEXTS,
        ),
        max_size=3,
    ).map(tuple),
    counts=st.lists(
        st.builds(EvaluationCounts, TEXTS, TEXTS, *[st.integers(0, 9)] * 3, st.dictionaries(TEXTS, st.integers(0, 9))),
        max_size=2,
    ).map(tuple),
    generations=st.lists(st.builds(Generation, *[WILD_TEXTS] * 6, st.booleans()), max_size=2).map(tuple),
    examples=st.lists(
        st.builds(ExampleText, *[WILD_TEXTS] * 3, st.dictionaries(WILD_TEXTS, WILD_TEXTS, max_size=2)), max_size=2
    ).map(tuple),
    notes=st.lists(WILD_TEXTS, max_size=2).map(tuple),
    training=st.lists(JSON_OBJECTS, max_size=2).map(tuple),
    selection=st.lists(
        st.builds(Selection, WILD_TEXTS, NUMBERS, NUMBERS, st.integers(0, 9), st.booleans()), max_size=2
    ).map(tuple),
    published=st.none()
    | st.builds(
        Published,
        WILD_TEXTS,
        st.dictionaries(WILD_TEXTS, st.dictionaries(WILD_TEXTS, NUMBERS, max_size=2), max_size=2),
    ),
    config=JSON_OBJECTS,
    provenance=JSON_OBJECTS,
).filter(lambda run: odd_part(run) is None)


@given(run=RUNS)
@settings(max_examples=60)
def test_what_is_written_is_read_back_exactly(run, tmp_path_factory):
    """Any run of finite numbers survives the folder unchanged, to the last bit and character."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(run, folder)
    assert read_run(folder) == run


def test_a_realistic_run_round_trips(fakes, tmp_path):
    """A run folder is read as it was written, and nothing else is left in the parent folder."""
    run = fakes.realistic_run()
    write_run(run, tmp_path / "runs" / "first")
    assert read_run(tmp_path / "runs" / "first") == run
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_a_run_of_many_candidates_round_trips(fakes, tmp_path):
    """Recipes, controls, what is held against what, the choice, published figures and whose training row it is."""
    run = fakes.sweep_run()
    write_run(run, tmp_path / "run")
    assert read_run(tmp_path / "run") == run
    (listed,) = list_runs(tmp_path)
    assert listed.subjects == tuple(subject.name for subject in run.subjects)


def test_a_folder_of_before_sweeps_is_still_read(fakes, tmp_path):
    """Without the fields of many candidates a run has one seed, no control, no choice and nothing published."""
    run = fakes.realistic_run()
    write_run(run, tmp_path / "run")
    document = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    for key in ("selection", "published", "checksums"):
        del document[key]
    for subject in document["subjects"]:
        for key in ("recipe", "is_control", "compared_with"):
            del subject[key]
    (tmp_path / "run" / "run.json").write_text(json.dumps(document), encoding="utf-8")
    assert read_run(tmp_path / "run") == run


def test_a_folder_of_before_conditions_and_bases_is_still_read(fakes, tmp_path):
    """Without what determines a number on record: its fingerprint has no second form, and nothing is made up."""
    run = fakes.realistic_run()
    write_run(run, tmp_path / "run")
    document = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    del document["fingerprint_without_beta"], document["checksums"]
    for counts in document["counts"]:
        del counts["conditions"]
    for subject in document["subjects"]:
        for key in ("reference_basis", "beta", "beta_basis", "knows_rows"):
            del subject[key]
    (tmp_path / "run" / "run.json").write_text(json.dumps(document), encoding="utf-8")
    assert read_run(tmp_path / "run") == run


def test_a_folder_of_before_texts_were_kept_is_still_read(fakes, tmp_path):
    """Without examples.jsonl, and a word of it in run.json, a run has no texts of its examples."""
    run = fakes.realistic_run()
    write_run(run, tmp_path / "run")
    document = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    del document["has_examples"], document["checksums"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "run" / "examples.jsonl").unlink()
    assert read_run(tmp_path / "run") == run


def test_run_json_is_sorted_utf8_without_nan(fakes, tmp_path):
    """NaN in a free-form record becomes null beside a key that says so; NumPy numbers and paths become JSON's own."""
    provenance = {
        "ü": np.float32(0.5),
        "loss": math.nan,
        "n": np.int64(3),
        "path": Path("a/b"),
        "list": (math.inf, True),
    }
    write_run(fakes.small_run({}, provenance=provenance, training=({"loss": -math.inf},)), tmp_path / "run")
    text = (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=pytest.fail)
    assert "ü" in text
    assert list(document) == sorted(document)
    assert document["provenance"] == {
        "ü": 0.5,
        "loss": None,
        "loss_missing": "nan",
        "n": 3,
        "path": "a/b",
        "list": [None, True],
    }
    assert read_run(tmp_path / "run").training == ({"loss": None, "loss_missing": "-inf"},)


def test_nan_scores_are_read_back_as_missing_with_their_reason(fakes, tmp_path):
    """Scores with NaN are not stored; the reason is."""
    run = fakes.small_run({(fakes.MARGIN, "dpo"): fakes.scores([1.0, math.nan])})
    write_run(run, tmp_path / "run")
    (measurement,) = read_run(tmp_path / "run").measurements
    assert measurement.scores == ()
    assert "e0001" in measurement.missing


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("planted")])
@pytest.mark.parametrize("step", ["write_scores", "_write_text"])
def test_a_failure_in_the_middle_leaves_nothing(fakes, tmp_path, monkeypatch, fault, step):
    """A full disk, Ctrl-C or a bug while writing removes the temporary folder and makes no run folder."""

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(reports.run_folder, step, fail)
    expected = RunNotWritableError if isinstance(fault, OSError) else type(fault)
    with pytest.raises(expected):
        write_run(fakes.realistic_run(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_left_alone(fakes, tmp_path):
    """A run is never written over another, not even over an empty folder."""
    (tmp_path / "run").mkdir()
    with pytest.raises(RunExistsError, match=r"run exists; choose another name"):
        write_run(fakes.small_run({}), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_parent_that_cannot_be_written_is_refused(tmp_path):
    """A parent that is a file is an error in one line that names the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunNotWritableError, match="cannot write the run folder") as caught:
        check_run_folder(tmp_path / "file" / "run")
    assert "\n" not in str(caught.value)


def test_checking_a_folder_leaves_no_trace_in_its_parent(tmp_path):
    """The probe of `check_run_folder` is removed again."""
    check_run_folder(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    """Reading what is not there is its own error."""
    with pytest.raises(RunNotFoundError, match="there is no run folder"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *product(["run.json", "scores.parquet"], [None, b"", b"\xff\xfe broken", b"[1, 2]\n"]),
        *product(
            ["generations.jsonl", "examples.jsonl", "training.jsonl"],
            [None, b"\xff\xfe broken", b"[1, 2]\n", b'{"a": 1}\n{"a": '],
        ),
    ],
)
def test_a_missing_or_damaged_file_is_named_in_one_line(fakes, tmp_path, name, content):
    """Whatever is wrong with a file, the error is one line with its name in it."""
    write_run(fakes.realistic_run(), tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(RunFileError, match=name) as caught:
        read_run(tmp_path / "run")
    assert "\n" not in str(caught.value)


def _edit(folder: Path, **changes: object) -> None:
    """Change run.json as a person would who takes its checksums out."""
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del document["checksums"]
    (folder / "run.json").write_text(json.dumps(document | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": [{"name": "base", "kind": "queen", "description": ""}]}, r"subjects\.0\.kind"),
        ({"measurements": "none"}, "measurements is not a list"),
        ({"measurements": []}, r"scores\.parquet has \d+ rows; run.json counts 0"),
    ],
)
def test_a_record_that_does_not_fit_is_named(fakes, tmp_path, changes, message):
    """A field of the wrong kind and a table of the wrong length are told apart and located."""
    write_run(fakes.realistic_run(), tmp_path / "run")
    _edit(tmp_path / "run", **changes)
    with pytest.raises(RunFileError, match=message):
        read_run(tmp_path / "run")


def test_scores_of_another_run_are_refused(fakes, tmp_path):
    """A score table whose rows belong to other metrics is damage, even if its length fits."""
    for name, metric in (("one", fakes.MARGIN), ("other", fakes.MC2)):
        write_run(fakes.small_run({(metric, "dpo"): fakes.scores([1.0])}), tmp_path / name)
    (tmp_path / "other" / "scores.parquet").replace(tmp_path / "one" / "scores.parquet")
    _edit(tmp_path / "one")
    with pytest.raises(RunFileError, match=r"rows of \['lm_eval', 'truthfulqa_mc2 acc', 'dpo'\]"):
        read_run(tmp_path / "one")


def test_another_schema_version_is_refused_with_both_numbers(fakes, tmp_path):
    """A folder of a later release says which version it has and which is read."""
    write_run(fakes.small_run({}), tmp_path / "run")
    _edit(tmp_path / "run", schema_version=99)
    with pytest.raises(SchemaVersionError, match="schema version 99, this release reads 1"):
        read_run(tmp_path / "run")


def test_runs_are_listed_oldest_first_and_broken_ones_last(fakes, tmp_path):
    """Hidden leftovers and files are passed over; a folder that cannot be read is listed with its reason."""
    run = fakes.realistic_run()
    write_run(replace(run, created="2026-02-01"), tmp_path / "a")
    write_run(replace(run, created="2026-01-01"), tmp_path / "b")
    (tmp_path / "broken").mkdir()
    (tmp_path / ".c.partial").mkdir()
    (tmp_path / "notes.txt").write_text("")
    listed = list_runs(tmp_path)
    assert [entry.name for entry in listed] == ["b", "a", "broken"]
    assert listed[0].subjects == ("base", "dpo", "longest", "shortest", "bag of words")
    assert listed[0].headline == run.headline
    assert listed[2].problem.endswith("run.json is missing")
    assert list_runs(tmp_path / "nowhere") == []


def test_a_flipped_bit_is_damage_and_never_another_number(fakes, tmp_path):
    """Of 60 flips anywhere in the files none gives another run, and every error is one line that names the file."""
    folder = tmp_path / "run"
    run = fakes.realistic_run()
    write_run(run, folder)
    rng = np.random.default_rng(5)
    for name in ("run.json", "scores.parquet", "generations.jsonl", "examples.jsonl", "training.jsonl"):
        content = (folder / name).read_bytes()
        for place in rng.integers(0, 8 * len(content), 12 if content else 0):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << (place % 8)
            (folder / name).write_bytes(flipped)
            try:
                found, problem = read_run(folder), f"{name}, a blank that became another blank"
            except (RunFileError, SchemaVersionError) as error:
                found, problem = run, str(error)
            assert found == run
            assert name in problem
            assert "\n" not in problem
        (folder / name).write_bytes(content)
    assert read_run(folder) == run


def test_rows_that_were_changed_by_hand_are_damage(fakes, tmp_path):
    """A row taken out of a table whose length nothing else checks, and a word changed in run.json."""
    folder = tmp_path / "run"
    write_run(fakes.realistic_run(), folder)
    training = folder / "training.jsonl"
    before = training.read_bytes()
    training.write_bytes(before[: before.index(b"\n") + 1])
    with pytest.raises(RunFileError, match=r"training\.jsonl is damaged: it is not as it was written"):
        read_run(folder)
    training.write_bytes(before)
    document = folder / "run.json"
    document.write_text(document.read_text(encoding="utf-8").replace("alignment", "alignmnet"), encoding="utf-8")
    with pytest.raises(RunFileError, match=r"run\.json is damaged: it is not as it was written"):
        read_run(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": []}, "subjects must hold one of the kind baseline, not 0"),
        ({"config": {"training": "dpo"}}, r"config\.training must be a mapping, not str"),
        ({"provenance": {"base": ["gpt2"]}}, r"provenance\.base must be a mapping, not list"),
        ({"checksums": "none"}, "checksums is no mapping"),
    ],
)
def test_odd_types_in_a_run_are_named(fakes, tmp_path, changes, message):
    """Also where the free-form parts of a run hold something else than reports read."""
    write_run(fakes.realistic_run(), tmp_path / "run")
    _edit(tmp_path / "run", **changes)
    with pytest.raises(RunFileError, match=message):
        read_run(tmp_path / "run")


def test_a_subject_that_is_measured_and_not_named_is_an_odd_record(fakes, tmp_path):
    """Also a name that two subjects have; no report meets numbers of somebody that it does not know."""
    write_run(fakes.realistic_run(), tmp_path / "run")
    subjects = json.loads((tmp_path / "run" / "run.json").read_text())["subjects"]
    _edit(tmp_path / "run", subjects=[each for each in subjects if each["kind"] == "baseline"])
    with pytest.raises(RunFileError, match=r"measurements name .*, which is none of the subjects"):
        read_run(tmp_path / "run")
    write_run(fakes.realistic_run(), tmp_path / "twice")
    _edit(tmp_path / "twice", subjects=[*subjects, subjects[-1]])
    with pytest.raises(RunFileError, match="subjects must have a name each"):
        read_run(tmp_path / "twice")


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind": "train", "loss": "low"}',
        b'{"kind": 1}',
        b'{"step": [1]}',
        b'{"step": 1' + b"0" * 400 + b"}",
        b"[" * 9999,
    ],
)
def test_odd_training_rows_are_named(fakes, tmp_path, line):
    """A text for a number in the log is found when the run is read, not when a report computes with it."""
    write_run(fakes.realistic_run(), tmp_path / "run")
    _edit(tmp_path / "run")
    (tmp_path / "run" / "training.jsonl").write_bytes(line)
    with pytest.raises(RunFileError, match=r"is damaged: (training row 1|nested|not valid)"):
        read_run(tmp_path / "run")


def test_a_run_folder_killed_while_it_is_written_leaves_nothing_for_good(fakes, tmp_path):
    """The next write of the same name removes what was left."""
    leftover = tmp_path / ".run.0123abcd.partial"
    leftover.mkdir()
    write_run(fakes.small_run({}), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": True}, "has schema version true, this release reads 1"),
        ({"schema_version": None}, "has schema version null"),
        ({"schema_version": [1] * 99}, "has schema version [1, 1"),
        ({"subjects": None}, "subjects is not what a run holds there"),
        ({"subjects": []}, "subjects must hold one of the kind baseline, not 0"),
        ({"gates": [{"metric": "a\nb", "largest_loss": -1}]}, "gates.0.largest_loss is not what a run holds there"),
        ({"config": {"a\n": float("nan")}, "notes": 3}, "notes is not what a run holds there"),
        ({"measurements": [{"n_scores": True}]}, "measurements is not a list of records with n_scores"),
    ],
)
def test_an_odd_record_is_told_in_plain_words(fakes, tmp_path, change, words):
    """One line with the file and the place; true is no version, although it equals 1."""
    write_run(fakes.realistic_run(), tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    document = json.loads(path.read_text())
    del document["checksums"]
    path.write_text(json.dumps(document | change))
    with pytest.raises(reports.run_folder.RunFolderError) as caught:
        read_run(tmp_path / "run")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    del document["subjects"]
    path.write_text(json.dumps(document))
    with pytest.raises(RunFileError, match=r"run\.json is damaged: subjects is missing"):
        read_run(tmp_path / "run")
