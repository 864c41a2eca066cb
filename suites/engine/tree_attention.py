"""Attention over a pack on a CPU: block of rows by block of rows, each with the keys alone that one of its rows sees.

In a prefix tree most of the mask is closed. A GPU leaves closed blocks out by FlexAttention; a CPU's kernel computes
them, at a tenth of a pack's whole time.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 128
"""Fewer make products too small, more have more rows that see different keys."""


@cache
def tree_attention() -> str:
    """Name under which transformers knows this kernel from the first call on; its masks are those of sdpa."""
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
    """The same as sdpa, shape (1, n_rows, heads, head size): keys that no row of a block sees are left out of it."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is None:  # a family that takes no mask of ours: for the self-check to find
        return sdpa_attention_forward(module, query, key, value, None, **options)  # type: ignore[no-any-return]
    outputs = []
    for start in range(0, query.shape[2], BLOCK_ROWS):
        rows, mask = query[:, :, start : start + BLOCK_ROWS], attention_mask[:, :, start : start + BLOCK_ROWS]
        seen = (mask[0, 0] == 0).any(0).nonzero().squeeze(1)
        keys, values = key.index_select(2, seen), value.index_select(2, seen)
        outputs.append(sdpa_attention_forward(module, rows, keys, values, mask.index_select(3, seen), **options)[0])
    return torch.cat(outputs, dim=1), None
