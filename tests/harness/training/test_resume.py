"""A training that was cut off anywhere ends as if it had not been: the same adapter, bit for bit, and the same rows."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.models.base import LoadedModel
from harness.training.checkpoints import UnwritableError
from harness.training.recipe import EncodedRows, LogLine, RatedRequest, Recipe, TrainingError, requests_of
from harness.training.trainer import Folders, train_adapter

Load = Callable[..., LoadedModel]
Encode = Callable[[LoadedModel], EncodedRows]
Train = Callable[..., tuple[LogLine, ...]]
N_STEPS = 8
OTHERS = (("dpo", 1), ("dpo", 6), ("kto", 4))
"""Methods, and steps at which they are cut off, that the slow tests try."""


class CutOffError(Exception):
    """What stops a run in these tests."""


def with_training(recipe: Recipe, **changes: object) -> Recipe:
    return replace(recipe, training=replace(recipe.training, **changes))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def assert_equal(left: Path, right: Path) -> None:
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def comparable(rows: tuple[LogLine, ...]) -> list[LogLine]:
    """Rows without what no two runs share; the tokens at once follow the memory that is free."""
    own = ("seconds", "peak_memory_bytes", "max_tokens_at_once")
    return [{key: value for key, value in row.items() if key not in own} for row in rows]


def cut_off_at(step: int, error: type[BaseException] = CutOffError) -> Callable[..., None]:
    def listen(done: int, _n_steps: int, row: LogLine) -> None:
        if (done, row["kind"]) == (step, "train"):
            raise error

    return listen


def rows_for(method: str, pairs: EncodedRows) -> EncodedRows:
    """The training rows in the kind of a method, selection rows as pairs."""
    requests = requests_of(pairs.training)
    kinds: dict[str, Any] = {
        "dpo": pairs.training,
        "kto": [RatedRequest(request, index % 2 == 0) for index, request in enumerate(requests)],
        "sft": requests[::2] + requests[1::2],
    }
    return EncodedRows(kinds[method], pairs.selection)


@pytest.fixture(scope="module")
def longer(recipe: Recipe) -> Recipe:
    """Eight steps in two epochs with dropout; checkpoints and selection rows every other step."""
    return with_training(recipe, batch_size=2, epochs=2, max_steps=N_STEPS, save_steps=2, eval_steps=2)


@pytest.fixture(scope="module")
def llama(llama_folder: Path, load: Load) -> Callable[[], LoadedModel]:
    """A model fresh from disk, in a process whose random numbers are anywhere."""

    def fresh() -> LoadedModel:
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(time.perf_counter_ns() % 2**32)
        return load(llama_folder)

    return fresh


@dataclass(frozen=True)
class Undisturbed:
    """A training that nothing cut off."""

    rows: EncodedRows
    recipe: Recipe
    adapter: Path
    log: tuple[LogLine, ...]


@pytest.fixture(scope="module")
def undisturbed(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Undisturbed]:
    """Trains by a method, once for all tests."""

    @cache
    def train_by(method: str) -> Undisturbed:
        loaded, folder = llama(), tmp_path_factory.mktemp(method)
        rows = rows_for(method, encode(loaded))
        recipe = with_training(longer, method=method, gradient_accumulation_steps=2 if method == "kto" else 1)
        log = train_adapter(loaded, rows, recipe, Folders(folder / "adapter", folder / "checkpoints"), str)
        return Undisturbed(rows, recipe, folder / "adapter", log)

    return train_by


@pytest.mark.parametrize(
    ("method", "step"),
    [("dpo", 4), ("sft", 6), *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
)
def test_a_resumed_run_ends_as_if_it_had_not_been_cut_off(
    method: str,
    step: int,
    llama: Callable[[], LoadedModel],
    undisturbed: Callable[[str], Undisturbed],
    train: Train,
    tmp_path: Path,
) -> None:
    """Before the first checkpoint, at the end of an epoch, in the middle of the next one."""
    straight = undisturbed(method)
    said: list[str] = []

    with pytest.raises(CutOffError):
        train(llama(), straight.rows, straight.recipe, progress=cut_off_at(step))
    resumed = train(llama(), straight.rows, straight.recipe, say=said.append)

    assert_equal(straight.adapter, tmp_path / "adapter")
    assert comparable(resumed) == comparable(straight.log)
    before = (step - 1) // 2 * 2
    assert said == ([f"Training continues from the checkpoint of step {before}."] if before else [])
    assert [row["seconds"] for row in resumed] == sorted(row["seconds"] for row in resumed)


@pytest.mark.slow
def test_a_run_is_cut_off_again_and_again(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, train: Train, tmp_path: Path
) -> None:
    """At every step in turn: the last call still ends with the same adapter."""
    often = with_training(longer, save_steps=1)
    loaded = llama()
    rows = encode(loaded)
    straight = train(loaded, rows, often, "straight")

    for step in range(2, N_STEPS + 1):
        with pytest.raises(CutOffError):
            train(loaded, rows, often, progress=cut_off_at(step))
    resumed = train(loaded, rows, often)

    assert_equal(tmp_path / "straight", tmp_path / "adapter")
    assert comparable(resumed) == comparable(straight)


@pytest.mark.slow
def test_a_second_stage_resumes_against_its_own_reference(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, train: Train, tmp_path: Path
) -> None:
    """The reference of a resumed run is the adapter it was started from, not the one it was cut off at."""
    loaded = llama()
    rows = encode(loaded)
    train(loaded, rows_for("sft", rows), with_training(longer, method="sft"), "first")
    start = tmp_path / "first"
    straight = train(loaded, rows, longer, "straight", start=start)

    with pytest.raises(CutOffError):
        train(loaded, rows, longer, progress=cut_off_at(5), start=start)
    resumed = train(llama(), rows, longer, start=start)

    assert_equal(tmp_path / "straight", tmp_path / "adapter")
    assert comparable(resumed) == comparable(straight)


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_keeping_checkpoints_changes_nothing(
    quantization: str, wide_llama_folder: Path, load: Load, encode: Encode, longer: Recipe, train: Train, tmp_path: Path
) -> None:
    """Every other step, every tenth part, or never: the same adapter, on NF4 too."""
    loaded = load(wide_llama_folder, quantization=quantization)
    rows = encode(loaded)
    for save_steps in (2, None, 100):
        train(loaded, rows, with_training(longer, save_steps=save_steps), str(save_steps))

    assert_equal(tmp_path / "2", tmp_path / "100")
    assert_equal(tmp_path / "None", tmp_path / "100")
    kept = [sorted(path.name for path in (tmp_path / f"{each}.checkpoints").glob("step-*")) for each in (2, None, 100)]
    assert kept == [["step-00000004", "step-00000006"], ["step-00000006", "step-00000007"], []]


@pytest.mark.slow
def test_nf4_resumes_bit_for_bit(
    wide_llama_folder: Path, load: Load, encode: Encode, longer: Recipe, train: Train, tmp_path: Path
) -> None:
    """On weights that were quantised anew from disk."""
    loaded = load(wide_llama_folder, quantization="nf4")
    rows = encode(loaded)
    train(loaded, rows, longer, "straight")

    with pytest.raises(CutOffError):
        train(loaded, rows, longer, progress=cut_off_at(7))
    train(load(wide_llama_folder, quantization="nf4"), rows, longer)

    assert_equal(tmp_path / "straight", tmp_path / "adapter")


def test_damaged_checkpoints_cost_steps_not_the_result(
    llama: Callable[[], LoadedModel], undisturbed: Callable[[str], Undisturbed], train: Train, tmp_path: Path
) -> None:
    """The one before is taken, and said; where there is none, training starts anew."""
    loaded, straight = llama(), undisturbed("dpo")
    with pytest.raises(CutOffError):
        train(loaded, straight.rows, straight.recipe, "cut_off", progress=cut_off_at(7))
    for damaged, expected in ((1, "step 4"), (2, "step 4 is damaged")):
        checkpoints = shutil.copytree(tmp_path / "cut_off.checkpoints", tmp_path / f"{damaged}.checkpoints")
        for folder in sorted(checkpoints.iterdir(), reverse=True)[:damaged]:
            (folder / "optimizer.pt").write_bytes(b"")
        said: list[str] = []
        train(loaded, straight.rows, straight.recipe, str(damaged), say=said.append)

        assert expected in said[-1]
        assert_equal(straight.adapter, tmp_path / str(damaged))


def test_a_resumed_run_computes_with_as_many_threads(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, train: Train
) -> None:
    """Sums over more or fewer threads end on other last bits; afterwards the number is what it was."""
    loaded = llama()
    n_threads = torch.get_num_threads()
    seen: list[int] = []
    with pytest.raises(CutOffError):
        train(loaded, encode(loaded), longer, progress=cut_off_at(5))
    torch.set_num_threads(n_threads + 1)
    try:
        train(loaded, encode(loaded), longer, progress=lambda *_: seen.append(torch.get_num_threads()))

        assert set(seen) == {n_threads}
        assert torch.get_num_threads() == n_threads + 1
    finally:
        torch.set_num_threads(n_threads)


@pytest.fixture
def breaks_at_step_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimizer whose third step makes a weight infinite, which the loss of that step cannot show."""
    step, done = torch.optim.AdamW.step, []

    def break_a_weight(optimizer: torch.optim.AdamW, *arguments: object) -> None:
        step(optimizer, *arguments)
        done.append(1)
        if len(done) == 3:
            optimizer.param_groups[0]["params"][0].data[0, 0] = torch.inf

    monkeypatch.setattr(torch.optim.AdamW, "step", break_a_weight)


@pytest.mark.usefixtures("breaks_at_step_3")
def test_a_checkpoint_of_weights_that_are_no_numbers_is_not_kept(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, train: Train, tmp_path: Path
) -> None:
    """The line names the learning rate, and the checkpoints from before stay."""
    loaded = llama()
    broken = with_training(longer, save_steps=1, eval_steps=None)

    with pytest.raises(TrainingError, match=r"training\.learning_rate: the adapter's weights became .* at step 3 of 8"):
        train(loaded, encode(loaded), broken)
    kept = sorted(path.name for path in (tmp_path / "adapter.checkpoints").glob("step-*"))
    assert kept == ["step-00000001", "step-00000002"]


@pytest.mark.usefixtures("breaks_at_step_3")
def test_a_last_step_that_breaks_the_weights_makes_no_adapter(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, train: Train, tmp_path: Path
) -> None:
    """There is no loss after it that would show."""
    loaded = llama()

    with pytest.raises(TrainingError, match=r"weights became .* at step 3 of 3; lower it from 0\.01"):
        train(loaded, encode(loaded), with_training(longer, max_steps=3))
    assert not (tmp_path / "adapter").exists()


@contextmanager
def no_room() -> Iterator[Callable[..., None]]:
    """A listener that leaves this process files of 4 KiB at most once step 5 is done."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def listen(done: int, _n_steps: int, _row: LogLine) -> None:
        if done == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))

    try:
        yield listen
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_a_checkpoint(
    llama: Callable[[], LoadedModel], undisturbed: Callable[[str], Undisturbed], train: Train, tmp_path: Path
) -> None:
    """What the libraries raise then becomes a line about room; the checkpoint before stays and is gone on from."""
    loaded, straight = llama(), undisturbed("dpo")

    with no_room() as listen, pytest.raises(UnwritableError, match=r"cannot be written .* step 4 is kept") as caught:
        train(loaded, straight.rows, straight.recipe, progress=listen)
    assert "\n" not in str(caught.value)
    train(loaded, straight.rows, straight.recipe)

    assert_equal(straight.adapter, tmp_path / "adapter")


def test_no_room_for_the_adapter(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, train: Train, tmp_path: Path
) -> None:
    """Nothing half-written is left in its place."""
    loaded = llama()
    seldom = with_training(longer, save_steps=4)

    with no_room() as listen, pytest.raises(UnwritableError, match=r"adapter cannot be written .* step 4 is kept"):
        train(loaded, encode(loaded), seldom, progress=listen)

    assert not (tmp_path / "adapter").exists()


def test_ctrl_c_says_what_is_kept(
    llama: Callable[[], LoadedModel], encode: Encode, longer: Recipe, train: Train
) -> None:
    """The interrupt goes on its way."""
    loaded = llama()
    said: list[str] = []

    with pytest.raises(KeyboardInterrupt):
        train(loaded, encode(loaded), longer, progress=cut_off_at(3, KeyboardInterrupt), say=said.append)

    assert said == ["Interrupted: the checkpoint of step 2 is kept; the next call continues from it."]


TRAINING = """
import json, sys
from pathlib import Path
from harness.config.schema import LoraConfig, ModelConfig, TrainingConfig
from harness.training.fixture import Workplace, build_or_reuse
from harness.models.base import load_model
from harness.training.recipe import EncodedRows, Recipe
from suites.engine.encoding import Encoder
from suites.inputs import Pair, Turn

pairs = [
    Pair(str(n), str(n), "", (Turn("user", f"What of {n} seeds?"),), f"The {n} pass.", f"You grow {n} days.")
    for n in range(12)
]
loaded = load_model(ModelConfig(name=sys.argv[1], quantization="none"))
encoded = Encoder(loaded.tokenizer, max_prompt_tokens=64, max_tokens=128).encode_pairs(pairs)
training = TrainingConfig(batch_size=2, epochs=5, learning_rate=1e-2, save_steps=1, eval_steps=5)
recipe = Recipe(LoraConfig(rank=4, dropout=0.1), training, seed=1)

def tell(step, n_steps, row):
    print(row["kind"], step, flush=True)

rows = EncodedRows(encoded[:8], encoded[8:])
fixture = build_or_reuse(loaded, rows, recipe, Workplace(Path(sys.argv[2]), print, tell))
print("done", fixture.folder, flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_is_gone_on_from(llama_folder: Path, tmp_path: Path) -> None:
    """Killed without warning at five moments of 20 steps, the sixth process ends with the very adapter and rows."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(workspace: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", TRAINING, str(llama_folder), str(tmp_path / workspace)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def finish(process: subprocess.Popen[str]) -> tuple[list[str], Path]:
        lines = process.communicate(timeout=300)[0].splitlines()
        assert process.returncode == 0
        return lines, Path(lines[-1].removeprefix("done "))

    _, straight = finish(start("straight"))
    for step, patience in ((2, 0.0), (6, 0.004), (9, 0.008), (13, 0.012), (18, 0.016)):
        with start("killed") as process:
            assert process.stdout is not None
            while process.stdout.readline().split()[:2] != ["train", str(step)]:
                pass
            time.sleep(patience)  # from within the checkpoint of the step to within the step after
            process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    lines, killed = finish(start("killed"))

    assert "Training continues from the checkpoint of step 1" in lines[0]
    assert killed.name == straight.name
    assert json.loads((killed / "fixture.json").read_text())["recipe"]["training"]["engine"] == "packed"
    assert_equal(straight, killed)
    read = [
        [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
        for folder in (straight, killed)
    ]
    assert comparable(read[0]) == comparable(read[1])
    assert [path.name for path in killed.parent.iterdir() if not path.name.startswith(".")] == [killed.name]
