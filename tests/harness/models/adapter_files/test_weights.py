"""What an adapter's file of weights holds is looked at by name and shape, and what is wrong is named by its cause."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.models.adapter_files.folder import WEIGHTS_FILE, AdapterError
from harness.models.adapters import attach_adapter
from harness.models.base import LoadedModel

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def trained(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the Llama by PEFT alone."""
    import peft
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(llama_folder), config).save_pretrained(folder)
    return folder


def _emptied(tensors: Tensors) -> Tensors:
    return {name: torch.zeros(0) for name in tensors}


def _partly_emptied(tensors: Tensors) -> Tensors:
    return {name: torch.zeros(0) if "lora_B" in name else value for name, value in tensors.items()}


def _flattened(tensors: Tensors) -> Tensors:
    return {name: value.flatten() for name, value in tensors.items()}


def _compiled(tensors: Tensors) -> Tensors:
    return {name.replace("model.model.", "model._orig_mod.model."): value for name, value in tensors.items()}


def _sharded(tensors: Tensors) -> Tensors:
    return {name.replace("layers.", "_fsdp_wrapped_module.layers."): value for name, value in tensors.items()}


def _parallel(tensors: Tensors) -> Tensors:
    return {f"module.{name}": value for name, value in tensors.items()}


def _of_the_base(tensors: Tensors) -> Tensors:
    return {name.replace("lora_A.", ""): value for name, value in tensors.items() if "lora_A" in name}


def _of_state_dict(tensors: Tensors) -> Tensors:
    return {name.replace(".weight", ".default.weight"): value for name, value in tensors.items()}


def _of_whole_state_dict(tensors: Tensors) -> Tensors:
    quantised = torch.ones(4, 1, dtype=torch.uint8)
    own = {name.replace(".weight", ".tuned.weight"): value for name, value in tensors.items()}
    return own | {"base_model.model.model.layers.0.mlp.up_proj.base_layer.weight": quantised}


def _without_prefix(tensors: Tensors) -> Tensors:
    return {name.removeprefix("base_model.model."): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (
            _of_state_dict,
            r"was written from torch's state_dict\(\), .*lora_A\.default\.weight.*save_pretrained\(FOLDER\)",
        ),
        (_of_whole_state_dict, r"was written from torch's state_dict\(\), .*lora_A\.tuned\.weight"),
        (lambda tensors: _of_state_dict(_without_prefix(tensors)), r"was written from torch's state_dict\(\)"),
        (_without_prefix, r"do not begin with 'base_model\.model\.' .*save the adapter with PEFT's save_pretrained"),
        (_emptied, r"holds empty tensors, of shape \(0\): DeepSpeed ZeRO-3 saved it without gathering"),
        (_partly_emptied, r"holds empty tensors, of shape \(0\): DeepSpeed ZeRO-3"),
        (_flattened, "holds matrices as one line of numbers .*: FSDP saved a part of them"),
        (_compiled, r"hold '_orig_mod\.' .*, which torch\.compile writes"),
        (_sharded, r"hold '_fsdp_wrapped_module\.' .*, which FSDP writes"),
        (_parallel, r"hold 'module\.' .*, which data parallel training writes"),
        (_of_the_base, "holds no LoRA weights, but tensors such as"),
        (lambda _tensors: {}, "holds no tensors"),
    ],
)
def test_leftovers_of_training_are_named(
    spoil: Callable[[Tensors], Tensors], cause: str, trained: Path, tmp_path: Path, llama_folder: Path,
    load: Callable[..., LoadedModel],
) -> None:  # fmt: skip
    """By the program that left them, with what to do, and never as another base model's."""
    folder = Path(shutil.copytree(trained, tmp_path / "adapter"))
    save_file(spoil(load_file(folder / WEIGHTS_FILE)), folder / WEIGHTS_FILE)
    with pytest.raises(AdapterError, match=cause) as caught:
        attach_adapter(load(llama_folder), "tuned", str(folder))
    assert "another base" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a pointer of Git LFS"),
        (b"PK\x03\x04 a pickle", "cannot be read .* damaged"),
        (b"", "cannot be read .* damaged"),
        (b"\xff" * 64, "cannot be read .* damaged"),
        (json.dumps({"a": 1}).encode(), "cannot be read .* damaged"),
    ],
)
def test_a_file_of_another_form_is_one_line(
    content: bytes, cause: str, trained: Path, tmp_path: Path, llama_folder: Path, load: Callable[..., LoadedModel]
) -> None:
    """A pointer, a pickle by the name of safetensors, nothing at all."""
    folder = Path(shutil.copytree(trained, tmp_path / "adapter"))
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(AdapterError, match=cause) as caught:
        attach_adapter(load(llama_folder), "tuned", str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "shown"),
    [
        (torch.int8, "int8"), (torch.uint8, "uint8"), (torch.uint16, "uint16"), (torch.int64, "int64"),
        (torch.bool, "bool"), (torch.complex64, "complex64"), (torch.float8_e4m3fn, "float8"),
        (torch.float8_e5m2, "float8"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("n_tensors", [1, 99])
def test_weights_of_other_types_are_refused_by_name(
    dtype: torch.dtype, shown: str, n_tensors: int, trained: Path, tmp_path: Path, llama_folder: Path,
    load: Callable[..., LoadedModel],
) -> None:  # fmt: skip
    """One tensor or all of them, which PEFT would copy number by number."""
    folder = Path(shutil.copytree(trained, tmp_path / "adapter"))
    tensors = load_file(folder / WEIGHTS_FILE)
    tensors |= {name: tensors[name].to(dtype) for name in sorted(tensors)[:n_tensors]}
    save_file(tensors, folder / WEIGHTS_FILE)
    loaded = load(llama_folder)
    named = rf"holds {min(tensors)} as {shown}, and weights must be float16, bfloat16, float32 or float64"
    with pytest.raises(AdapterError, match=named) as caught:
        attach_adapter(loaded, "tuned", str(folder))
    assert "\n" not in str(caught.value)
    assert loaded.adapters is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_weights_of_floating_types_are_measured(
    dtype: torch.dtype, trained: Path, tmp_path: Path, llama_folder: Path, load: Callable[..., LoadedModel]
) -> None:
    """In the type of the base's own weights."""
    folder = Path(shutil.copytree(trained, tmp_path / "adapter"))
    save_file({name: each.to(dtype) for name, each in load_file(folder / WEIGHTS_FILE).items()}, folder / WEIGHTS_FILE)
    loaded = load(llama_folder)
    attach_adapter(loaded, "tuned", str(folder))
    assert loaded.adapters is not None
