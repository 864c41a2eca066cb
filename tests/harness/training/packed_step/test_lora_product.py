"""LoRA's product in place is PEFT's, forward and backward."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from harness.training.packed_step.lora_product import products_in_place


class Layers(torch.nn.Module):
    """Two layers, one of which is taken by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(12, 20)
        self.second = torch.nn.Linear(20, 7)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """One after the other."""
        hidden: torch.Tensor = self.second(torch.relu(self.first(inputs)))
        return hidden


def adapted(**settings: Any) -> Any:
    """Layers with LoRA whose second matrices are not 0."""
    torch.manual_seed(1)
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["first", "second"], init_lora_weights=False, **settings)
    return get_peft_model(Layers(), config).train()


def computed(model: Any, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output and all gradients, with the same noise of dropout each time."""
    model.zero_grad()
    inputs = inputs.clone().requires_grad_()
    torch.manual_seed(2)
    output = model(inputs)
    output.square().sum().backward()
    assert inputs.grad is not None
    slopes = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    return {"output": output.detach(), "inputs": inputs.grad, **slopes}


@pytest.mark.parametrize("settings", [{}, {"lora_dropout": 0.3}, {"use_rslora": True}])
@pytest.mark.parametrize("shape", [(9, 12), (1, 9, 12)])
def test_output_and_gradients_are_those_of_peft(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    """With dropout, another scale and inputs of either rank, for inputs and for both matrices."""
    model, inputs = adapted(**settings).double(), torch.randn(shape, dtype=torch.float64)
    plain = computed(model, inputs)
    with products_in_place(model):
        own = computed(model, inputs)
    assert own.keys() == plain.keys()
    assert len(own) == 6
    torch.testing.assert_close(own, plain, rtol=1e-6, atol=1e-6)


def test_peft_computes_again_after_the_block_and_with_the_adapter_off() -> None:
    """No layer keeps the way of the block, and without the adapter the base is what it was."""
    model, inputs = adapted(), torch.randn(4, 12)
    layers = [model.base_model.model.first, model.base_model.model.second]
    with products_in_place(model):
        assert all(len(layer.lora_variant) == 1 for layer in layers)
        with model.disable_adapter():
            torch.testing.assert_close(model(inputs), model.get_base_model()(inputs))
            off = model(inputs)
    assert not any(layer.lora_variant for layer in layers)
    with model.disable_adapter():
        assert torch.equal(model(inputs), off)


def test_other_kinds_of_adapters_compute_as_before() -> None:
    """DoRA is a variant of its own, and a bias of LoRA's is no product."""
    for settings in ({"use_dora": True}, {"lora_bias": True}):
        model, inputs = adapted(**settings), torch.randn(4, 12)
        layers = [model.base_model.model.first, model.base_model.model.second]
        before = [dict(layer.lora_variant) for layer in layers]
        plain = computed(model, inputs)
        with products_in_place(model):
            assert [dict(layer.lora_variant) for layer in layers] == before
            own = computed(model, inputs)
        assert all(torch.equal(own[name], plain[name]) for name in plain)


def test_a_base_of_fewer_bits_gets_peft_s_product() -> None:
    """Without autocast LoRA computes in its own type; with it in the base's, and gradients stay float32."""
    model, inputs = adapted(), torch.randn(4, 12)
    for layer in (model.base_model.model.first, model.base_model.model.second):
        layer.base_layer.bfloat16()
    for casts in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=casts):
            plain = computed(model, inputs.bfloat16())
            with products_in_place(model):
                own = computed(model, inputs.bfloat16())
        torch.testing.assert_close(own, plain, rtol=3e-2, atol=3e-2)
        assert own["base_model.model.first.lora_A.default.weight"].dtype == torch.float32
