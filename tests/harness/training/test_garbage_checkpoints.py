"""A checkpoint that no training wrote is not continued from, though its hashes are right: the one before is."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.models.base import LoadedModel
from harness.training.checkpoints import MANIFEST_FILE
from harness.training.recipe import EncodedRows, LogLine, Progress, Recipe
from harness.training.resumable import _check_optimizer
from harness.training.trainer import Folders, train_adapter
from reports.checksums import file_checksum


class CutOffError(Exception):
    """What stops a run in these tests."""


def saved(content: object) -> bytes:
    """The content as torch writes it."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The trained weights."""
    return load_file(folder / "adapter_model.safetensors")


def changed(file: Path, **values: object) -> bytes:
    """A file of JSON with other values."""
    return json.dumps(json.loads(file.read_bytes()) | values).encode()


def optimizer(file: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """An optimiser's state after a change."""
    state = torch.load(file, weights_only=True)
    change(state)
    return saved(state)


def other_weights(file: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> bytes:
    """The weights after a change."""
    save_file(change(load_file(file)), file)
    return file.read_bytes()


def first_lost(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All weights but the first."""
    return dict([*tensors.items()][1:])


WELL_FORMED: dict[str, dict[str, Callable[[Path], bytes]]] = {
    "adapter_model.safetensors": {
        "one weight is missing": lambda file: other_weights(file, first_lost),
        "another shape": lambda file: other_weights(
            file, lambda tensors: {name: each.T.contiguous() for name, each in tensors.items()}
        ),
        "other names": lambda file: other_weights(
            file, lambda tensors: {f"x.{name}": each for name, each in tensors.items()}
        ),
    },
    "optimizer.pt": {
        "a list": lambda _: saved([1, 2]),
        "no state": lambda file: optimizer(file, lambda state: state.update(state={})),
        "moments of another shape": lambda file: optimizer(
            file, lambda state: state["state"][0].update(exp_avg=torch.zeros(3), exp_avg_sq=torch.zeros(3))
        ),
        "a text as learning rate": lambda file: optimizer(file, lambda state: state["param_groups"][0].update(lr="x")),
        "no such group": lambda file: optimizer(file, lambda state: state.update(param_groups=[])),
    },
    "scheduler.pt": {
        "a mapping of nothing": lambda _: saved({}),
        "of another step": lambda file: optimizer(file, lambda state: state.update(last_epoch=3)),
        "texts for numbers": lambda file: optimizer(file, lambda state: state.update(base_lrs=["a"])),
    },
    "rng_state.pth": {
        "a mapping of nothing": lambda _: saved({}),
        "short states": lambda _: saved({"python": (3, (1,), None), "numpy": None, "cpu": torch.zeros(3)}),
    },
    "trainer_state.json": {
        "a list": lambda _: b"[]",
        "texts for numbers": lambda file: changed(file, global_step="six"),
        "another step": lambda file: changed(file, global_step=2),
        "unknown keys": lambda file: changed(file, nonsense=1),
        "a mapping as log": lambda file: changed(file, log_history={}),
    },
    "recorder.json": {
        "a list": lambda _: b"[]",
        "rows of texts": lambda file: changed(file, rows=["a"]),
        "no threads": lambda file: changed(file, n_threads=0),
    },
}
"""File -> what it may hold that has its form and is of no training."""
GARBAGE: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda _: b"",
    "bytes": lambda _: b"\x80garbage",
    "depth": lambda _: b"[" * 100_000,
}
FIRST = [pytest.param(name, next(iter(kinds.values())), id=name) for name, kinds in WELL_FORMED.items()]
OTHERS = [
    pytest.param(name, make, id=f"{name}: {kind}", marks=pytest.mark.slow)
    for name, kinds in WELL_FORMED.items()
    for kind, make in [*[*kinds.items()][1:], *GARBAGE.items()]
]


@pytest.fixture(scope="module")
def longer(recipe: Recipe) -> Recipe:
    """Six steps with dropout, a checkpoint after every other."""
    training = replace(recipe.training, batch_size=4, max_steps=6, save_steps=2)
    return replace(recipe, training=training)


@pytest.fixture(scope="module")
def run(
    llama_folder: Path,
    load: Callable[..., LoadedModel],
    encode: Callable[[LoadedModel], EncodedRows],
    longer: Recipe,
) -> Callable[..., None]:
    """Trains the same adapter into a folder, with its checkpoints beside it."""
    loaded = load(llama_folder)
    rows = encode(loaded)

    def train_into(folder: Path, *, progress: Progress | None = None, say: Callable[[str], object] = str) -> None:
        train_adapter(loaded, rows, longer, Folders(folder / "adapter", folder / "checkpoints"), say, progress)

    return train_into


@pytest.fixture(scope="module")
def straight(run: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of an undisturbed training."""
    folder = tmp_path_factory.mktemp("straight")
    run(folder)
    return folder / "adapter"


@pytest.fixture(scope="module")
def cut_off(run: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves that ends at step 5: checkpoints of steps 2 and 4."""

    def stop(done: int, _n_steps: int, row: LogLine) -> None:
        if (done, row["kind"]) == (5, "train"):
            raise CutOffError

    folder = tmp_path_factory.mktemp("cut_off")
    with pytest.raises(CutOffError):
        run(folder, progress=stop)
    return folder


@pytest.fixture
def goes_on_from_the_one_before(
    run: Callable[..., None], straight: Path, cut_off: Path, tmp_path: Path
) -> Callable[..., list[str]]:
    """Spoils the newest checkpoint of a training that was cut off, and trains to the end; returns what was said."""

    def check(spoil: Callable[[Path], object]) -> list[str]:
        shutil.copytree(cut_off, tmp_path, dirs_exist_ok=True)
        newest = tmp_path / "checkpoints" / "step-00000004"
        spoil(newest)
        manifest = json.loads((newest / MANIFEST_FILE).read_bytes())
        files = {each.name: file_checksum(each) for each in newest.iterdir() if each.name != MANIFEST_FILE}
        (newest / MANIFEST_FILE).write_text(json.dumps(manifest | {"files": files}), encoding="utf-8")
        said: list[str] = []
        run(tmp_path, say=said.append)

        for name, expected in weights(straight).items():
            np.testing.assert_array_equal(weights(tmp_path / "adapter")[name], expected)
        assert said[-2].startswith("The checkpoint of step 4 is damaged (")
        assert said[-2].endswith(") and is not used.")
        assert "\n" not in said[-2]
        assert said[-1] == "Training continues from the checkpoint of step 2."
        return said

    return check


@pytest.mark.parametrize(("name", "make"), [*FIRST, *OTHERS])
def test_a_file_that_no_training_wrote_costs_steps_alone(
    name: str, make: Callable[[Path], bytes], goes_on_from_the_one_before: Callable[..., list[str]]
) -> None:
    """Whatever one file holds, the line names it, and the adapter is that of an undisturbed training, bit for bit."""

    def spoil(checkpoint: Path) -> None:
        (checkpoint / name).write_bytes(make(checkpoint / name))

    said = goes_on_from_the_one_before(spoil)

    assert name in said[-2]


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_that_lacks_a_file_is_not_continued_from(
    name: str, goes_on_from_the_one_before: Callable[..., list[str]]
) -> None:
    """The library would begin that part anew without a word, and end with another adapter."""
    said = goes_on_from_the_one_before(lambda checkpoint: (checkpoint / name).unlink())

    assert f"it lacks {name}" in said[-2]


def test_other_names_in_the_folder_are_left_alone(run: Callable[..., None], tmp_path: Path) -> None:
    """A folder that is numbered otherwise is no checkpoint, and a file that is numbered like one is damaged."""
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "step-best").mkdir(parents=True)
    (checkpoints / "step-00000009").write_text("a file")
    said: list[str] = []

    run(tmp_path, say=said.append)

    assert len(said) == 1
    assert "checkpoint of step 9 is damaged" in said[0]
    assert (checkpoints / "step-best").is_dir()


def test_a_weight_that_had_no_gradient_yet_has_no_moments(tmp_path: Path) -> None:
    """As those of an expert that no token was sent to: its checkpoint is none of another training."""
    never, trained = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))
    adamw, file = torch.optim.AdamW([never, trained]), tmp_path / "optimizer.pt"
    trained.grad = torch.ones(3)
    adamw.step()
    torch.save(adamw.state_dict(), file)
    _check_optimizer(file, adamw)

    file.write_bytes(optimizer(file, lambda state: state["state"].update({7: state["state"][1]})))
    with pytest.raises(ValueError, match="not the state of this training's optimiser"):
        _check_optimizer(file, adamw)
