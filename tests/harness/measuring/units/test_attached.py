"""Adapters stay on the base of a process from one unit to the next, and no unit can tell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.measuring.units.attached import Attached
from harness.models.adapter_files.folder import AdapterError
from harness.models.adapters import attach_adapter, probe_logits
from harness.models.base import LoadedModel

Load = Callable[..., LoadedModel]
Write = Callable[..., Path]


@pytest.fixture
def write(llama_folder: Path, tmp_path: Path) -> Write:
    """Writes an adapter of the Llama by PEFT alone, with both factors away from 0."""
    import peft
    from transformers import AutoModelForCausalLM

    def write_adapter(name: str, **settings: Any) -> Path:
        torch.manual_seed(len(name))
        base = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
        config = peft.LoraConfig(**{"r": 2, "target_modules": ["q_proj"], "init_lora_weights": False} | settings)
        peft.PeftModelForCausalLM(base, config).save_pretrained(tmp_path / name, save_embedding_layers=False)
        return tmp_path / name

    return write_adapter


def alone(loaded: LoadedModel, folder: Path) -> torch.Tensor:
    """Logits with one adapter on a base of its own."""
    Attached().put_on(loaded, {"it": folder})
    return probe_logits(loaded, "it")


def test_an_adapter_is_attached_once(
    llama_folder: Path, load: Load, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units of three subjects in turn attach two adapters, whose logits are as if each were alone."""
    loaded, here = load(llama_folder), Attached()
    folders = {"one": write("one"), "other": write("another")}
    calls: list[str] = []

    def attach(base: LoadedModel, name: str, path: str) -> list[str]:
        calls.append(name)
        return attach_adapter(base, name, path)

    monkeypatch.setattr("harness.measuring.units.attached.attach_adapter", attach)
    before = probe_logits(loaded)

    for _ in range(2):
        for name, folder in folders.items():
            here.put_on(loaded, {name: folder})
        here.put_on(loaded, {})

    assert calls == ["one", "other"]
    assert torch.equal(probe_logits(loaded), before)
    for name, folder in folders.items():
        assert torch.equal(probe_logits(loaded, name), alone(load(llama_folder), folder))
    here.take_off(loaded)
    assert loaded.adapters is None
    assert torch.equal(probe_logits(loaded), before)


def test_a_name_stands_for_the_folder_of_the_unit(llama_folder: Path, load: Load, write: Write) -> None:
    """An adapter of another folder takes the place of one of its name."""
    loaded, here, second = load(llama_folder), Attached(), write("second")
    here.put_on(loaded, {"it": write("first")})
    here.put_on(loaded, {"it": second})
    assert torch.equal(probe_logits(loaded, "it"), alone(load(llama_folder), second))


def test_what_fails_halfway_leaves_nothing_on_the_base(
    llama_folder: Path, load: Load, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, the next unit of that subject begins anew."""
    loaded, here, folder = load(llama_folder), Attached(), write("it")

    def attach(base: LoadedModel, name: str, path: str) -> list[str]:
        attach_adapter(base, name, path)
        raise RuntimeError("a probe that failed")

    with monkeypatch.context() as patch:
        patch.setattr("harness.measuring.units.attached.attach_adapter", attach)
        with pytest.raises(RuntimeError, match="a probe that failed"):
            here.put_on(loaded, {"it": folder})

    assert loaded.adapters is None
    here.put_on(loaded, {"it": folder})
    assert torch.equal(probe_logits(loaded, "it"), alone(load(llama_folder), folder))


def test_an_adapter_that_cannot_lie_beside_one_of_another_unit_is_measured(
    llama_folder: Path, load: Load, write: Write
) -> None:
    """Two ways of changing one module clash within a unit, and not between two."""
    factors, whole = write("factors", target_modules=["lm_head"]), write("whole", modules_to_save=["lm_head"])
    loaded, here = load(llama_folder), Attached()
    here.put_on(loaded, {"factors": factors})
    here.put_on(loaded, {"whole": whole})
    assert torch.equal(probe_logits(loaded, "whole"), alone(load(llama_folder), whole))

    with pytest.raises(AdapterError, match="changes lm_head in another way"):
        here.put_on(loaded, {"factors": factors, "whole": whole})
    assert loaded.adapters is None
    here.put_on(loaded, {"whole": whole})
    assert torch.equal(probe_logits(loaded, "whole"), alone(load(llama_folder), whole))
