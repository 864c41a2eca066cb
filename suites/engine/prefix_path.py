"""The prefix path: computes a prompt once into the key-value cache, then all its responses as one batch."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from suites.engine.causal_model import decoders
from suites.engine.response_logits import TokenScores, launch_targets
from suites.inputs import Request


def batch_by_prompt(requests: Iterable[Request], *, max_tokens: int) -> list[tuple[Request, ...]]:
    """Divides requests into batches of one prompt each, the longest prompts first.

    Cached and new tokens of a batch stay within the budget; a single response that exceeds it is a batch of its own.
    """
    by_prompt: dict[tuple[int, ...], list[Request]] = {}
    for request in sorted(requests, key=lambda each: (-len(each.prompt_ids), each.prompt_ids, each.response_ids)):
        by_prompt.setdefault(request.prompt_ids, []).append(request)
    batches = []
    for prompt_ids, members in by_prompt.items():
        by_length = sorted(members, key=lambda each: (-len(each.response_ids), each.response_ids))
        size = max(1, max_tokens // (len(prompt_ids) + len(by_length[0].response_ids)))
        batches += [tuple(by_length[start : start + size]) for start in range(0, len(members), size)]
    return batches


def launch_prompt_batch(
    model: Any, batch: tuple[Request, ...], pad_token_id: int, max_logit_elements: int
) -> TokenScores:
    """Starts one batch on the model's device.

    Positions follow from the cache, so that families without position ids (ALiBi) are scored too.
    """
    import torch

    prompt_ids = batch[0].prompt_ids
    n_inputs = max(len(request.response_ids) for request in batch) - 1  # the last token is never an input
    decoder = decoders(model)[0]
    output = decoder(
        input_ids=torch.tensor([prompt_ids], device=model.device),
        attention_mask=torch.ones((1, len(prompt_ids)), dtype=torch.long, device=model.device),
        use_cache=True,
    )
    states = [output.last_hidden_state[0, -1:]]  # (1, hidden size): predicts the first token of every response
    if n_inputs:
        cache = output.past_key_values
        cache.batch_repeat_interleave(len(batch))
        token_ids, attention_mask = _right_padded(batch, n_inputs, pad_token_id)
        output = decoder(
            input_ids=torch.from_numpy(token_ids).to(model.device),
            attention_mask=torch.from_numpy(attention_mask).to(model.device),
            past_key_values=cache,
            use_cache=True,
        )
        states.append(output.last_hidden_state.flatten(0, 1))  # (responses x n_inputs, hidden size)
    rows, target_rows = np.unique(_predicting(batch, n_inputs), return_inverse=True)
    return launch_targets(model, output, torch.cat(states), batch, rows, target_rows, max_logit_elements)


def _right_padded(requests: Sequence[Request], n_inputs: int, pad_token_id: int) -> tuple[Any, Any]:
    """Response inputs, shape (responses, n_inputs), and mask over prompt and inputs, (responses, prompt + n_inputs)."""
    n_prompt = len(requests[0].prompt_ids)
    token_ids = np.full((len(requests), n_inputs), pad_token_id, dtype=np.int64)
    attention_mask = np.ones((len(requests), n_prompt + n_inputs), dtype=np.int64)
    for row, request in enumerate(requests):
        n_own = len(request.response_ids) - 1
        token_ids[row, :n_own] = request.response_ids[:-1]
        attention_mask[row, n_prompt + n_own :] = 0
    return token_ids, attention_mask


def _predicting(requests: Sequence[Request], n_inputs: int) -> Any:
    """Index of the state that predicts each response token: 0 is the prompt's last, then all responses row by row."""
    return np.concatenate(
        [
            np.concatenate([[0], 1 + row * n_inputs + np.arange(len(request.response_ids) - 1)])
            for row, request in enumerate(requests)
        ]
    ).astype(np.int64)
