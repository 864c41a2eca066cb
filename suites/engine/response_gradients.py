"""Log-probabilities of response tokens with their gradients: logits only where one is predicted, chunk by chunk.

Between the forward and the backward pass no logits are kept: a chunk's are computed once in each of them.
"""

from collections.abc import Sequence
from functools import cache
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
    """Values of the response tokens of one pack.

    Args:
        model: Causal language model of transformers.
        decoder_output: Output of its decoder on the pack (`decoded_pack`).
        pack: The pack.
        max_elements: Rows x vocabulary of logits at a time, in fp32 (4 bytes each).
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    device = decoder_output.last_hidden_state.device
    targets = np.concatenate([np.asarray(request.response_ids, dtype=np.int64) for request in pack.requests])
    order = np.argsort(pack.target_rows, kind="stable")
    sorted_rows = pack.target_rows[order]
    token_ids = torch.from_numpy(targets[order]).to(device)
    hidden = decoder_output.last_hidden_state[0][torch.from_numpy(pack.rows).to(device)]  # (n_rows, hidden size)
    chunk = max(1, max_elements // n_vocabulary(model))
    starts = range(0, len(pack.rows), chunk)
    bounds = np.searchsorted(sorted_rows, [*starts, len(pack.rows)])
    parts = []
    for start, low, high in zip(starts, bounds[:-1], bounds[1:], strict=True):
        own_rows = torch.from_numpy(sorted_rows[low:high] - start).to(device)
        head = _ChunkHead(model, decoder_output, own_rows, token_ids[low:high])
        states = hidden[start : start + chunk]
        if torch.is_grad_enabled():
            log_probabilities = checkpoint(head, states, use_reentrant=False, preserve_rng_state=False)
        else:
            log_probabilities = head(states)
        parts.append(head.values_with(log_probabilities))
    back = torch.from_numpy(np.argsort(order, kind="stable")).to(device)
    return TargetValues(*(each[back] for each in joined(parts)))


class _ChunkHead:
    """The output head on one chunk of hidden states; what needs no gradient is computed the first time alone."""

    def __init__(self, model: Any, decoder_output: Any, rows: "torch.Tensor", token_ids: "torch.Tensor") -> None:
        self._model, self._decoder_output = model, decoder_output
        self._rows, self._token_ids = rows, token_ids
        self._ungraded: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def __call__(self, hidden: "torch.Tensor") -> "torch.Tensor":
        """Log-probabilities of the tokens, of hidden states of shape (n_rows, hidden size)."""
        import torch

        logits = head_logits(self._model, self._decoder_output, hidden)
        if self._ungraded is None:
            with torch.no_grad():
                self._ungraded = self._summaries(logits.detach())
        chosen: torch.Tensor = _log_probability_function().apply(logits, self._rows, self._token_ids)
        return chosen

    def _summaries(self, logits: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Entropies, mean logits and greedy flags of the tokens."""
        log_shares = logits - logits.logsumexp(-1, keepdim=True)
        entropies = -(log_shares.exp() * log_shares).sum(-1)
        is_greedy = most_probable(logits)[self._rows] == self._token_ids
        return entropies[self._rows], logits.mean(-1)[self._rows], is_greedy

    def values_with(self, log_probabilities: "torch.Tensor") -> TargetValues:
        """All values of the chunk's tokens."""
        assert self._ungraded is not None
        return TargetValues(log_probabilities, *self._ungraded)


@cache
def _log_probability_function() -> Any:
    """The log-softmax of some logits at some tokens, whose backward pass makes one tensor of the logits' size.

    The derivative of log p(token) by the logits is onehot(token) - p. The class is made once, when torch is there.
    """
    import torch

    class LogProbability(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, logits: "torch.Tensor", rows: "torch.Tensor", tokens: "torch.Tensor") -> Any:
            normalisers = logits.logsumexp(-1)
            context.save_for_backward(logits, normalisers, rows, tokens)
            return logits[rows, tokens] - normalisers[rows]

        @staticmethod
        def backward(context: Any, *gradients: "torch.Tensor") -> Any:
            logits, normalisers, rows, tokens = context.saved_tensors
            by_row = torch.zeros_like(normalisers).index_add_(0, rows, gradients[0])
            slopes = (logits - normalisers[:, None]).exp_().mul_(-by_row[:, None])
            slopes.index_put_((rows, tokens), gradients[0], accumulate=True)
            return slopes, None, None

    return LogProbability
