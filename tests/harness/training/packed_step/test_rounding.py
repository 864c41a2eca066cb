"""What packs round otherwise than padded batches: no more than those are wrong by, or differ from themselves."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import N_VOCABULARY

from harness.models.base import LoadedModel
from harness.training import trainer, trl
from harness.training.packed_step.budget import Budget
from harness.training.packed_step.check import _batch, _Computed, _computed
from harness.training.packed_step.forward import packed_forward
from harness.training.recipe import EncodedRows, Recipe
from harness.training.trainer import Folders
from suites.engine.encoding import Encoder
from suites.inputs import Pair, Request, Turn

WORDS = ("the", "watermelon", "seeds", "pass", "through", "your", "trophy", "because", "it", "is", "too", "large")


def requests(n_pairs: int) -> list[Request]:
    """Both answers to prompts, all of many lengths."""
    drawn = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(drawn.randrange(3, N_VOCABULARY) for _ in range(drawn.randint(low, high)))

    prompts = [ids(3, 40) for _ in range(n_pairs)]
    return [Request(prompt, ids(1, 30)) for prompt in prompts for _ in range(2)]


def in_float64(model: Any, batch: dict[str, torch.Tensor]) -> _Computed:
    """What `_computed` gives, in double precision and by the definition."""
    weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    chosen = logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    sums = (chosen * (labels >= 0)).sum(-1)
    signs = torch.tensor([1.0, -0.5]).repeat(len(sums) // 2)
    gradients = torch.autograd.grad((sums * signs).sum(), list(weights.values()))
    return _Computed(sums.detach(), dict(zip(weights, gradients, strict=True)))


@pytest.mark.parametrize("family", ["Llama", "GPT2", "Qwen3"])
def test_gradients_are_as_exact_as_those_of_padded_batches(family: str, fused: Callable[..., Any]) -> None:
    """Held against float64, over all tensors together."""
    model = fused(family)
    groups = [requests(8)]
    plain = _computed(model, groups, padding=0)
    with packed_forward(model.get_base_model(), Budget(4096)):
        packed = _computed(model, groups, padding=0)
    exact = in_float64(model.double(), _batch(groups[0], 0, 0, "cpu"))

    def error(found: _Computed) -> float:
        differences = [(found.gradients[name] - slope).norm() for name, slope in exact.gradients.items()]
        return float(torch.stack(differences).norm() / torch.stack([*map(torch.norm, exact.gradients.values())]).norm())

    assert error(plain) < 1e-5
    assert error(packed) < 1.5 * error(plain)


@pytest.fixture
def trained(
    llama_folder: Path, load: Callable[..., LoadedModel], recipe: Recipe, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> Callable[..., torch.Tensor]:  # fmt: skip
    """Trains on 24 drawn pairs for 20 steps of four, and returns the adapter as one vector, shape (n_weights,)."""
    options_of, make_trainer = trl._method_options, trainer.make_trainer

    def adapter(
        engine: str, n_rows: int, draw: int = 0, multiple: int | None = None,
        dtype: torch.dtype = torch.float32, reference: str | None = None
    ) -> torch.Tensor:  # fmt: skip
        drawn = random.Random(draw)

        def said(low: int, high: int) -> str:
            return " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(low, high)))

        def padded(run: Any) -> Any:
            config_class, options = options_of(run)
            return config_class, options | {"pad_to_multiple_of": multiple}

        def in_dtype(*arguments: Any) -> Any:
            made = make_trainer(*arguments)
            made.model.to(dtype)
            return made

        monkeypatch.setattr(trl, "_method_options", padded)
        monkeypatch.setattr(trainer, "make_trainer", in_dtype)
        pairs = [Pair(str(n), str(n), "", (Turn("user", said(2, 30)),), said(1, 25), said(1, 25)) for n in range(24)]
        loaded = load(llama_folder)
        run = replace(
            recipe.training,
            engine=engine,
            reference=reference or ("every_step" if engine == "trl" else "once"),
            batch_size=n_rows,
            gradient_accumulation_steps=4 // n_rows,
            max_steps=20,
        )
        rows = EncodedRows(Encoder(loaded.tokenizer, max_prompt_tokens=100, max_tokens=200).encode_pairs(pairs))
        how = replace(recipe, lora=replace(recipe.lora, dropout=0.0), training=run)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        trainer.train_adapter(loaded, rows, how, Folders(folder, folder.with_suffix(".steps")), str)
        weights = load_file(folder / "adapter_model.safetensors")
        return torch.cat([weight.double().flatten() for _, weight in sorted(weights.items())])

    return adapter


def mean(distances: Iterable[float]) -> float:
    """The geometric one, because AdamW magnifies a rounding by what a single training's luck decides."""
    return float(np.exp(np.log([*distances]).mean()))


def show(distances: dict[str, list[float]]) -> None:
    """Prints the means that docs/performance.md has: `pytest -m slow -rP` with this file."""
    print({name: f"{mean(found):.2e}" for name, found in distances.items()})  # noqa: T201 - for people


@pytest.mark.slow
def test_twenty_steps_end_within_the_spread_of_trl(trained: Callable[..., torch.Tensor]) -> None:
    """Packed adapters are no further from TRL's than those, padded in other ways, are from each other, over six draws.

    TRL's rows are padded to the longest of four, of two, to their own length, or to a multiple of 16 or 64.
    """
    spreads: list[float] = []
    distances: dict[str, list[float]] = {"every_step": [], "once": []}
    for draw in range(6):
        padded = [trained("trl", n_rows, draw) for n_rows in (4, 2, 1)]
        padded += [trained("trl", 4, draw, multiple=multiple) for multiple in (16, 64)]
        spreads.append(max(float((one - other).norm()) for one, other in combinations(padded, 2)))
        for reference, found in distances.items():
            packed = trained("packed", 4, draw, reference=reference)
            found.append(mean(float((packed - each).norm()) for each in padded))

    show(distances | {"TRL's own": spreads})
    assert 0 < mean(distances["every_step"]) <= mean(spreads), (distances, spreads)
    assert 0 < mean(distances["once"]) <= mean(spreads), (distances, spreads)


@pytest.mark.slow
def test_twenty_steps_end_as_near_to_float64_as_trl(trained: Callable[..., torch.Tensor]) -> None:
    """On the mean of nine trainings each.

    A reference that is computed in every step shares the roundings of the policy, which then cancel in the loss.
    """
    ways = (("trl", "every_step"), ("packed", "every_step"), ("packed", "once"))
    distances: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for draw in range(3):
        exact = trained("trl", 4, draw, dtype=torch.float64)
        for (engine, reference), found in distances.items():
            adapters = (trained(engine, n_rows, draw, reference=reference) for n_rows in (1, 2, 4))
            found += [float((adapter - exact).norm()) for adapter in adapters]
    trl, every_step, once = map(mean, distances.values())
    show({" ".join(way): found for way, found in distances.items()})

    assert every_step < 2 * trl, distances
    assert once < 4 * trl, distances
