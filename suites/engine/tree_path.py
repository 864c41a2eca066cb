"""The paths tree and flex: one forward a pack, with its prefix tree as attention mask and the depth as position."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from suites.engine.causal_model import attention_kernel, attention_kernel_name, attention_window, decoders
from suites.engine.packing import Pack, is_visible
from suites.engine.response_logits import TokenScores, launch_targets
from suites.engine.tree_attention import padded_length, tree_attention

if TYPE_CHECKING:
    import torch


def launches_in_turn(
    model: Any, packs: Sequence[Pack], max_logit_elements: int, *, carries: bool
) -> list[Callable[[], TokenScores]]:
    """Returns for each pack the call that starts it with a dense mask.

    With `carries` a pack takes over the keys and values that it shares with the pack before, if that was started last;
    otherwise all of its tokens are computed.

    Args:
        model: Causal language model of transformers.
        packs: Packs in the order of `pack_requests`.
        max_logit_elements: Rows x vocabulary of logits at a time.
        carries: Whether keys and values are kept from one pack to the next.
    """
    if not carries:
        return [partial(launch_pack, model, pack, max_logit_elements) for pack in packs]
    last: int | None = None
    kept: list[
        tuple[torch.Tensor, torch.Tensor]
    ] = []  # of the last pack by layer, each (1, heads, n_tokens, head size)

    def launch(index: int) -> TokenScores:
        import torch
        from transformers import DynamicCache

        nonlocal last, kept
        pack, cache = packs[index], DynamicCache()
        n_carried = len(pack.carried_from) if last == index - 1 else 0
        if n_carried:
            places = torch.from_numpy(pack.carried_from).to(model.device, non_blocking=True)
            for layer, (keys, values) in enumerate(kept):
                places = places.to(keys.device)  # another one where the model is spread over several
                cache.update(keys.index_select(2, places), values.index_select(2, places), layer)
        token_scores = launch_pack(model, pack, max_logit_elements, cache=cache, n_carried=n_carried)
        last, kept = index, [(layer.keys, layer.values) for layer in cache.layers]
        return token_scores

    return [partial(launch, index) for index in range(len(packs))]


def launch_pack(
    model: Any, pack: Pack, max_logit_elements: int, *, cache: Any = None, n_carried: int = 0
) -> TokenScores:
    """Starts one pack on the model's device, with a dense mask.

    Args:
        model: Causal language model of transformers.
        pack: The pack to compute.
        max_logit_elements: Rows x vocabulary of logits at a time.
        cache: Holds keys and values of the carried tokens and receives the new ones; None keeps none.
        n_carried: Number of the pack's first tokens whose keys and values are in the cache.
    """
    with attention_kernel(model, dense_kernel(model)):
        output = decoded_pack(model, pack, cache=cache, n_carried=n_carried)
        return _launch_head(model, pack, output, max_logit_elements, n_carried)


def dense_kernel(model: Any) -> str:
    """Name of the implementation of attention that computes packs with dense masks fastest on the model's device."""
    own = attention_kernel_name(model)
    return tree_attention() if (own, model.device.type) == ("sdpa", "cpu") else own


def decoded_pack(model: Any, pack: Pack, *, cache: Any = None, n_carried: int = 0) -> Any:
    """The decoder's output on one pack with a dense mask, with gradients where they are enabled.

    Args:
        model: Causal language model of transformers, with the kernel of `dense_kernel`.
        pack: The pack to compute.
        cache: Holds keys and values of the carried tokens and receives the new ones; None keeps none.
        n_carried: Number of the pack's first tokens whose keys and values are in the cache.

    Returns:
        What the decoder returns; its `last_hidden_state` has shape (1, n_computed, hidden size).
    """
    import torch

    dtype = model.get_input_embeddings().weight.dtype
    # The mask is made on the device, because copying it there would take longer than copying these.
    ends, positions = (torch.from_numpy(values).to(model.device) for values in (pack.ends, pack.positions))

    def additive(window: int | None) -> "torch.Tensor":
        """Mask with 0 where a token is visible and the least finite number elsewhere, (1, 1, n_computed, n_tokens).

        Never boolean: eager attention adds the mask and would silently treat it as numbers.
        """
        rows = torch.arange(n_carried, pack.n_tokens, device=model.device)[:, None]
        columns = torch.arange(pack.n_tokens, device=model.device)[None, :]
        seen = is_visible(rows, columns, ends, positions, window)
        mask = torch.zeros(seen.shape, dtype=dtype, device=model.device)
        return mask.masked_fill_(seen.logical_not_(), torch.finfo(dtype).min)[None, None]

    return _decoded(model, pack, additive, cache=cache, n_carried=n_carried)


def launch_pack_with_flex(model: Any, pack: Pack, max_logit_elements: int, *, n_tokens: int) -> TokenScores:
    """Starts one pack on the model's device, with FlexAttention, which skips blocks without a visible token.

    Args:
        model: Causal language model of transformers.
        pack: A pack of at most `n_tokens`.
        max_logit_elements: Rows x vocabulary of logits at a time.
        n_tokens: Length to which all packs are padded, because the kernel is compiled again for each length.
    """
    padded = _padded(pack, n_tokens)
    with attention_kernel(model, "flex_attention"):
        return _launch_head(model, padded, _decoded(model, padded, _block_masks(model, padded)), max_logit_elements)


def decoded_pack_in_blocks(model: Any, pack: Pack) -> Any:
    """The decoder's output on one pack with a block mask, with gradients where they are enabled.

    Args:
        model: Causal language model of transformers, with the kernel `padded_flex_attention`.
        pack: The pack to compute, of any length.

    Returns:
        What the decoder returns; its `last_hidden_state` has shape (1, n_tokens, hidden size).
    """
    return _decoded(model, pack, _block_masks(model, _padded(pack, padded_length(pack.n_tokens))))


def _block_masks(model: Any, pack: Pack) -> Callable[[int | None], Any]:
    """What makes FlexAttention's mask of a pack for a window, on the model's device, from the pack's arrays."""
    import torch
    from torch.nn.attention.flex_attention import BlockMask, create_block_mask

    ends, positions = (torch.from_numpy(values).to(model.device) for values in (pack.ends, pack.positions))

    def blocks(window: int | None) -> BlockMask:
        def visible(_batch: Any, _head: Any, row: "torch.Tensor", column: "torch.Tensor") -> Any:
            return is_visible(row, column, ends, positions, window)

        return create_block_mask(visible, None, None, pack.n_tokens, pack.n_tokens, device=model.device)

    return blocks


def _padded(pack: Pack, n_tokens: int) -> Pack:
    """The pack padded with tokens that see only themselves and that no other token sees."""
    added = np.arange(pack.n_tokens, n_tokens)
    return replace(
        pack,
        token_ids=np.concatenate([pack.token_ids, np.zeros_like(added)]),
        positions=np.concatenate([pack.positions, np.zeros_like(added)]),
        ends=np.concatenate([pack.ends, added + 1]),
    )


def _decoded(
    model: Any, pack: Pack, mask: Callable[[int | None], Any], *, cache: Any = None, n_carried: int = 0
) -> Any:
    """The decoder's output on one pack; `mask` makes the attention mask for a window.

    The mask replaces the model's own, sliding windows included, so it has to contain them: one mask for all layers, or
    one for each kind of layer where the model has several kinds.
    """
    import torch

    window = attention_window(model.config)
    kinds = set(model.config.get_text_config().to_dict().get("layer_types") or ())
    masks = {"full_attention": mask(None), "sliding_attention": mask(window)} if len(kinds) > 1 else mask(window)
    return decoders(model)[0](
        input_ids=torch.from_numpy(pack.token_ids[n_carried:])[None].to(model.device, non_blocking=True),
        position_ids=torch.from_numpy(pack.positions[n_carried:])[None].to(model.device, non_blocking=True),
        attention_mask=masks,
        past_key_values=cache,
        use_cache=cache is not None,
    )


def _launch_head(model: Any, pack: Pack, output: Any, max_logit_elements: int, n_carried: int = 0) -> TokenScores:
    """Starts the output head on the rows of a pack that predict response tokens."""
    hidden = output.last_hidden_state[0]  # (n_computed, hidden size)
    rows = pack.rows - n_carried
    return launch_targets(model, output, hidden, pack.requests, rows, pack.target_rows, max_logit_elements)
