"""Weights go over several GPUs where one does not hold them, by arithmetic before anything is loaded."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.config.schema import ModelConfig
from harness.models import placement
from harness.models.base_files.folder import ModelError
from harness.models.placement import HELD, bytes_by_gpu, spread, weights_bytes
from suites.engine import plan
from suites.engine.causal_model import gpus_of
from suites.engine.memory import free_bytes
from suites.engine.plan import plan_for, plan_within

GIB = 2**30


def described(**changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=100, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, **changes
    )


def on_gpus(monkeypatch: pytest.MonkeyPatch, *free: int, own: int = 0) -> list[int | None]:
    """Pretends that there are GPUs with so much free memory; returns those that were asked."""
    asked: list[int | None] = []

    def free_of(gpu: int | None = None) -> tuple[int, int]:
        asked.append(gpu)
        return free[own if gpu is None else gpu], 80 * GIB

    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", free_of)
    return asked


def test_bytes_of_weights_are_those_that_are_loaded() -> None:
    """In half precision two a value; in NF4 about half a byte a value of every linear layer but the head."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(described())
    n_values = sum(weight.numel() for weight in model.parameters())
    in_layers = sum(weight.numel() for name, weight in model.named_parameters() if "_proj" in name)
    assert weights_bytes(model, 2, is_quantised=False) == 2 * n_values
    expected = 2 * (n_values - in_layers) + in_layers * (0.5 + 1 / 64 + 4 / 2**14)
    assert weights_bytes(model, 2, is_quantised=True) == pytest.approx(expected, abs=20)


def test_tied_weights_count_once() -> None:
    """The embeddings are the head."""
    from transformers import AutoModelForCausalLM

    tied, own = (AutoModelForCausalLM.from_config(described(tie_word_embeddings=each)) for each in (True, False))
    assert weights_bytes(own, 4, is_quantised=False) - weights_bytes(tied, 4, is_quantised=False) == 4 * 100 * 64


def test_each_gpu_keeps_room_to_compute() -> None:
    """Weights take a share of what is free on each."""
    assert spread(40 * GIB, [30 * GIB, 24 * GIB]) == {0: int(HELD * 30 * GIB), 1: int(HELD * 24 * GIB)}
    with pytest.raises(
        ModelError, match=r"^model.name: its weights take 44.0 GiB, more than 80% of the 54.0 GiB .* 2 GPUs"
    ):
        spread(44 * GIB, [30 * GIB, 24 * GIB])


@pytest.mark.parametrize(
    ("device", "free", "n_asked", "is_spread"),
    [
        ("auto", [GIB, GIB], 1, False),
        ("auto", [100_000, GIB], 3, True),
        ("cuda", [100_000, GIB], 0, False),
        ("auto", [100_000], 0, False),
    ],
)
def test_only_auto_looks_at_more_than_one_gpu(
    device: str, free: list[int], n_asked: int, is_spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only where the first one is too small: asking a GPU takes memory there."""
    asked = on_gpus(monkeypatch, *free)
    held = bytes_by_gpu(ModelConfig(device=device, quantization="none"), described(), "float32")
    assert (held is not None) == is_spread
    assert len(asked) == n_asked


def test_processes_that_train_together_do_not_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds the whole base on its own GPU, or one line says that it cannot."""
    on_gpus(monkeypatch, 100_000, GIB)
    monkeypatch.setattr(placement, "ranks", lambda: SimpleNamespace(n=2))
    with pytest.raises(ModelError, match=r"^model.name: its weights take .* each of 2 processes needs them on one GPU"):
        bytes_by_gpu(ModelConfig(quantization="none"), described(), "float32")


@pytest.mark.parametrize(
    ("places", "gpus"),
    [
        ({"": 0}, ()),
        ({"": "cuda"}, ()),
        ({"model.layers.0": 0, "model.layers.1": "cuda:2", "lm_head": torch.device("cuda:2")}, (0, 2)),
        (None, ()),
    ],
)
def test_the_gpus_of_a_model_are_those_of_its_map(places: dict[str, Any] | None, gpus: tuple[int, ...]) -> None:
    """However accelerate names them; a model on one device has no map to speak of."""
    assert gpus_of(SimpleNamespace(hf_device_map=places)) == gpus
    assert gpus_of(SimpleNamespace()) == ()


def test_free_memory_is_that_of_all_gpus_and_a_pack_fits_into_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that is spread is trained within the sum; each pack passes through every GPU."""
    on_gpus(monkeypatch, 8 * GIB, 2 * GIB)
    assert free_bytes("cuda", [0, 1]) == 10 * GIB
    assert free_bytes("cuda") == 8 * GIB
    model = SimpleNamespace(device=torch.device("cuda:0"), hf_device_map={"model": 0, "lm_head": 1}, config=described())
    assert plan_for(model) == plan_within("cuda", 2 * GIB, 64, is_spread=True)
    assert (plan_for(model).path, plan.plan_within("cuda", GIB, 64).path) == ("tree", "flex")
