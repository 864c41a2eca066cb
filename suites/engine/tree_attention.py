"""Attention over a pack that leaves closed parts of the mask out, as in a prefix tree most of it is.

On a CPU block of rows by block of rows, each with only the keys that its rows see: a CPU's own kernel computes closed
parts, which takes a tenth of a pack's time. Which keys those are is found once for all layers. Query heads that share
their keys (grouped-query attention, https://arxiv.org/abs/2305.13245) are rows beside each other, as decoding one token
does it, so that keys are not copied for each of them. On a GPU FlexAttention skips closed blocks.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 96
"""Rows of a block: fewer make matrix products too small, more see more different keys."""
MOST_HEADS_TOGETHER = 8
"""Query heads of a key head that are rows beside each other, at most: a block's mask is repeated for each of them."""
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
    """The same as sdpa, shape (n, n_rows, heads, head size), without the keys that no row of a block sees."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    # None where a family drops our mask, which the self-check finds; a pack's is never boolean, as those of sdpa are.
    if attention_mask is None or attention_mask.dtype == torch.bool:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
    n_sharing = query.shape[1] // key.shape[1]
    n_together = max(n for n in range(1, MOST_HEADS_TOGETHER + 1) if n_sharing % n == 0)
    rows = _moved_inward(query, n_together)  # (n, heads, n_rows x n_together, head size)
    queries = torch.split(rows, BLOCK_ROWS * n_together, dim=2)
    seen, masks = zip(*_blocks(attention_mask, n_together), strict=True)
    blocks = zip(queries, _selected(key, seen), _selected(value, seen), masks, strict=True)
    # transformers reads nothing else of a module where there is a mask: it repeats keys for the heads that are left.
    repeats = SimpleNamespace(num_key_value_groups=n_sharing // n_together)
    outputs = torch.cat([sdpa_attention_forward(repeats, *each, **options)[0] for each in blocks], dim=1)
    return _moved_inward(outputs, n_together), None


def _moved_inward(tensor: "torch.Tensor", n: int) -> "torch.Tensor":
    """The tensor with the inner `n` places of its second axis as inner ones of its third: heads to rows, and back."""
    return tensor.reshape(len(tensor), -1, n, *tensor.shape[2:]).transpose(2, 3).flatten(2, 3)


def _selected(tensor: "torch.Tensor", places: "Sequence[torch.Tensor]") -> "Iterable[torch.Tensor]":
    """The tensor at some places of its third axis, block by block; the gradients of all blocks are added up in one."""
    if not tensor.requires_grad:
        return (tensor.index_select(2, each) for each in places)
    selected: tuple[torch.Tensor, ...] = _selection_function().apply(tensor, *places)
    return selected


@cache
def _selection_function() -> Any:
    """A tensor at several selections of places, with gradient; the class is made once, when torch is there."""
    import torch

    class Selection(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, tensor: "torch.Tensor", *places: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
            context.places, context.shape = places, tensor.shape
            return tuple(tensor.index_select(2, each) for each in places)

        @staticmethod
        def backward(context: Any, *gradients: "torch.Tensor") -> Any:
            total = gradients[0].new_zeros(context.shape)
            for places, gradient in zip(context.places, gradients, strict=True):
                total.index_add_(2, places, gradient)
            return total, *(None for _ in gradients)

    return Selection


def _blocks(attention_mask: "torch.Tensor", n_together: int) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """For each block of rows the keys that its rows see, and its mask of these, a row for each of the heads together.

    Made once for all layers.
    """
    import torch

    known: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = _known_blocks().setdefault(attention_mask, {})
    if n_together not in known:
        masks = torch.split(attention_mask, BLOCK_ROWS, dim=2)
        seen = [(mask[0, 0] == 0).any(0).nonzero().squeeze(1) for mask in masks]
        known[n_together] = [
            (keys, mask.index_select(3, keys).repeat_interleave(n_together, dim=2))
            for keys, mask in zip(seen, masks, strict=True)
        ]
    return known[n_together]


@cache
def _known_blocks() -> Any:
    """Blocks by their mask, for as long as it lives; made once, when torch is there."""
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


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
