"""Keep bitsandbytes on a CPU from repacking NF4 weights, which would make all later gradients wrong without an error.

On a CPU with AVX512-BF16 the first forward of a `Linear4bit` in evaluation mode rewrites its weight for a kernel that
has no gradient. The weight stays rewritten in training mode, no error is raised, and the loss still falls.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_REPACKING_SWITCH = "support_avx512bf16_for_cpu"


class RepackedWeightsError(RuntimeError):
    """4-bit weights are not in the layout that has gradients: a fault of this program, not of the user."""


def keep_unpacked(model: "torch.nn.Module") -> int:
    """Switch repacking off in every 4-bit layer; call it right after loading, before any forward.

    Returns:
        The number of 4-bit layers.

    Raises:
        RepackedWeightsError: this version of bitsandbytes has no such switch.
    """
    layers = _linear_4bit_layers(model)
    for name, layer in layers:
        if _REPACKING_SWITCH not in vars(layer):
            raise RepackedWeightsError(
                f"{name}: this version of bitsandbytes has no '{_REPACKING_SWITCH}', so gradients may be wrong; "
                f"install the version that constraints.txt names"
            )
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def quantised_in(model: "torch.nn.Module", compute_dtype: str) -> None:
    """Make layers that were stored in 4 bits compute in this type, as those that are quantised here do."""
    import torch

    for _, layer in _linear_4bit_layers(model):
        layer.compute_dtype = getattr(torch, compute_dtype)
        layer.compute_type_is_set = True


def assert_unpacked(model: "torch.nn.Module") -> None:
    """Check that no 4-bit weight was repacked.

    Checks the flag that bitsandbytes sets today, every attribute with a similar name, in case the flag is renamed, and
    the layout itself: two values per byte in one column.

    Raises:
        RepackedWeightsError: names the first repacked layer.
    """
    for name, layer in _linear_4bit_layers(model):
        flags = [key for key, value in vars(layer.weight.quant_state).items() if "pack" in key and bool(value)]
        if flags or layer.weight.shape[-1] != 1:
            raise RepackedWeightsError(
                f"{name}: its 4-bit weight was repacked for evaluation ({', '.join(flags) or 'by its shape'}), so its "
                f"gradients would be wrong; load the model again"
            )


def _linear_4bit_layers(model: "torch.nn.Module") -> list[tuple[str, Any]]:
    from bitsandbytes.nn import Linear4bit

    return [(name, module) for name, module in model.named_modules() if isinstance(module, Linear4bit)]
