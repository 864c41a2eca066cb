"""Every mistake is one line and exit code 2, found before anything is trained."""

import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

Harness = Callable[..., Any]
"""The fixture that calls the command line."""

MISTAKES = {
    "unknown suite": (("--suite", "alignmnt"), ("alignmnt", "alignment", "smoke")),
    "unknown preset": (("--preset", "tinny"), ("tinny", "tiny")),
    "unknown key": (("-o", "training.lr=1"), ("training.lr", "learning_rate")),
    "wrong type": (("-o", "training.batch_size=many"), ("training.batch_size", "many")),
    "unknown task": (("--tasks", "arc_esy"), ("arc_esy", "arc_easy")),
    "missing task file": (("--tasks", "nowhere.yaml"), ("nowhere.yaml",)),
    "missing config": (("--config", "nowhere.yaml"), ("nowhere.yaml",)),
    "missing data root": (("--preset", "tiny-real", "--data-root", "nowhere"), ("nowhere",)),
    "missing model folder": (("-o", "model.name=./nowhere"), ("model.name", "./nowhere")),
    "context too long": (("-o", "data.max_tokens=100000"), ("100000", "max_tokens")),
    "unknown option": (("--sweet", "alignment"), ("--sweet",)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake: str, harness: Harness, tmp_path: Path) -> None:
    """Every mistake names what was given and what is allowed, and leaves no run or fixture behind."""
    options, expected = MISTAKES[mistake]
    outcome = harness("train-and-eval", *options)

    assert outcome.exit_code == 2
    last = outcome.err.strip().splitlines()[-1]
    assert all(word in last for word in expected), outcome.err
    assert "Traceback" not in outcome.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "inspect", "org/rows"),
        ("merge", "org/adapter", "--dtype", "float16", "--out", "x"),
        ("eval", "--adapter", "org/adapter"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_hub_that_does_not_answer_is_one_line(
    arguments: tuple[str, ...], harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wanted, where, why not and what to do; exit code 2, in a moment."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        outcome = harness(*arguments)
    assert outcome.exit_code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert next(each for each in arguments if each.startswith("org/")) in line
    assert f"{address} is out of reach" in line
    assert line.endswith("name local files instead, or set HF_HUB_OFFLINE=1 if it is in the hub cache already")


ADDRESS = "http://example.org/x.yaml"


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", ADDRESS),
        ("report", "run", "--verdicts", ADDRESS),
        ("report", "run", "--out", ADDRESS),
        ("check", "run", "--against", ADDRESS),
        ("check", "run", "--gates", ADDRESS),
        ("train", "--config", ADDRESS),
        ("train", "--suite", ADDRESS),
        ("train", "--data-root", ADDRESS),
        ("train", "--workspace", ADDRESS),
        ("train", "-o", f"data.training.name={ADDRESS}"),
        ("train", "-o", f"model.name={ADDRESS}"),
        ("train-and-eval", "--out", ADDRESS),
        ("train-and-eval", "--tasks", ADDRESS),
        ("train-and-eval", "--candidate", f"x={ADDRESS}"),
        ("eval", "--adapter", ADDRESS),
        ("eval", "--candidate", f"x={ADDRESS}", "--pairs", ADDRESS),
        ("eval", "--candidate", "x=.", "--pairs", ADDRESS),
        ("eval", "--candidate", "x=.", "--trained-on", ADDRESS),
        ("merge", ADDRESS, "--dtype", "float16", "--out", "x"),
        ("merge", "x", "--dtype", "float16", "--out", ADDRESS),
        ("data", "inspect", ADDRESS),
        ("data", "build-pairs", ADDRESS, "--out", "x"),
        ("prune", "--workspace", ADDRESS),
        ("lm-eval", "validate", "--tasks", ADDRESS),
        ("lm-eval", "validate", "--tasks", "x", "--include_path", ADDRESS),
    ],
    ids=lambda arguments: " ".join(each.replace(ADDRESS, "ADDRESS") for each in arguments),
)
def test_an_address_in_place_of_a_path_is_shown_as_typed(arguments: tuple[str, ...], harness: Harness) -> None:
    """At every door that takes a path or a name: one line, with both slashes."""
    outcome = harness(*arguments)
    assert outcome.exit_code == 2
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert f"{ADDRESS} is an address" in last


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose owner alone may search it; root may search all, so that the system's answers are put in."""
    folder = tmp_path / "locked"
    folder.mkdir()

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            given = str(path)
            is_inside = "locked/" in given or (call is not stat and given.endswith("locked"))
            if is_inside:
                raise PermissionError(errno.EACCES, "Permission denied", given)
            return call(path, *arguments, **options)

        return answer

    stat = os.stat
    for name in ("stat", "lstat", "scandir", "listdir", "open", "mkdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    return folder


@pytest.mark.parametrize(
    ("arguments", "inside"),
    [
        (("data", "inspect", "locked/pairs.jsonl"), "locked/pairs.jsonl"),
        (("data", "inspect", "./locked"), "locked"),
        (("eval", "--candidate", "x=.", "--pairs", "locked/pairs.jsonl"), "locked/pairs.jsonl"),
        (("eval", "--adapter", "locked", "--pairs", "x.jsonl"), "locked/adapter_model.safetensors"),
        (("train", "-o", "model.name=./locked"), "locked"),
        (("train", "--preset", "tiny-real", "--data-root", "locked/data"), "locked/data"),
        (("train", "--workspace", "locked"), "locked"),
        (("list", "runs", "--workspace", "locked"), "locked/runs"),
        (("prune", "--workspace", "locked"), "locked/"),
        (("report", "locked/run"), "locked/run"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
@pytest.mark.usefixtures("locked")
def test_a_folder_without_permission_is_one_line(arguments: tuple[str, ...], inside: str, harness: Harness) -> None:
    """At every door that takes a path: what may not be read, and why, whatever function first asked the system."""
    outcome = harness(*arguments)
    assert outcome.exit_code == 2, outcome.err
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert inside in last
    assert "Permission denied" in last
    assert "damaged" not in last


def data_root(folder: Path, questions: str) -> Path:
    """A data root whose TruthfulQA questions are the given text."""
    folder.mkdir()
    (folder / "questions.jsonl").write_text(questions)
    (folder / "datasets.yaml").write_text("truthfulqa/truthful_qa:generation: {validation: questions.jsonl}\n")
    return folder


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        ('{"question": "Why?", "best_answer": "So.", "incorrect_answers": []}\n{"question": "Wh', "line 2"),
        ('{"question": "Why?", "incorrect_answers": ["No."]}\n', "best_answer"),
    ],
    ids=["broken line", "missing column"],
)
def test_a_broken_row_is_named_with_file_and_line(
    questions: str, expected: str, harness: Harness, tmp_path: Path
) -> None:
    """A broken JSONL line and a row without a needed column are named with file and line."""
    root = data_root(tmp_path / "root", questions)
    outcome = harness(
        "train-and-eval", "--suite", "smoke", "--data-root", root,
        "-o", "data.roles.truthfulness.name=truthfulqa/truthful_qa:generation",
    )  # fmt: skip

    assert outcome.exit_code == 2
    assert "questions.jsonl" in outcome.err
    assert expected in outcome.err


def test_an_output_folder_that_cannot_be_written_is_refused_first(harness: Harness, tmp_path: Path) -> None:
    """Nothing is trained for a run folder, or in a workspace, that cannot be written."""
    (tmp_path / "file").write_text("in the way")
    for option in ("--out", "--workspace"):
        outcome = harness("train-and-eval", option, tmp_path / "file" / "below")

        assert outcome.exit_code == 2
        assert "below" in outcome.err
        assert not (tmp_path / "workspace" / "fixtures").exists() or not list((tmp_path / "workspace").rglob("*.json"))


def test_a_hub_out_of_reach_is_said_quickly(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data on a hub that does not answer is refused within 15 seconds, naming the two ways around it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.perf_counter()
    outcome = harness("train-and-eval", "--preset", "tiny-real", "--suite", "smoke")

    assert outcome.exit_code == 2
    assert time.perf_counter() - started < 15
    assert "--data-root" in outcome.err
    assert "HF_HUB_OFFLINE" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sweep", "model.dtype=float32,auto"), "training or lora"),
        (("--subjects", "unquantised"), "write +NAME"),
        (("--controls", "random"), "controls"),
        (("--candidate", "nameless"), "NAME=PATH"),
    ],
)
def test_a_mistake_in_what_is_compared_is_one_line(harness: Harness, arguments: tuple[str, str], words: str) -> None:
    """Sweeps, controls, subjects and candidates are checked before anything is trained."""
    outcome = harness("train-and-eval", *arguments)
    assert outcome.exit_code == 2
    assert words in outcome.err
    assert len(outcome.err.strip().splitlines()[-1:]) == 1


def test_the_old_calibrate_takes_no_run(harness: Harness, tmp_path: Path) -> None:
    """It trains adapters of its own, so that a RUN beside it is a mistake; its options are not in the help."""
    assert harness("check", tmp_path, "--calibrate", "3").exit_code == 2
    shown = harness("check", "--help").out
    assert "--calibrate" not in shown
    assert "--preset" not in shown
