"""4-bit weights keep the layout that has gradients, and a lapse is noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.base import LoadedModel
from harness.models.quantization import RepackedWeightsError, assert_unpacked, keep_unpacked

Load = Callable[..., LoadedModel]
TOKEN_IDS = torch.tensor([[1, 7, 42, 99, 5, 17, 23, 64]])


def linear_4bit_layers(model: torch.nn.Module) -> list[Any]:
    from bitsandbytes.nn import Linear4bit

    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def evaluate(model: torch.nn.Module) -> None:
    model.eval()
    with torch.no_grad():
        model(TOKEN_IDS)


def adapter_gradients(base: torch.nn.Module) -> torch.Tensor:
    """Gradients of a seeded LoRA adapter with both factors away from 0, as one vector."""
    import peft

    torch.manual_seed(3)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    model.train()
    model(input_ids=TOKEN_IDS, labels=TOKEN_IDS).loss.backward()
    return torch.cat([p.grad.float().flatten() for _, p in sorted(model.named_parameters()) if p.grad is not None])


def dequantized(quantized: torch.nn.Module, plain: torch.nn.Module) -> torch.nn.Module:
    """The same NF4 values in ordinary fp32 layers."""
    from bitsandbytes.functional import dequantize_4bit

    layers = dict(plain.named_modules())
    for name, module in quantized.named_modules():
        if any(module is layer for layer in linear_4bit_layers(quantized)):
            layers[name].weight.data = dequantize_4bit(module.weight.data, module.weight.quant_state).float()
    return plain


def cosine(left: torch.Tensor, right: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(left, right, dim=0))


@pytest.fixture
def packing_cpu() -> None:
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU has no AVX512-BF16, so bitsandbytes never repacks here")


@pytest.mark.parametrize("evaluated_first", [False, True])
def test_gradients_are_those_of_the_dequantised_weights(
    wide_llama_folder: Path, load: Load, evaluated_first: bool
) -> None:
    """NF4 gradients equal those of the same values in fp32, whether or not an evaluation ran before."""
    quantized = load(wide_llama_folder, quantization="nf4").base
    reference = adapter_gradients(dequantized(quantized, load(wide_llama_folder).base))
    if evaluated_first:
        evaluate(quantized)

    assert_unpacked(quantized)
    assert cosine(adapter_gradients(quantized), reference) > 0.999


@pytest.mark.usefixtures("packing_cpu")
def test_the_fault_shows_without_the_switch(wide_llama_folder: Path, load: Load) -> None:
    """With repacking left on, an evaluation breaks the gradients, and the guard refuses to train."""
    quantized = load(wide_llama_folder, quantization="nf4").base
    reference = adapter_gradients(dequantized(quantized, load(wide_llama_folder).base))
    for layer in linear_4bit_layers(quantized):
        layer.support_avx512bf16_for_cpu = True
    evaluate(quantized)

    with pytest.raises(RepackedWeightsError, match="packing_format_for_cpu"):
        assert_unpacked(quantized)
    assert cosine(adapter_gradients(quantized), reference) < 0.9


@pytest.mark.usefixtures("packing_cpu")
def test_a_renamed_flag_does_not_hide_the_layout(wide_llama_folder: Path, load: Load) -> None:
    """The guard sees repacked weights by their shape when bitsandbytes calls its flag otherwise."""
    quantized = load(wide_llama_folder, quantization="nf4").base
    for layer in linear_4bit_layers(quantized):
        layer.support_avx512bf16_for_cpu = True
    evaluate(quantized)
    for layer in linear_4bit_layers(quantized):
        del layer.weight.quant_state.packing_format_for_cpu

    with pytest.raises(RepackedWeightsError, match="by its shape"):
        assert_unpacked(quantized)


def test_a_successor_of_the_flag_is_seen(llama_folder: Path, load: Load) -> None:
    """Any attribute that speaks of packing counts."""
    quantized = load(llama_folder, quantization="nf4").base
    linear_4bit_layers(quantized)[0].weight.quant_state.is_packed_for_inference = True

    with pytest.raises(RepackedWeightsError, match="is_packed_for_inference"):
        assert_unpacked(quantized)


def test_a_renamed_switch_is_an_error(llama_folder: Path, load: Load) -> None:
    """A bitsandbytes whose layers have no such switch is refused rather than trusted."""
    quantized = load(llama_folder, quantization="nf4").base
    del linear_4bit_layers(quantized)[0].support_avx512bf16_for_cpu

    with pytest.raises(RepackedWeightsError, match=r"constraints\.txt"):
        keep_unpacked(quantized)


def test_every_projection_is_quantised_and_counted(llama_folder: Path, load: Load) -> None:
    """Seven projections in each of two layers."""
    assert keep_unpacked(load(llama_folder, quantization="nf4").base) == 14
    assert keep_unpacked(load(llama_folder).base) == 0
