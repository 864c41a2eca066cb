"""Attention over a pack in blocks of rows is sdpa's over all keys, forward and backward."""

import gc
from types import SimpleNamespace

import pytest
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


def attended(function: object, mask: torch.Tensor, n_heads: int, n_key_heads: int) -> list[torch.Tensor]:
    """The output for a batch of 2, and the gradients of query, key and value."""
    torch.manual_seed(1)
    inputs = [torch.randn(2, n, N_TOKENS, 8, requires_grad=True) for n in (n_heads, n_key_heads, n_key_heads)]
    module = SimpleNamespace(num_key_value_groups=n_heads // n_key_heads, is_causal=True, training=False)
    output, _ = function(module, *inputs, mask, scaling=0.3, dropout=0.0)  # type: ignore[operator]
    output.square().sum().backward()
    return [output.detach(), *(each.grad for each in inputs if each.grad is not None)]


@pytest.mark.parametrize(("n_heads", "n_key_heads"), [(3, 3), (4, 2), (14, 2), (12, 1), (11, 1)])
def test_output_and_gradients_are_those_of_sdpa(n_heads: int, n_key_heads: int) -> None:
    """Where keys are closed to blocks and seen by several, and 1, 2, 7, 2 x 6 or 11 query heads share a key head."""
    functions = (tree_attention._attend, sdpa_attention_forward)
    own, plain = (attended(each, mask_of_two_branches(), n_heads, n_key_heads) for each in functions)
    assert len(own) == 4
    torch.testing.assert_close(own, plain, rtol=1e-5, atol=1e-5)


def test_without_gradients_blocks_are_selected_one_by_one() -> None:
    """Scoring holds the keys of one block at a time, with the same output."""
    with torch.no_grad():
        keys = torch.randn(1, 2, N_TOKENS, 8)
        assert not isinstance(tree_attention._selected(keys, [torch.arange(3), torch.arange(5)]), tuple)
    assert isinstance(tree_attention._selected(keys.requires_grad_(), [torch.arange(3)]), tuple)


def test_keys_are_not_copied_for_the_heads_that_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama 3 has 4 query heads a key head, and multi-query attention one key head for all: 12 are 2 times 6."""
    shapes = []

    def sdpa(query: torch.Tensor, key: torch.Tensor, *_arguments: object, **_options: object) -> torch.Tensor:
        shapes.append((query.shape[1:3], key.shape[1]))
        return torch.zeros_like(query)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", sdpa)
    for n_heads, n_key_heads in ((8, 2), (12, 1)):
        query, key = torch.zeros(1, n_heads, N_TOKENS, 8), torch.zeros(1, n_key_heads, N_TOKENS, 8)
        tree_attention._attend(None, query, key, key, mask_of_two_branches())
    rows = [96, 96, 96, 12]
    assert shapes == [((2, 4 * n), 2) for n in rows] + [((2, 6 * n), 2) for n in rows]


def test_blocks_are_found_once_a_mask_and_forgotten_with_it() -> None:
    """Every layer of a pack has the same mask; the next pack has another one."""
    mask = mask_of_two_branches()
    blocks = tree_attention._blocks(mask, 2)
    assert tree_attention._blocks(mask, 2) is blocks
    assert [(len(seen), own.shape[2]) for seen, own in blocks] == [(96, 192), (192, 192), (288, 192), (200, 24)]
    n_known = len(tree_attention._known_blocks())
    del mask
    gc.collect()
    assert len(tree_attention._known_blocks()) == n_known - 1
