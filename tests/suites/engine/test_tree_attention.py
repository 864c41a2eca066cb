"""Attention over a pack in blocks of rows is sdpa's over all keys, forward and backward."""

import gc
from types import SimpleNamespace

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from suites.engine import tree_attention

N_TOKENS, N_SHARED = 300, 100


def mask_of_two_branches() -> torch.Tensor:
    """Two answers after a prompt, neither of which sees the other: shape (1, 1, 300, 300)."""
    rows, columns = torch.arange(N_TOKENS)[:, None], torch.arange(N_TOKENS)[None, :]
    is_other = (rows >= 200) & (columns >= N_SHARED) & (columns < 200)
    seen = (columns <= rows) & ~is_other
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]


def attended(function: object, mask: torch.Tensor) -> list[torch.Tensor]:
    """The output of 4 heads on 2 of keys, and the gradients of query, key and value."""
    torch.manual_seed(1)
    inputs = [torch.randn(1, heads, N_TOKENS, 8, requires_grad=True) for heads in (4, 2, 2)]
    module = SimpleNamespace(num_key_value_groups=2, is_causal=True, training=False)
    output, _ = function(module, *inputs, mask, scaling=0.3, dropout=0.0)  # type: ignore[operator]
    output.square().sum().backward()
    return [output.detach(), *(each.grad for each in inputs if each.grad is not None)]


def test_output_and_gradients_are_those_of_sdpa() -> None:
    """Where keys are closed to whole blocks of rows, and each key is seen by several blocks."""
    own, plain = (attended(each, mask_of_two_branches()) for each in (tree_attention._attend, sdpa_attention_forward))
    assert len(own) == 4
    torch.testing.assert_close(own, plain, rtol=1e-5, atol=1e-5)


def test_without_gradients_blocks_are_selected_one_by_one() -> None:
    """Scoring holds the keys of one block at a time, with the same output."""
    with torch.no_grad():
        keys = torch.randn(1, 2, N_TOKENS, 8)
        assert not isinstance(tree_attention._selected(keys, [torch.arange(3), torch.arange(5)]), tuple)
    assert isinstance(tree_attention._selected(keys.requires_grad_(), [torch.arange(3)]), tuple)


def test_blocks_are_found_once_a_mask_and_forgotten_with_it() -> None:
    """Every layer of a pack has the same mask; the next pack has another one."""
    mask = mask_of_two_branches()
    blocks = tree_attention._blocks(mask)
    assert tree_attention._blocks(mask) is blocks
    assert [len(seen) for seen, _ in blocks] == [128, 256, 200]
    n_known = len(tree_attention._known_blocks())
    del mask
    gc.collect()
    assert len(tree_attention._known_blocks()) == n_known - 1
