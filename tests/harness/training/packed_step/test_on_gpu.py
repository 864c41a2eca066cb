"""Training in packs on a GPU: FlexAttention, half precision, and the numbers of TRL's padded batches."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.base import LoadedModel
from harness.training.packed_step.check import check_packed_step
from harness.training.recipe import EncodedRows, LogLine, Recipe
from suites.inputs import Request

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU here"),
]


def pairs_of_many_lengths(n_pairs: int) -> list[list[Request]]:
    """Both answers to prompts of many lengths."""
    drawn = torch.Generator().manual_seed(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 64, (length,), generator=drawn).tolist())

    prompts = [ids(5 + number) for number in range(n_pairs)]
    return [[Request(prompt, ids(3 + side)) for side in (0, 2)] for prompt in prompts]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Mistral"])
def test_packs_agree_with_padded_batches(family: str, dtype: torch.dtype, fused: Callable[..., Any]) -> None:
    """With block masks, windows and capped scores included, of heads that FlexAttention takes."""
    sizes = {"head_dim": 16, "hidden_size": 64} if family == "Gemma2" else {"hidden_size": 64}
    model = fused(family, **sizes).to("cuda", dtype)

    check = check_packed_step(model, pairs_of_many_lengths(12), padding=0)

    assert check.passed, str(check)
    assert check.kernel == "flex", str(check)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_training_has_the_losses_of_trl(
    dtype: str, wide_llama_folder: Path, load: Callable[..., LoadedModel],
    encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe, train: Callable[..., tuple[LogLine, ...]]
) -> None:  # fmt: skip
    """Step by step, up to the type's own rounding; selection rows are measured between steps."""
    losses = {}
    for engine in ("trl", "packed"):
        loaded = load(wide_llama_folder, dtype=dtype, device="cuda")
        run = replace(recipe.training, engine=engine, reference="every_step", eval_steps=2)
        few = replace(recipe, lora=replace(recipe.lora, dropout=0.0), training=run)
        log = train(loaded, encode(loaded), few, engine)
        losses[engine] = [line["loss"] for line in log if line["kind"] == "train"]

    assert losses["packed"] == pytest.approx(losses["trl"], abs=1e-4 if dtype == "float32" else 0.05)
    assert losses["packed"][0] == pytest.approx(0.6931, abs=1e-3)
