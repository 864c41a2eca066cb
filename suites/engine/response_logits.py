"""Hidden states in, log-probabilities of response tokens out: logits only where one is predicted, in bounded chunks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from suites.engine.causal_model import n_vocabulary
from suites.inputs import Request, ResponseScore

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Which hidden states predict which response tokens of which requests."""

    requests: tuple[Request, ...]
    rows: NDArray[np.int64]
    """Shape (n_rows,): the hidden states that logits are needed of, each once."""
    target_rows: NDArray[np.int64]
    """Shape (n_targets,): for each response token the index into `rows` of its prediction, request after request."""

    @property
    def token_ids(self) -> NDArray[np.int64]:
        """Shape (n_targets,): the response tokens, request after request."""
        return np.concatenate([np.asarray(request.response_ids, dtype=np.int64) for request in self.requests])


@dataclass(frozen=True, slots=True, eq=False)
class Launched:
    """Scores that the device may still be computing."""

    requests: tuple[Request, ...]
    log_probabilities: "torch.Tensor"
    """Shape (n_targets,), fp32 nats."""
    is_greedy: "torch.Tensor"
    """Shape (n_targets,)."""

    def collect(self) -> dict[Request, ResponseScore]:
        """Waits for the device and hands the scores out by request."""
        log_probabilities, is_greedy = self.log_probabilities.cpu().numpy(), self.is_greedy.cpu().numpy()
        stops = np.cumsum([len(request.response_ids) for request in self.requests])
        return {
            request: ResponseScore(
                log_probabilities[stop - len(request.response_ids) : stop].copy(),
                bool(is_greedy[stop - len(request.response_ids) : stop].all()),
            )
            for request, stop in zip(self.requests, stops, strict=True)
        }


def launch_targets(
    model: Any, decoder_output: Any, hidden: "torch.Tensor", targets: Targets, max_elements: int
) -> Launched:
    """Starts the output head on the rows that predict response tokens.

    The head is the model's own forward with its decoder's answer given, so that families whose head does more than
    project (soft-capping, a logit scale) stay right.

    Args:
        model: Causal language model of transformers.
        decoder_output: What its decoder returned; its type tells the forward what to expect.
        hidden: Shape (n_states, hidden size).
        targets: Rows of `hidden`, and what they predict.
        max_elements: Rows x vocabulary of logits at a time, in fp32 (4 bytes each).
    """
    import torch

    device = hidden.device
    order = np.argsort(targets.target_rows, kind="stable")
    sorted_rows = targets.target_rows[order]
    rows = _to(device, targets.rows)
    token_ids = _to(device, targets.token_ids[order])
    chunk = max(1, max_elements // n_vocabulary(model))
    starts = range(0, len(targets.rows), chunk)
    bounds = np.searchsorted(sorted_rows, [*starts, len(targets.rows)])
    log_probabilities, is_greedy = [], []
    for start, low, high in zip(starts, bounds[:-1], bounds[1:], strict=True):
        logits = _logits(model, decoder_output, hidden[rows[start : start + chunk]])  # (rows of the chunk, vocabulary)
        own_rows = _to(device, sorted_rows[low:high] - start)
        chosen = logits[own_rows, token_ids[low:high]]
        highest = logits.amax(-1)
        # log-sum-exp by hand, in place: a chunk is passed over three times and copied never.
        normaliser = highest + logits.sub_(highest.unsqueeze(-1)).exp_().sum(-1).log()
        log_probabilities.append(chosen - normaliser[own_rows])
        is_greedy.append(chosen >= highest[own_rows])
    back = _to(device, np.argsort(order, kind="stable"))
    return Launched(targets.requests, torch.cat(log_probabilities)[back], torch.cat(is_greedy)[back])


def _logits(model: Any, decoder_output: Any, hidden: "torch.Tensor") -> "torch.Tensor":
    """fp32 logits, shape (n_rows, n_vocabulary), of hidden states of shape (n_rows, hidden size)."""
    import torch

    any_ids = torch.zeros((1, 1), dtype=torch.long, device=hidden.device)
    with _answering(model.base_model, type(decoder_output)(last_hidden_state=hidden.unsqueeze(0))):
        logits: torch.Tensor = model(input_ids=any_ids, use_cache=False).logits[0]
    # In-place arithmetic follows: what the head returned must be ours in fp32.
    return logits.float() if logits.dtype != torch.float32 else logits


@contextmanager
def _answering(decoder: Any, answer: Any) -> Iterator[None]:
    """The decoder gives this answer within the block, whatever it is asked."""
    inherited = vars(decoder).get("forward")
    decoder.forward = lambda *_args, **_options: answer
    try:
        yield
    finally:
        del decoder.forward
        if inherited is not None:
            decoder.forward = inherited


def _to(device: "torch.device", values: NDArray[np.int64] | Sequence[int]) -> "torch.Tensor":
    """Indices on the device, without waiting for it."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
