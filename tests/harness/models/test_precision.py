"""What products are computed in follows from what the device can do, and is told when it is slow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models import precision
from harness.models.base import LoadedModel
from harness.models.precision import (
    advice_on,
    choose_compute_dtype,
    choose_dtype,
    cpu_multiplies_bfloat16,
    slowdown,
    why_compute_dtype,
)
from harness.models.provenance import score_context

Load = Callable[..., LoadedModel]


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What the CPU says it can do, as a mapping that a test fills; no variable limits it."""
    can: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    return can


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(
    instructions: str, capabilities: dict[str, bool]
) -> None:
    """AVX512-BF16, AMX or ARM's; without them, with AVX512 alone too, 4-bit layers compute in float32."""
    capabilities.update(avx2=True, avx512_f=True)
    assert choose_compute_dtype("auto", "cpu") == "float32"

    capabilities[instructions] = True
    assert choose_compute_dtype("auto", "cpu") == "bfloat16"
    assert choose_dtype("auto", "cpu") == "float32"  # of the weights that are not quantised


def test_without_onednn_there_is_no_fast_bfloat16(
    capabilities: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Mac's CPU has the instructions, and its torch no kernel that uses them."""
    capabilities["bf16"] = True
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)

    assert choose_compute_dtype("auto", "cpu") == "float32"


@pytest.mark.parametrize(
    ("variable", "value", "is_fast"),
    [
        ("ONEDNN_MAX_CPU_ISA", "AVX2", False),
        ("ONEDNN_MAX_CPU_ISA", "sse41", False),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", False),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", True),
        ("ONEDNN_MAX_CPU_ISA", "ALL", True),
        ("DNNL_MAX_CPU_ISA", "AVX2", False),
        ("ATEN_CPU_CAPABILITY", "avx2", False),
        ("ATEN_CPU_CAPABILITY", "default", False),
        ("ATEN_CPU_CAPABILITY", "avx512", True),
    ],
)
def test_variables_that_make_an_older_cpu_of_it_are_heeded(
    variable: str, value: str, is_fast: bool, capabilities: dict[str, bool]
) -> None:
    """Torch then emulates bfloat16, whatever the CPU could do."""
    capabilities["avx512_bf16"] = True

    assert cpu_multiplies_bfloat16({variable: value}) == is_fast


def test_a_gpu_computes_in_the_half_precision_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16, or float16 on an older one."""
    for has_bfloat16, dtype in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_a, answer=has_bfloat16, **_k: answer)
        assert choose_compute_dtype("auto", "cuda") == dtype
        assert choose_dtype("auto", "cuda") == dtype
    assert choose_compute_dtype("auto", "mps") == "bfloat16"


def test_what_is_asked_for_is_what_is_taken() -> None:
    """A type that is named wins on every device."""
    for dtype in ("float32", "bfloat16", "float16"):
        assert choose_compute_dtype(dtype, "cpu") == choose_dtype(dtype, "cpu") == dtype


def test_the_reason_is_one_sentence(capabilities: dict[str, bool]) -> None:
    """It names the type, and the configuration or the device that decided."""
    assert why_compute_dtype("float16", "cpu") == "4-bit layers compute in float16, as model.compute_dtype says."
    assert why_compute_dtype("auto", "cpu").endswith(
        "float32, since bfloat16 is not multiplied in hardware on this CPU as it is set up."
    )
    capabilities["amx_bf16"] = True
    assert why_compute_dtype("auto", "cpu").endswith("in bfloat16, which this CPU multiplies in hardware.")


def test_what_is_slow_is_told_with_its_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type twice as slow as float32 gets a line with what to type; a fast one, and float32, none."""
    seconds = {"float32": 0.001, "bfloat16": 0.15, "float16": 0.0005}
    monkeypatch.setattr(precision, "_product_seconds", lambda dtype, _device: seconds[dtype])

    assert advice_on("dtype", "bfloat16", "cpu") == (
        "bfloat16 is slow on this CPU: a product takes 150 times as long as in float32; -o model.dtype=auto chooses "
        "a fast type"
    )
    assert advice_on("dtype", "float16", "cpu") == advice_on("dtype", "float32", "cpu") == ""


def test_a_product_is_really_timed() -> None:
    """float32 is the measure; another type takes some time of its own."""
    assert slowdown("float32", "cpu") == 1.0
    assert slowdown("bfloat16", "cpu") > 0


def test_a_slow_type_that_was_asked_for_is_noted_on_loading(
    llama_folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model loads as it was asked for, with a line; what auto chose gets none."""
    monkeypatch.setattr("harness.models.base.advice_on", lambda key, dtype, _device: f"{key} {dtype} is slow")

    assert load(llama_folder, dtype="bfloat16").notes == ["model.dtype: dtype bfloat16 is slow."]
    assert load(llama_folder).notes == []
    asked = load(llama_folder, quantization="nf4", dtype="bfloat16", compute_dtype="float16")
    assert asked.notes == [
        "4-bit layers compute in float16, as model.compute_dtype says.",
        "model.dtype: dtype bfloat16 is slow.",  # of the head, for one
        "model.compute_dtype: compute_dtype float16 is slow.",
    ]


def layer_types(model: Any) -> set[torch.dtype]:
    from bitsandbytes.nn import Linear4bit

    return {module.compute_dtype for module in model.modules() if isinstance(module, Linear4bit)}


def test_the_type_reaches_the_layers_and_the_keys_of_scores(llama_folder: Path, load: Load) -> None:
    """Two models that differ in it alone compute differently, and share no score."""
    exact, half = (load(llama_folder, quantization="nf4", compute_dtype=name) for name in ("float32", "bfloat16"))

    assert (layer_types(exact.base), layer_types(half.base)) == ({torch.float32}, {torch.bfloat16})
    assert (exact.compute_dtype, half.compute_dtype) == ("float32", "bfloat16")
    assert score_context(exact, "baseline") != score_context(half, "baseline")
    assert load(llama_folder, dtype="bfloat16").compute_dtype == "bfloat16"  # unquantised: the weights' own
