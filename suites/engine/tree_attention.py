"""Attention over a pack that leaves closed parts of the mask out, as in a prefix tree most of it is.

On a CPU block of rows by block of rows, each with only the keys that its rows see: a CPU's own kernel computes closed
parts, which takes a tenth of a pack's time. On a GPU FlexAttention skips closed blocks.
"""

from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 128
"""Rows of a block: fewer make matrix products too small, more see more different keys."""
SHORTEST_PADDED = 1024
"""Tokens to which a pack is padded at least within FlexAttention."""


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

    # None where a family drops our mask, which the self-check finds; a pack's is never boolean, as those of sdpa are.
    if attention_mask is None or attention_mask.dtype == torch.bool:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
    outputs = []
    for start in range(0, query.shape[2], BLOCK_ROWS):
        rows, mask = query[:, :, start : start + BLOCK_ROWS], attention_mask[:, :, start : start + BLOCK_ROWS]
        seen = (mask[0, 0] == 0).any(0).nonzero().squeeze(1)
        keys, values = key.index_select(2, seen), value.index_select(2, seen)
        outputs.append(sdpa_attention_forward(module, rows, keys, values, mask.index_select(3, seen), **options)[0])
    return torch.cat(outputs, dim=1), None


@cache
def padded_flex_attention() -> str:
    """Registers FlexAttention over packs of any length with transformers and returns its name there.

    Its masks are block masks of `padded_length` tokens, which the rest of the model does not compute.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import flex_attention_mask

    name = "flex_attention_of_padded_packs"
    AttentionInterface.register(name, _attend_padded)
    AttentionMaskInterface.register(name, flex_attention_mask)
    return name


def padded_length(n_tokens: int) -> int:
    """Length of a pack within FlexAttention: a power of two, because the kernel is compiled again for each length."""
    return max(SHORTEST_PADDED, 1 << (n_tokens - 1).bit_length())


def _attend_padded(
    _module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: Any,
    **options: Any,
) -> "tuple[torch.Tensor, None]":
    """The same as FlexAttention, shape (1, n_rows, heads, head size), of fewer rows than the mask has."""
    from torch.nn.functional import pad
    from transformers.integrations.flex_attention import flex_attention_forward

    n_rows = query.shape[2]
    padded = [pad(each, (0, 0, 0, attention_mask.shape[-1] - n_rows)) for each in (query, key, value)]
    # transformers reads the mode alone of a module, and compiles again whenever it changes, as it does for measuring.
    output = flex_attention_forward(SimpleNamespace(training=False), *padded, attention_mask, **options)[0]
    return output[:, :n_rows], None
