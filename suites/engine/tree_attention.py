"""Attention over a pack on a CPU, block of rows by block of rows, each with only the keys that its rows see.

In a prefix tree most of the mask is closed. FlexAttention skips closed blocks on a GPU; a CPU's own kernel computes
them, which takes a tenth of a pack's time.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 128
"""Rows of a block: fewer make matrix products too small, more see more different keys."""


@cache
def tree_attention() -> str:
    """Registers this kernel with transformers and returns its name there; its masks are those of sdpa."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    name = "sdpa_of_visible_keys"
    AttentionInterface.register(name, _attend)
    AttentionMaskInterface.register(name, sdpa_mask)
    return name


def _attend(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    **options: Any,
) -> "tuple[torch.Tensor, None]":
    """The same as sdpa, shape (1, n_rows, heads, head size), without the keys that no row of a block sees."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is None:  # a family that drops our mask: the self-check finds it
        return sdpa_attention_forward(module, query, key, value, None, **options)  # type: ignore[no-any-return]
    outputs = []
    for start in range(0, query.shape[2], BLOCK_ROWS):
        rows, mask = query[:, :, start : start + BLOCK_ROWS], attention_mask[:, :, start : start + BLOCK_ROWS]
        seen = (mask[0, 0] == 0).any(0).nonzero().squeeze(1)
        keys, values = key.index_select(2, seen), value.index_select(2, seen)
        outputs.append(sdpa_attention_forward(module, rows, keys, values, mask.index_select(3, seen), **options)[0])
    return torch.cat(outputs, dim=1), None
