"""Two trainings of the same inputs give the same bytes, in whatever process each of them ran."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config.schema import ModelConfig
from harness.models.adapter_files.folder import CONFIG_FILE, FIXTURE_FILE, GROUPS_FILE, WEIGHTS_FILE
from harness.models.base import LoadedModel, load_model
from harness.models.origin import origin_of_adapter
from harness.training.fixture import Workplace, build_or_reuse
from harness.training.recipe import EncodedRows, Recipe
from harness.training.resumable import POLICY, save_adapter

Encode = Callable[[LoadedModel], EncodedRows]
OF_THE_PROCESS = {"files", "max_tokens_at_once"}
"""What differs between two trainings and is no part of the adapter: hashes of the log, which has times, and memory."""


class Backwards(set[str]):
    """A set as a process with other hashes lists it."""

    def __iter__(self) -> Iterator[str]:
        """The other way round."""
        return iter(sorted(super().__iter__(), reverse=True))


def test_modules_are_written_in_order(llama_folder: Path, tmp_path: Path) -> None:
    """PEFT holds them as a set; the file, which scores are found by, has the same bytes however that is listed."""
    import peft

    loaded = load_model(ModelConfig(name=str(llama_folder), quantization="none"))
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    model = peft.get_peft_model(loaded.base, config)
    written = []
    for listing in (set, Backwards):
        model.peft_config[POLICY].target_modules = listing(model.peft_config[POLICY].target_modules)
        save_adapter(model, tmp_path)
        written.append((tmp_path / CONFIG_FILE).read_bytes())

    modules = json.loads(written[0])["target_modules"]
    assert len(modules) == 2 * 7  # layers and matrices
    assert modules == sorted(modules)
    assert written[0] == written[1]


def train_here(base: Path, rows: EncodedRows, recipe: Recipe, workspace: Path) -> Path:
    """Trains an adapter and returns its folder."""
    loaded = load_model(ModelConfig(name=str(base), quantization="none"))
    return build_or_reuse(loaded, rows, recipe, Workplace(workspace, print)).folder


@pytest.mark.slow
def test_processes_with_other_hashes_train_the_same_adapter(
    llama_folder: Path, encode: Encode, recipe: Recipe, tmp_path: Path
) -> None:
    """Its configuration, weights, groups and record are equal byte by byte, and so is the name of its folder."""
    import pickle

    loaded = load_model(ModelConfig(name=str(llama_folder), quantization="none"))
    inputs = tmp_path / "inputs.pickle"
    inputs.write_bytes(pickle.dumps((llama_folder, encode(loaded), recipe)))
    code = (
        "import pathlib, pickle, sys; from tests.harness.training.test_equal_trainings import train_here\n"
        "print(train_here(*pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), pathlib.Path(sys.argv[2])))"
    )
    folders = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(inputs), str(tmp_path / seed)],
            cwd=Path(__file__).parents[3], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        folders.append(Path(done.stdout.splitlines()[-1]))

    first, second = folders
    assert first.name == second.name
    for file in (CONFIG_FILE, WEIGHTS_FILE, GROUPS_FILE):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    records = [json.loads((folder / FIXTURE_FILE).read_text()) for folder in folders]
    assert len({json.dumps({k: v for k, v in record.items() if k not in OF_THE_PROCESS}) for record in records}) == 1
    assert origin_of_adapter(first).fingerprint == first.name
