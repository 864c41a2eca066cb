"""The paths plain and single: requests that share nothing, in right-padded batches or one a forward."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from suites.engine.causal_model import n_vocabulary, takes_logits_to_keep
from suites.engine.response_logits import TokenScores, most_probable
from suites.inputs import Request

if TYPE_CHECKING:
    import torch


def plan_batches(
    requests: Sequence[Request], *, max_batch_tokens: int, max_logit_positions: int
) -> list[list[Request]]:
    """Divides requests into batches of similar length, the longest first, in an order that depends on them alone.

    Args:
        requests: Distinct requests.
        max_batch_tokens: Largest rows x padded length of a batch.
        max_logit_positions: Largest rows x positions with logits of a batch. A batch of one request may exceed both.
    """
    batches: list[list[Request]] = []
    by_length = sorted(requests, key=lambda request: (-request.n_inputs, request.prompt_ids, request.response_ids))
    for request in by_length:
        grown = [*batches[-1], request] if batches else [request]
        fits = (
            len(grown) * grown[0].n_inputs <= max_batch_tokens
            and len(grown) * _kept_positions(grown)[1] <= max_logit_positions
        )
        if batches and fits:
            batches[-1].append(request)
        else:
            batches.append([request])
    return batches


def launch_batch(model: Any, batch: Sequence[Request], pad_token_id: int, max_logit_elements: int) -> TokenScores:
    """Starts one batch, the longest request first, on the model's device.

    Logits are computed only where a response token is predicted, through `logits_to_keep`, so that families whose head
    does more than project stay right; the few families without it compute all of them. A batch that exceeds
    `max_logit_elements` (rows x positions x vocabulary) is computed in several forwards, each with a part of the
    positions.
    """
    import torch

    token_ids, attention_mask = _right_padded(batch, pad_token_id)
    ids = torch.from_numpy(token_ids).to(model.device)
    mask = torch.from_numpy(attention_mask).to(model.device)
    first, n_positions = _kept_positions(batch)
    chunk = max(1, max_logit_elements // (n_vocabulary(model) * len(batch)))
    has_choice = takes_logits_to_keep(model)
    parts = []
    for start in range(first, first + n_positions, chunk):
        positions = torch.arange(start, min(start + chunk, first + n_positions), device=model.device)
        kept = {"logits_to_keep": positions} if has_choice else {}
        logits = model(input_ids=ids[:, :-1], attention_mask=mask, use_cache=False, **kept).logits
        own = logits if has_choice else logits[:, positions]  # (rows, positions, vocabulary)
        parts.append(_target_scores(own.float(), ids[:, positions + 1]))
    log_probabilities, is_greedy = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))  # (rows, n_positions)
    places = [
        (row, slice(len(request.prompt_ids) - 1 - first, request.n_inputs - first)) for row, request in enumerate(batch)
    ]
    return (
        torch.cat([log_probabilities[place] for place in places]),
        torch.cat([is_greedy[place] for place in places]),
    )


def _right_padded(batch: Sequence[Request], pad_token_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids with the last predicted token, shape (rows, inputs + 1), and input mask, shape (rows, inputs)."""
    inputs = batch[0].n_inputs
    token_ids = np.full((len(batch), inputs + 1), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros((len(batch), inputs), dtype=np.int64)
    for row, request in enumerate(batch):
        token_ids[row, : request.n_inputs + 1] = request.prompt_ids + request.response_ids
        attention_mask[row, : request.n_inputs] = 1
    return token_ids, attention_mask


def _target_scores(logits: "torch.Tensor", targets: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Log-softmax and argmax == target at targets (rows, positions) of logits (rows, positions, vocabulary)."""
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (rows, positions)
    return chosen - logits.logsumexp(-1), most_probable(logits) == targets


def _kept_positions(batch: Sequence[Request]) -> tuple[int, int]:
    """First position that predicts a response token of any row, and the number of positions from there on."""
    first = min(len(request.prompt_ids) for request in batch) - 1
    return first, max(request.n_inputs for request in batch) - first
