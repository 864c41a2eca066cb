"""NF4 on a CPU: keeps bitsandbytes from repacking weights, which would silently break every later gradient.

On a CPU with AVX512-BF16 the first evaluation forward of a `Linear4bit` rewrites its weight for a kernel that has no
gradient. It stays rewritten in training mode, nothing is raised and the loss still falls.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_REPACKING_SWITCH = "support_avx512bf16_for_cpu"


class RepackedWeightsError(RuntimeError):
    """4-bit weights cannot be, or were not, kept in the layout that has gradients: a fault of this program."""


def keep_unpacked(model: "torch.nn.Module") -> int:
    """Switch repacking off in every 4-bit layer; to be called right after loading, before any forward.

    Returns:
        How many layers there are.

    Raises:
        RepackedWeightsError: this version of bitsandbytes knows no such switch.
    """
    layers = _linear_4bit_layers(model)
    for name, layer in layers:
        if _REPACKING_SWITCH not in vars(layer):
            raise RepackedWeightsError(
                f"{name}: this bitsandbytes has no '{_REPACKING_SWITCH}', so whether training would be right is "
                f"unknown; install the version that constraints.txt names"
            )
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def assert_unpacked(model: "torch.nn.Module") -> None:
    """Refuse to train on repacked weights.

    Looks at the flag that bitsandbytes sets today, at any attribute that could be its successor, and at the layout
    itself (two values a byte in one column), which no renaming hides.

    Raises:
        RepackedWeightsError: naming the first such layer.
    """
    for name, layer in _linear_4bit_layers(model):
        flags = [key for key, value in vars(layer.weight.quant_state).items() if "pack" in key and bool(value)]
        if flags or layer.weight.shape[-1] != 1:
            raise RepackedWeightsError(
                f"{name}: its 4-bit weight was repacked for evaluation ({', '.join(flags) or 'by its shape'}), "
                f"and would have no right gradients; load the model anew"
            )


def _linear_4bit_layers(model: "torch.nn.Module") -> list[tuple[str, Any]]:
    from bitsandbytes.nn import Linear4bit

    return [(name, module) for name, module in model.named_modules() if isinstance(module, Linear4bit)]
