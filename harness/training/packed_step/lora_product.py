"""Adds LoRA's product to what a layer of the base computed, in place, without a tensor of the layer's size in between.

PEFT computes it in three such tensors, forward and backward, which on a CPU takes a twentieth of a step. PEFT gives an
adapter's layer its own way to compute as a variant, of which DoRA is another; the check of packs finds where that no
longer holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def products_in_place(model: Any) -> Iterator[None]:
    """Within the block the plain LoRA layers of a model add their products in place.

    Args:
        model: Model with PEFT's layers; those of other kinds, or with a bias of LoRA's own, compute as before.
    """
    from peft.tuners.lora import LoraLayer

    changed = [
        (module, name)
        for module in model.modules()
        if isinstance(module, LoraLayer)
        for name in module.lora_A
        if name not in module.lora_variant
        if all(_is_plain(each[name]) for each in (module.lora_A, module.lora_B))
    ]
    for module, name in changed:
        module.lora_variant[name] = _variant()
    try:
        yield
    finally:
        for module, name in changed:
            module.lora_variant.pop(name, None)


def _is_plain(layer: Any) -> bool:
    import torch

    return type(layer) is torch.nn.Linear and layer.bias is None


@cache
def _variant() -> Any:
    """The way of a layer to compute; made once, when PEFT is there."""
    from peft.tuners.lora.layer import LoraVariant

    class InPlace(LoraVariant):  # type: ignore[misc]
        @staticmethod
        def forward(module: Any, active_adapter: str, x: "torch.Tensor", result: "torch.Tensor", **_: Any) -> Any:
            first, second = module.lora_A[active_adapter], module.lora_B[active_adapter]
            inputs, scaling = module.lora_dropout[active_adapter](x), module.scaling[active_adapter]
            # A base of fewer bits without autocast: PEFT computes in LoRA's type.
            if inputs.dtype != result.dtype or not result.is_contiguous():
                return result + (second(first(inputs)) * scaling).to(result.dtype)
            return _function().apply(result, inputs, first.weight, second.weight, scaling)

    return InPlace()


@cache
def _function() -> Any:
    """A result plus scaling x A^T B^T, of weights A and B; the class is made once, when torch is there."""
    import torch

    class AddProduct(torch.autograd.Function):
        @staticmethod
        def forward(
            context: Any,
            result: "torch.Tensor",
            inputs: "torch.Tensor",
            first: "torch.Tensor",
            second: "torch.Tensor",
            scaling: float,
        ) -> Any:
            rows, first, second = _rows(inputs), first.to(inputs.dtype), second.to(inputs.dtype)
            inner = rows @ first.t()  # (n_rows, rank)
            _rows(result).addmm_(inner, second.t(), alpha=scaling)
            context.save_for_backward(rows, inner, first, second)
            context.scaling, context.shape = scaling, inputs.shape
            context.mark_dirty(result)
            return result

        @staticmethod
        def backward(context: Any, *gradients: "torch.Tensor") -> Any:
            rows, inner, first, second = context.saved_tensors
            slopes = _rows(gradients[0])
            inner_slopes = (slopes @ second).mul_(context.scaling)
            of_inputs = (inner_slopes @ first).view(context.shape) if context.needs_input_grad[1] else None
            of_second = (slopes.t() @ inner).mul_(context.scaling)
            return gradients[0], of_inputs, inner_slopes.t() @ rows, of_second, None

    return AddProduct


def _rows(tensor: "torch.Tensor") -> "torch.Tensor":
    """The tensor as a matrix of its last axis, in the same memory where it is contiguous."""
    return tensor.reshape(-1, tensor.shape[-1])
