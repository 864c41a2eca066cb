"""Bases in bfloat16 are trained under autocast: on a CPU as on a GPU."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.base import LoadedModel
from harness.training.recipe import EncodedRows, LogLine, Recipe
from harness.training.trl import HarnessTrainerMixin

Load = Callable[..., LoadedModel]
Encode = Callable[[LoadedModel], EncodedRows]
Train = Callable[..., tuple[LogLine, ...]]


@pytest.mark.parametrize("engine", ["packed", "trl"])
def test_an_adapter_is_float32_and_computes_in_bfloat16(
    engine: str, llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train,
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """No input of LoRA is cast to float32 in a step; weights and gradients are float32; the first loss is ln 2."""
    step, types = HarnessTrainerMixin.training_step, set()

    def watched(trainer: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        def note(_module: Any, inputs: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
            types.add(inputs[0].dtype)

        modules = [module for name, module in trainer.model.named_modules() if name.endswith("lora_dropout.default")]
        hooks = [module.register_forward_hook(note) for module in modules]
        loss = step(trainer, *arguments, **options)
        for hook in hooks:
            hook.remove()
        trained = [each for each in trainer.model.parameters() if each.requires_grad]
        assert {each.dtype for each in trained} == {each.grad.dtype for each in trained} == {torch.float32}
        return loss

    monkeypatch.setattr(HarnessTrainerMixin, "training_step", watched)
    loaded = load(llama_folder, dtype="bfloat16")
    run = replace(recipe.training, engine=engine, reference="every_step", max_steps=2, eval_steps=1)
    log = train(loaded, encode(loaded), replace(recipe, training=run))

    assert types == {torch.bfloat16}
    assert next(line["loss"] for line in log if line["kind"] == "train") == pytest.approx(0.693147, abs=1e-5)


def test_packs_have_the_losses_of_padded_batches(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """Up to what bfloat16 rounds, which the check has bounded by the padded batches' own spread."""
    logs = {}
    for engine in ("packed", "trl"):
        loaded = load(llama_folder, dtype="bfloat16")
        run = replace(recipe.training, engine=engine, reference="every_step", learning_rate=1e-3)
        how = replace(recipe, lora=replace(recipe.lora, dropout=0.0), training=run)
        logs[engine] = train(loaded, encode(loaded), how, engine)

    losses = {engine: [line["loss"] for line in log if line["kind"] == "train"] for engine, log in logs.items()}
    assert losses["packed"] == pytest.approx(losses["trl"], abs=0.02)
    assert "agrees with TRL's padded batches" in logs["packed"][-1]["packed_step_check"]
