"""Two processes of torchrun train the adapter that one process trains, end together, and go on where one was killed."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.config.schema import ModelConfig
from harness.models.adapter_files.folder import FIXTURE_FILE, WEIGHTS_FILE
from harness.models.base import LoadedModel, load_model
from harness.training.recipe import EncodedRows, Recipe, requests_of

Encode = Callable[[LoadedModel], EncodedRows]
Job = tuple[str, EncodedRows | tuple[EncodedRows, ...], Recipe, int | None, int | None]
SCRIPT = Path(__file__).parents[2] / "support" / "in_ranks.py"
ROOT = Path(__file__).parents[3]
TOGETHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
NUMBERS = ("loss", "grad_norm", "rewards/margins", "rewards/accuracies", "logps/chosen", "mean_token_accuracy")
pytestmark = pytest.mark.slow


def with_training(recipe: Recipe, *, dropout: float = 0.0, **changes: object) -> Recipe:
    lora = replace(recipe.lora, dropout=dropout)
    return replace(recipe, lora=lora, training=replace(recipe.training, **changes))


def started(command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    """Runs Python with these arguments to its end, with one thread a process and without a network."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HARNESS_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip


@dataclass(frozen=True)
class Session:
    """What a start of the script left."""

    folder: Path
    exit_code: int
    err: str

    def outcome(self, job: int, process: int = 0) -> dict[str, Any]:
        """What a process has of a job."""
        outcome: dict[str, Any] = json.loads((self.folder / f"{job}-{process}.json").read_text())
        return outcome

    def weights(self, job: str, process: int = 0) -> bytes:
        """What a process would write as its adapter."""
        return (self.folder / job / f"process-{process}" / WEIGHTS_FILE).read_bytes()


@pytest.fixture(scope="module")
def run(llama_folder: Path) -> Callable[..., Session]:
    """Does jobs in a folder, in two processes or in one."""

    def run_jobs(folder: Path, jobs: Sequence[Job], *, together: bool = True) -> Session:
        folder.mkdir(exist_ok=True)
        listed = folder / "jobs.pickle"
        listed.write_bytes(pickle.dumps((llama_folder, list(jobs))))
        done = started([*(TOGETHER if together else ()), SCRIPT, listed, folder])
        return Session(folder, done.returncode, done.stderr)

    return run_jobs


@pytest.fixture(scope="module")
def rows(llama_folder: Path, encode: Encode) -> EncodedRows:
    """Eight training and four selection pairs."""
    return encode(load_model(ModelConfig(name=str(llama_folder), quantization="none")))


@pytest.fixture(scope="module")
def shared(recipe: Recipe, rows: EncodedRows) -> list[Job]:
    """Trainings whose every batch two processes can divide, the last one of an epoch too."""
    six = replace(rows, training=rows.training[:6])
    answers = replace(rows, training=requests_of(rows.training)[:14])
    return [
        ("packed", six, with_training(recipe, eval_steps=2), None, None),
        ("padded", six, with_training(recipe, engine="trl", reference="every_step"), None, None),
        ("answers", answers, with_training(recipe, method="sft", gradient_accumulation_steps=2), None, None),
    ]


@pytest.fixture(scope="module")
def alone(run: Callable[..., Session], shared: list[Job], tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The trainings in one process."""
    return run(tmp_path_factory.mktemp("alone") / "jobs", shared, together=False)


@pytest.fixture(scope="module")
def together(
    run: Callable[..., Session], shared: list[Job], rows: EncodedRows, recipe: Recipe,
    tmp_path_factory: pytest.TempPathFactory,
) -> Session:  # fmt: skip
    """The trainings in two processes, then others that end in another way."""
    seven, other = (replace(rows, training=rows.training[:n]) for n in (7, 5))
    checkpoints = with_training(recipe, save_steps=2)
    jobs: list[Job] = [
        *shared,
        shared[0],
        ("filled", seven, with_training(recipe), None, None),
        ("unlike", (rows, other), with_training(recipe), None, None),
        ("full", rows, checkpoints, None, 2),
        ("full", rows, checkpoints, None, None),
    ]
    return run(tmp_path_factory.mktemp("together") / "jobs", jobs)


@pytest.mark.parametrize(("job", "name"), [*enumerate(["packed", "padded", "answers"])])
def test_two_processes_train_what_one_trains(job: int, name: str, alone: Session, together: Session) -> None:
    """Both have the same adapter byte by byte, which is one process's but for rounding, step by step."""
    assert (alone.exit_code, together.exit_code) == (0, 0), together.err
    assert together.weights(name, 0) == together.weights(name, 1)

    single, double = alone.outcome(job), together.outcome(job)
    steps = [[line for line in each["log"] if line["kind"] == "train"] for each in (single, double)]
    assert len(steps[0]) == len(steps[1]) > 2
    for one, two in zip(*steps, strict=True):
        assert one["num_tokens"] == two["num_tokens"]
        for number in set(NUMBERS) & one.keys():
            assert two[number] == pytest.approx(one[number], rel=1e-4, abs=1e-6), number

    ours, theirs = (load_file(Path(each["folder"]) / WEIGHTS_FILE) for each in (single, double))
    assert max(np.abs(value - theirs[key]).max() for key, value in ours.items()) < 1e-6
    assert max(np.abs(value).max() for value in ours.values()) > 1e-2  # it has learned something
    assert (Path(double["folder"]) / WEIGHTS_FILE).read_bytes() == together.weights(name, 1)


def test_the_number_of_processes_is_part_of_the_key(alone: Session, together: Session) -> None:
    """Equal to rounding is not equal: nobody finds the one where the other is asked for."""
    records = [json.loads((Path(each.outcome(0)["folder"]) / FIXTURE_FILE).read_text()) for each in (alone, together)]
    assert [record["ranks"] for record in records] == [1, 2]
    assert records[0]["fingerprint"] != records[1]["fingerprint"]


def test_the_log_has_the_selection_rows_of_one_process(alone: Session, together: Session) -> None:
    """Every process scores them all, by weights that differ by rounding."""
    measured = [[line for line in each.outcome(0)["log"] if line["kind"] == "selection"] for each in (alone, together)]
    assert [line["step"] for line in measured[1]] == [0, 2, 4]
    for one, two in zip(*measured, strict=True):
        of_scores = {key: one[key] for key in one.keys() - {"kind", "seconds", "peak_memory_bytes"}}
        assert of_scores.keys() > {"step"}
        assert {key: two[key] for key in of_scores} == pytest.approx(of_scores, rel=1e-4, abs=1e-5)


def test_an_adapter_that_is_there_is_found_by_both(together: Session) -> None:
    """The first one looks and tells the other."""
    for process in (0, 1):
        again = together.outcome(3, process)
        assert again["reused"]
        assert again["folder"] == together.outcome(0)["folder"]
        assert again["log"] == together.outcome(0)["log"]


def test_rows_that_cannot_be_divided_are_filled_up_and_said(together: Session) -> None:
    """A batch of three takes one row of the epoch's first batch, and the number of steps is that of one process."""
    outcome = together.outcome(4)
    assert sum(line["kind"] == "train" for line in outcome["log"]) == 4
    assert "The last batch of an epoch has 3 of 4 rows, which 2 processes cannot share" in outcome["said"][0]
    assert together.weights("filled", 0) == together.weights("filled", 1)


def test_processes_with_other_rows_do_not_train_together(together: Session) -> None:
    """The first one says what differs; the other one stops with it."""
    first, second = (together.outcome(5, process) for process in (0, 1))
    assert first["error"].startswith("process 2 of 2 would train another adapter than the first: rows differ")
    assert second["kind"] == "StoppedError"


def test_a_full_disk_ends_both_and_loses_nothing(together: Session) -> None:
    """The first process alone writes; the other one learns why there is no checkpoint, and the same call trains it."""
    first, second = (together.outcome(6, process) for process in (0, 1))
    assert first["kind"] == "UnwritableError"
    assert "No space left on device" in first["error"]
    assert second["kind"] == "StoppedError"
    assert not together.outcome(7)["reused"]


def test_a_killed_process_ends_the_other_and_the_same_call_goes_on(
    run: Callable[..., Session], rows: EncodedRows, recipe: Recipe, tmp_path: Path
) -> None:
    """From a checkpoint inside an epoch, with dropout: the adapter is that of two processes that nobody killed."""
    longer = with_training(recipe, dropout=0.1, epochs=3, save_steps=3)
    killed = run(tmp_path / "jobs", [("killed", rows, longer, 5, None)])
    assert killed.exit_code != 0
    assert not list(killed.folder.glob("0-*.json"))

    resumed = run(tmp_path / "jobs", [("killed", rows, longer, None, None), ("straight", rows, longer, None, None)])
    assert resumed.exit_code == 0, resumed.err
    assert resumed.outcome(0)["said"] == ["Training continues from the checkpoint of step 3."]
    for process in (0, 1):
        assert resumed.weights("killed", process) == resumed.weights("straight", process)
    losses = [[line["loss"] for line in resumed.outcome(job)["log"] if line["kind"] == "train"] for job in (0, 1)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


def test_the_command_speaks_once(tmp_path: Path) -> None:
    """Lines and folder are those of one process; a second start finds the adapter."""
    command = [
        *TOGETHER, "-m", "harness", "train", "--suite", "smoke", "--workspace", tmp_path, "-o", "training.max_steps=2",
        "-o", "training.batch_size=4", "-o", "model.quantization=none",
    ]  # fmt: skip
    first = started(command)
    assert first.returncode == 0, first.stderr
    (folder,) = first.stdout.splitlines()
    assert json.loads((Path(folder) / FIXTURE_FILE).read_text())["ranks"] == 2
    assert (Path(folder) / "README.md").is_file()
    assert first.stderr.count("training adapter\n") == 1
    second = started(command)
    assert second.stdout == first.stdout
    assert second.stderr.count("is reused") == 1


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("training.learning_rate=1e30", "error: -o training.learning_rate=1e30: training.learning_rate must be"),
        ("training.method=kto", "error: training.method: kto compares every answer with the others of its batch"),
        ("training.batch_size=5", "error: training.batch_size: 5 rows of a step cannot be divided among 2 processes"),
    ],
)
def test_a_mistake_ends_all_processes_with_one_line(setting: str, line: str, tmp_path: Path) -> None:
    """Before they are joined and after, whoever would have waited for whom."""
    done = started([*TOGETHER, "-m", "harness", "train", "--suite", "smoke", "--workspace", tmp_path, "-o", setting])
    assert done.returncode != 0
    assert done.stdout == ""
    said, _, of_torchrun = done.stderr.partition("Traceback")
    (error,) = (each for each in said.splitlines() if "error: " in each)
    assert error.startswith(line)
    assert "Traceback" not in of_torchrun
    assert "exitcode: 2" in said or "exitcode  : 2" in of_torchrun
    assert "SIGABRT" not in of_torchrun
