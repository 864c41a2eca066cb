"""Where the weights of a base go: onto one device, or over several GPUs in turn where the first one does not hold them.

By arithmetic, before anything is loaded. The layers of a spread base compute one after another, each on its own GPU.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

from harness.config.schema import ModelConfig
from harness.models.base_files.config import without_memory
from harness.models.base_files.folder import ModelError
from harness.processes import ranks

HELD = 0.8
"""Share of a GPU's free memory that weights may take; the rest is for what is computed with them."""
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a value in NF4 with double quantisation: itself, its block's scale in a byte, 256 blocks' scale in fp32
(section 3 of https://arxiv.org/abs/2305.14314)."""
_GIB = 2**30


def bytes_by_gpu(config: ModelConfig, described: Any, dtype: str) -> dict[int, int] | None:
    """Return how many bytes of weights each visible GPU may hold; None where one device holds them all.

    Args:
        config: the configuration of the experiment; only `auto` looks at more than one GPU.
        described: transformers' configuration of the base.
        dtype: type of the weights that are not quantised.

    Raises:
        ModelError: the GPUs do not hold the base together, or several processes want it on one GPU each.
    """
    import torch

    n_gpus = torch.cuda.device_count()
    if config.device != "auto" or n_gpus == 1:
        return None
    n_bytes = weights_bytes(without_memory(described), getattr(torch, dtype).itemsize, config.quantization == "nf4")
    n_free = torch.cuda.mem_get_info()[0]
    if holds(n_free, n_bytes):  # asking the others takes memory on each of them
        return None
    if ranks().n > 1:
        raise ModelError(
            f"{_needed(n_bytes)}, and each of {ranks().n} processes needs them on one GPU of its own, where {HELD:.0%} "
            f"of {n_free / _GIB:.1f} GiB are for weights: quantise them (model.quantization=nf4), start one process "
            f"without a launcher, which spreads them over all GPUs, or set model.device=cuda to try"
        )
    return spread(n_bytes, [torch.cuda.mem_get_info(gpu)[0] for gpu in range(n_gpus)])


def weights_bytes(model: Any, bytes_per_value: int, is_quantised: bool) -> int:
    """Return the bytes of a model's weights once they are loaded.

    Args:
        model: a causal language model of transformers, also without memory for its values.
        bytes_per_value: bytes of a value that is not quantised.
        is_quantised: whether its linear layers are in NF4, all but the output head.
    """
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    head, counted, total = model.get_output_embeddings(), set[int](), 0
    for module in model.modules():
        in_nf4 = is_quantised and isinstance(module, Linear | Conv1D) and module is not head
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in counted:  # tied ones are one
                counted.add(id(weight))
                total += ceil(weight.numel() * (_NF4_BYTES if in_nf4 and name == "weight" else bytes_per_value))
    return total


def holds(n_free: int, n_bytes: int) -> bool:
    """Return whether a GPU with so many free bytes holds weights of so many bytes, and room to compute with them."""
    return n_bytes <= HELD * n_free


def spread(n_bytes: int, free: Sequence[int]) -> dict[int, int]:
    """Return the bytes of weights that each GPU may hold where one GPU does not hold them.

    Args:
        n_bytes: bytes of the weights.
        free: bytes that are free on each visible GPU.

    Raises:
        ModelError: all GPUs together do not hold them.
    """
    if not holds(sum(free), n_bytes):
        raise ModelError(
            f"{_needed(n_bytes)}, more than {HELD:.0%} of the {sum(free) / _GIB:.1f} GiB that are free on {len(free)} "
            f"GPUs: choose a smaller base, quantise it (model.quantization=nf4), or set model.device=cpu"
        )
    return {gpu: int(HELD * n_free) for gpu, n_free in enumerate(free)}


def line_on_spread(n_gpus: int) -> str:
    """Return a line on a base that lies on several GPUs."""
    return f"The base is spread over {n_gpus} GPUs, because one does not hold it; they compute its layers in turn."


def _needed(n_bytes: int) -> str:
    return f"model.name: its weights take {n_bytes / _GIB:.1f} GiB"
