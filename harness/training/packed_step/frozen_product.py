"""Products with the frozen weights of a model by oneDNN, where that is faster than the library that torch takes.

On an x86 CPU torch multiplies fp32 matrices by MKL, Intel's own library, which on an AMD EPYC with AVX512 takes a tenth
longer than oneDNN, and more for an output head; on an Intel Xeon oneDNN took longer in the backward pass. Both are in
torch; oneDNN's product is what torch.compile makes of a layer. In training nearly all products are with weights that
have no gradient, so that a layer needs no more than two of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FAST_KERNELS, FAST_MAKER = "AVX512", "AMD"
"""The CPUs where it is faster, by the beginnings of torch's names; with AVX2 the product of a gradient is slower."""


@contextmanager
def faster_products(model: Any) -> Iterator[None]:
    """Within the block the linear layers of a model whose weights are frozen fp32 on a CPU compute by oneDNN.

    Args:
        model: Model of transformers, with or without PEFT's layers; its other layers compute as before.
    """
    changed = []
    for module in model.modules() if is_faster_here() else ():
        weight = _frozen_weight(module)
        if weight is not None:
            module.forward = partial(_forward, module.forward, weight, module.bias)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def is_faster_here() -> bool:
    """Whether this CPU is known for it: what a training computes must not depend on a measurement."""
    import torch

    has_library = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    kernels, name = torch.backends.cpu.get_cpu_capability(), torch.cpu.get_capabilities().get("cpu_name", "")
    return has_library and kernels.startswith(FAST_KERNELS) and name.startswith(FAST_MAKER)


def _frozen_weight(module: Any) -> "torch.Tensor | None":
    """The weight of a linear layer, shape (n_outputs, n_inputs), if it is frozen fp32 on a CPU; else None."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if type(module) not in (torch.nn.Linear, Conv1D) or "forward" in vars(module):
        return None
    weight: torch.Tensor = module.weight
    if weight.requires_grad or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    return weight.t() if type(module) is Conv1D else weight


def _forward(
    original: Callable[..., Any], weight: "torch.Tensor", bias: "torch.Tensor | None", inputs: "torch.Tensor"
) -> Any:
    import torch

    if inputs.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return original(inputs)
    return _function().apply(inputs, weight, bias)


@cache
def _function() -> Any:
    """Inputs times W^T plus b of frozen W and b; the class is made once, when torch is there."""
    import torch

    def product(inputs: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None") -> "torch.Tensor":
        rows = inputs.reshape(-1, inputs.shape[-1])
        result = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # noqa: SLF001 - no public one
        # No view, as torch's own products end: LoRA's is added in place.
        shaped: torch.Tensor = torch.ops.aten._unsafe_view(result, (*inputs.shape[:-1], weight.shape[0]))  # noqa: SLF001
        return shaped

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, inputs: "torch.Tensor", weight: "torch.Tensor", bias: "torch.Tensor | None") -> Any:
            context.weight = weight  # no tensor of the graph: it is there anyway, and has no gradient
            return product(inputs, weight, bias)

        @staticmethod
        def backward(context: Any, *gradients: "torch.Tensor") -> Any:
            return product(gradients[0], context.weight.t(), None), None, None

    return Product
