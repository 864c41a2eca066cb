"""What packs round otherwise than padded batches: no more than those are wrong by, or differ from themselves."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import N_VOCABULARY
from trl.trainer import dpo_trainer
from trl.trainer.utils import pad

from harness.config.schema import LoraConfig, TrainingConfig
from harness.data.read import embedded_folder
from harness.models.base import LoadedModel
from harness.training import trainer, trl
from harness.training.packed_step.budget import Budget
from harness.training.packed_step.check import _batch, _Computed, _computed
from harness.training.packed_step.forward import packed_forward
from harness.training.recipe import EncodedRows, Recipe
from harness.training.trainer import Folders
from suites.engine.encoding import Encoder
from suites.inputs import Pair, Request, Turn


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
    load: Callable[..., LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., torch.Tensor]:
    """Trains the embedded base on 80 drawn pairs in 20 steps; returns the adapter as one vector, shape (n_weights,)."""
    options_of, make_trainer = trl._method_options, trainer.make_trainer
    lines = (embedded_folder() / "preferences_train.jsonl").read_text().splitlines()

    def adapter(
        engine: str, draw: int, *, side: str = "right", multiple: int | None = None,
        dtype: torch.dtype = torch.float32, reference: str = "every_step"
    ) -> torch.Tensor:  # fmt: skip
        def padded(run: Any) -> Any:
            config_class, options = options_of(run)
            return config_class, options | {"pad_to_multiple_of": multiple}

        def in_dtype(*arguments: Any) -> Any:
            made = make_trainer(*arguments)
            made.model.to(dtype)
            return made

        monkeypatch.setattr(trl, "_method_options", padded)
        monkeypatch.setattr(trainer, "make_trainer", in_dtype)
        monkeypatch.setattr(
            dpo_trainer, "pad", lambda *arguments, **options: pad(*arguments, **options | {"padding_side": side})
        )
        pairs = [
            Pair(str(n), str(n), "", (Turn("user", row["prompt"]),), row["chosen"], row["rejected"])
            for n, row in enumerate(map(json.loads, random.Random(draw).sample(lines, 80)))
        ]
        loaded = load(Path("embedded"), dtype="float32")
        rows = EncodedRows(Encoder(loaded.tokenizer, max_prompt_tokens=128, max_tokens=256).encode_pairs(pairs))
        # AdamW's first update is by the signs of gradients alone, some of which roundings flip: it warms up.
        run = TrainingConfig(
            batch_size=4, learning_rate=1e-3, warmup_steps=1, max_steps=20, engine=engine, reference=reference
        )
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folders = Folders(folder, folder.with_suffix(".steps"))
        trainer.train_adapter(loaded, rows, Recipe(LoraConfig(dropout=0.0), run, seed=draw), folders, str)
        weights = load_file(folder / "adapter_model.safetensors")
        return torch.cat([weight.double().flatten() for _, weight in sorted(weights.items())])

    return adapter


@pytest.mark.slow
def test_twenty_steps_end_within_the_spread_of_trl(trained: Callable[..., torch.Tensor]) -> None:
    """Packs move TRL's adapter by less than padding on the left does, and to less than twice its distance from float64.

    Padding on the left shifts positions, whose angles round otherwise. In float64 are weights, products and sums; norms
    stay in fp32, as transformers has them.
    """
    distances: dict[str, list[float]] = {}
    for draw in range(3):
        own, exact = trained("trl", draw), trained("trl", draw, dtype=torch.float64)
        adapters = {
            "TRL": own,
            "right, 64": trained("trl", draw, multiple=64),
            "left, 384": trained("trl", draw, side="left", multiple=384),
            "every_step": trained("packed", draw),
            "once": trained("packed", draw, reference="once"),
        }
        for name, adapter in adapters.items():
            for place, other in (("TRL", own), ("float64", exact)):
                if adapter is not other:
                    share = float((adapter - other).norm() / own.norm())
                    distances.setdefault(f"{name} from {place}", []).append(share)
    # The geometric mean, because AdamW magnifies a rounding by what a single training's luck decides.
    means = {name: float(np.exp(np.log(found).mean())) for name, found in distances.items()}
    print({name: f"{mean:.1e}" for name, mean in means.items()})  # noqa: T201 - what docs/performance.md has

    for reference in ("every_step", "once"):
        assert 0 < means[f"{reference} from TRL"] <= means["left, 384 from TRL"], distances
        assert means[f"{reference} from float64"] <= 2 * means["TRL from float64"], distances
