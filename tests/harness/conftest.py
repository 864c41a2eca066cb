"""What these tests share: encoded pairs, a recipe, a Llama wide enough for 4-bit kernels, and the command line."""

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.config.schema import LoraConfig, ModelConfig, TrainingConfig
from harness.models.base import LoadedModel, load_model
from harness.training.recipe import EncodedRows, LogLine, Progress, Recipe
from harness.training.trainer import Folders, train_adapter
from suites.inputs import Pair, Turn


@pytest.fixture(scope="session")
def preference_pairs() -> list[Pair]:
    """Twelve pairs whose rejected answer is recognisable."""
    return [
        Pair(
            example_id=str(n),
            group=str(n),
            source="seeds",
            prompt=(Turn("user", f"What happens if you eat {n} watermelon seeds?"),),
            chosen=f"The {n} seeds pass through you.",
            rejected=f"You grow {n} watermelons in {n} days.",
        )
        for n in range(12)
    ]


@pytest.fixture(scope="session")
def load() -> Callable[..., LoadedModel]:
    """Loads a folder, unquantised unless told otherwise."""

    def load_folder(folder: Path, **settings: Any) -> LoadedModel:
        return load_model(ModelConfig(**({"name": str(folder), "quantization": "none"} | settings)))

    return load_folder


@pytest.fixture(scope="session")
def encode(preference_pairs: list[Pair]) -> Callable[[LoadedModel], EncodedRows]:
    """Eight training and four selection pairs in a model's own tokens."""
    from suites.engine.encoding import Encoder

    def encode_for(loaded: LoadedModel) -> EncodedRows:
        encoder = Encoder(loaded.tokenizer, max_prompt_tokens=64, max_tokens=128)
        encoded = encoder.encode_pairs(preference_pairs)
        return EncodedRows(training=encoded[:8], selection=encoded[8:])

    return encode_for


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., tuple[LogLine, ...]]:
    """Trains into a folder of the test's own, with its checkpoints beside it, silently unless a listener is given."""

    def train_into(
        loaded: LoadedModel,
        rows: EncodedRows,
        recipe: Recipe,
        name: str = "adapter",
        *,
        progress: Progress | None = None,
        say: Callable[[str], object] = str,
        **others: Path,
    ) -> tuple[LogLine, ...]:
        folders = Folders(tmp_path / name, tmp_path / f"{name}.checkpoints", **others)
        return train_adapter(loaded, rows, recipe, folders, say, progress)

    return train_into


@pytest.fixture(scope="session")
def imports_left_alone() -> Iterator[None]:
    """Keeps from every run what is half of a tiny one: collecting what the imports made, and looking for PEFT anew."""
    from accelerate.utils import imports
    from trl import DPOTrainer  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imports, "_is_package_available", cache(imports._is_package_available))
        gc.freeze()
        yield


@pytest.fixture(scope="session")
def recipe(imports_left_alone: None) -> Recipe:  # noqa: ARG001
    """Four steps that visibly move a tiny model, in packs, with dropout in the adapter."""
    training = TrainingConfig(batch_size=4, epochs=2, learning_rate=1e-2, engine="packed")
    return Recipe(LoraConfig(rank=4, dropout=0.1), training, seed=1)


@pytest.fixture(scope="session")
def wide_llama_folder(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose matrices have the sizes that the CPU's 4-bit inference kernel takes (multiples of 64)."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide_llama")
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line left behind."""

    exit_code: int
    out: str
    err: str


@pytest.fixture
def harness(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Calls the command line in this process, in an empty folder and without a data root of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_DATA_ROOT", raising=False)
    monkeypatch.setenv("HARNESS_THREADS", "1")

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            exit_code = 0
        except SystemExit as exit_:
            exit_code = int(exit_.code or 0)
        return Outcome(exit_code, *capsys.readouterr())

    return call
