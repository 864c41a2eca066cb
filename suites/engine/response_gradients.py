"""Log-probabilities of response tokens with their gradients: logits only where one is predicted, chunk by chunk.

A log-probability depends on one hidden state alone. Its derivative by that state is taken while the logits of a chunk
are still there, so that neither logits are kept for the backward pass nor computed again in it: a vector of the hidden
size is kept a token. (Liger's fused cross-entropy does so for a loss, https://arxiv.org/abs/2410.10989.)
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suites.engine.causal_model import n_vocabulary
from suites.engine.packing import Pack
from suites.engine.response_logits import head_logits, most_probable

if TYPE_CHECKING:
    import torch


class TargetValues(NamedTuple):
    """Values of each response token of a pack, shape (n_targets,) each, request after request, on the device."""

    log_probabilities: "torch.Tensor"
    """In nats, fp32, with gradient where gradients are enabled."""
    entropies: "torch.Tensor"
    """Of the distribution that the token was predicted by, in nats, without gradient."""
    mean_logits: "torch.Tensor"
    """Mean of its logits over the vocabulary, without gradient."""
    is_most_probable: "torch.Tensor"
    """Whether the token is the most probable one."""


def joined(parts: Sequence[TargetValues]) -> TargetValues:
    """The values of several packs, one after another."""
    import torch

    return TargetValues(*map(torch.cat, zip(*parts, strict=True)))


def target_values(model: Any, decoder_output: Any, pack: Pack, max_elements: int) -> TargetValues:
    """Values of the response tokens of one pack; gradients reach the decoder, and no weight of the output head.

    Args:
        model: Causal language model of transformers.
        decoder_output: Output of its decoder on the pack (`decoded_pack`).
        pack: The pack.
        max_elements: Rows x vocabulary of logits at a time, in fp32 (4 bytes each).
    """
    import torch

    device = decoder_output.last_hidden_state.device
    targets = np.concatenate([np.asarray(request.response_ids, dtype=np.int64) for request in pack.requests])
    # What two responses share is predicted once; a state that predicts two tokens is projected for each of them.
    predicted = np.stack([pack.rows[pack.target_rows], targets])
    (rows, tokens), places = np.unique(predicted, axis=1, return_inverse=True)
    token_ids = torch.from_numpy(tokens).to(device)
    states = decoder_output.last_hidden_state[0][torch.from_numpy(rows).to(device)]  # (n_predicted, hidden size)
    n_rows = max(1, max_elements // n_vocabulary(model))
    head, of_chunk = partial(head_logits, model, decoder_output), _values_function()
    chunks = [slice(start, start + n_rows) for start in range(0, len(rows), n_rows)]
    values = joined([TargetValues(*of_chunk.apply(states[chunk], token_ids[chunk], head)) for chunk in chunks])
    back = torch.from_numpy(places).to(device)
    return TargetValues(*(each[back] for each in values))


@cache
def _values_function() -> Any:
    """The values of some tokens by hidden states; the class is made once, when torch is there."""
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    class Values(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, states: "torch.Tensor", tokens: "torch.Tensor", head: Callable[..., Any]) -> Any:
            if not context.needs_input_grad[0]:
                return _values_and_shares(head(states), tokens)[0]
            # Gradient checkpointing hooks what a graph saves; this one is gone before the backward pass asks for it.
            with torch.enable_grad(), saved_tensors_hooks(_itself, _itself):
                own = states.detach().requires_grad_()
                logits = head(own)
                values, shares = _values_and_shares(logits.detach(), tokens)
                derivatives = shares.neg_()  # of log p(token) by the logits: onehot(token) - p
                derivatives[torch.arange(len(tokens), device=tokens.device), tokens] += 1
                (slopes,) = torch.autograd.grad(logits, own, derivatives)
            context.save_for_backward(slopes)
            context.mark_non_differentiable(*values[1:])
            return values

        @staticmethod
        def backward(context: Any, *gradients: "torch.Tensor") -> Any:
            (slopes,) = context.saved_tensors
            return gradients[0].to(slopes.dtype)[:, None] * slopes, None, None

    return Values


def _values_and_shares(logits: "torch.Tensor", tokens: "torch.Tensor") -> "tuple[TargetValues, torch.Tensor]":
    """Values of one token a row of logits, and the probabilities of all tokens, both without gradient."""
    import torch

    best = most_probable(logits)
    highest = logits.gather(-1, best[:, None])
    shares = (logits - highest).exp_()  # in proportion: one exponential serves the normaliser and the probabilities
    totals = shares.sum(-1, keepdim=True)
    shares.div_(totals)
    normalisers = (highest + totals.log()).squeeze(-1)
    values = TargetValues(
        logits.gather(-1, tokens[:, None]).squeeze(-1) - normalisers,
        normalisers - torch.linalg.vecdot(shares, logits),
        logits.mean(-1),
        best == tokens,
    )
    return values, shares


def _itself(tensor: "torch.Tensor") -> "torch.Tensor":
    return tensor
