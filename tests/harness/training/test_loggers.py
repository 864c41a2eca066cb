"""Loggers are told of every step where they are asked for, and of nothing otherwise."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.models.base import LoadedModel
from harness.training.loggers import check_loggers
from harness.training.recipe import EncodedRows, LogLine, Recipe, TrainingError

Load = Callable[..., LoadedModel]
Encode = Callable[[LoadedModel], EncodedRows]
Train = Callable[..., tuple[LogLine, ...]]

WANDB = {
    "__init__.py": """
from . import errors
run, calls, refuses = None, [], False
config, summary = {}, {}

class Config(dict):
    def update(self, values, allow_val_change=False):
        super().update(values)

class Run:
    summary = {}
    def _label(self, **_): pass
    def finish(self, exit_code=0):
        global run
        run = None
        calls.append(("finish", exit_code))

def init(**settings):
    global run, config
    if refuses:
        raise errors.UsageError("api_key not configured (no-tty).\\ncall wandb.login")
    run, config = Run(), Config()
    calls.append(("init", settings))
    return run

def log(values): calls.append(("log", values))
def define_metric(*_, **__): pass
def termwarn(*_, **__): pass
""",
    "errors.py": "class Error(Exception): pass\nclass UsageError(Error): pass\n",
    "sdk/__init__.py": "",
    "sdk/lib/__init__.py": "",
    "sdk/lib/config_util.py": "class ConfigError(Exception): pass\n",
}
TENSORBOARD = {
    "__init__.py": """
import json
from pathlib import Path

class SummaryWriter:
    def __init__(self, log_dir):
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        self.file = (Path(log_dir) / "scalars.jsonl").open("a")
    def add_text(self, *_): pass
    def add_scalar(self, name, value, step):
        self.file.write(json.dumps([name, value, step]) + "\\n")
    def flush(self): self.file.flush()
    def close(self): self.file.close()
"""
}


def install(name: str, files: dict[str, str], folder: Path) -> None:
    for path, text in files.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of importable packages of this test alone."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if name.split(".")[0] in {"wandb", "tensorboardX"}:
            del sys.modules[name]


def reporting(recipe: Recipe, *names: str) -> Recipe:
    return replace(recipe, training=replace(recipe.training, report_to=names))


def test_wandb_gets_a_run_of_each_training(
    packages: Path, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """Begun under the training's own name, told loss and peak memory of every step, and ended before the next one."""
    install("wandb", WANDB, packages)
    loaded = load(llama_folder)
    for name in ("one", "two"):
        train(loaded, encode(loaded), reporting(recipe, "wandb"), name, logs=tmp_path / "logs" / name)
    import wandb

    kinds = [kind for kind, _ in wandb.calls]
    begun: list[dict[str, Any]] = [settings for kind, settings in wandb.calls if kind == "init"]
    steps = [values for kind, values in wandb.calls if kind == "log" and "train/loss" in values]
    assert [(each["id"], each["dir"]) for each in begun] == [
        ("one", str(tmp_path / "logs" / "one")),
        ("two", str(tmp_path / "logs" / "two")),
    ]
    assert kinds[0] == "init"
    assert kinds[kinds.index("finish") + 1] == "init"
    assert wandb.calls[-1] == ("finish", 0)
    assert [values["train/global_step"] for values in steps] == [1, 2, 3, 4] * 2
    assert all(values["train/peak_memory_bytes"] > 2**20 for values in steps)


def test_wandb_is_told_of_a_failure(
    packages: Path, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """The run of a training that stops is ended as failed."""
    install("wandb", WANDB, packages)
    loaded = load(llama_folder)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(loaded, encode(loaded), reporting(recipe, "wandb"), progress=stop)
    import wandb

    assert wandb.calls[-1] == ("finish", 1)


def test_wandb_that_cannot_begin_is_one_line(
    packages: Path, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """Without a key it says what to call."""
    install("wandb", WANDB | {"__init__.py": WANDB["__init__.py"].replace("False", "True", 1)}, packages)
    loaded = load(llama_folder)

    with pytest.raises(TrainingError, match=r"report_to: W&B cannot start a run \(api_key .*; call `wandb login`"):
        train(loaded, encode(loaded), reporting(recipe, "wandb"))


def test_tensorboard_gets_every_step(
    packages: Path, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """In the folder of this training's logs; nothing of the adapter or its checkpoints lies there."""
    install("tensorboardX", TENSORBOARD, packages)
    loaded = load(llama_folder)
    logs = tmp_path / "logs" / "one"

    rows = train(loaded, encode(loaded), reporting(recipe, "tensorboard"), logs=logs)

    files = [path for path in logs.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["scalars.jsonl"]
    scalars = [json.loads(line) for line in files[0].read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert [value for name, value, _ in scalars if name == "train/loss"] == losses
    assert len([value for name, value, _ in scalars if name == "train/peak_memory_bytes"]) == 4


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_missing_logger_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is computed."""
    monkeypatch.setattr("harness.training.loggers.find_spec", lambda _package: None)

    with pytest.raises(TrainingError, match=f"report_to: {name} is not installed; pip install {name}"):
        check_loggers((name,))


def test_nothing_is_reported_by_default(
    packages: Path, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """Even where a logger is installed."""
    install("wandb", WANDB, packages)
    loaded = load(llama_folder)

    train(loaded, encode(loaded), recipe)
    import wandb

    assert wandb.calls == []
