"""Log-probabilities of response tokens from hidden states: logits only where one is predicted, in bounded chunks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from suites.engine.causal_model import decoders, n_vocabulary
from suites.engine.packing import Integers
from suites.inputs import Request

if TYPE_CHECKING:
    import torch


TokenScores = tuple["torch.Tensor", "torch.Tensor"]
"""Log-probability of each response token (fp32 nats) and whether it is the model's most probable token, each of shape
(n_targets,), request after request, on the device, which may still be computing them."""


def launch_targets(
    model: Any,
    decoder_output: Any,
    hidden: "torch.Tensor",
    requests: Sequence[Request],
    rows: Integers,
    target_rows: Integers,
    max_elements: int,
) -> TokenScores:
    """Starts the output head on the rows that predict response tokens.

    Args:
        model: Causal language model of transformers.
        decoder_output: Output of its decoder; its type is the one that the forward expects.
        hidden: Hidden states, shape (n_states, hidden size).
        requests: Requests whose response tokens are predicted.
        rows: Shape (n_rows,): indices into `hidden` of the states that need logits, each once.
        target_rows: Shape (n_targets,): for each response token the index into `rows` of the state that predicts it,
            request after request.
        max_elements: Rows x vocabulary of logits at a time, in fp32 (4 bytes each).
    """
    import torch

    device = hidden.device
    targets = np.concatenate([np.asarray(request.response_ids, dtype=np.int64) for request in requests])
    order = np.argsort(target_rows, kind="stable")
    sorted_rows = target_rows[order]
    row_indices = _to(device, rows)
    token_ids = _to(device, targets[order])
    chunk = max(1, max_elements // n_vocabulary(model))
    starts = range(0, len(rows), chunk)
    bounds = np.searchsorted(sorted_rows, [*starts, len(rows)])
    log_probabilities, is_greedy = [], []
    for start, low, high in zip(starts, bounds[:-1], bounds[1:], strict=True):
        logits = head_logits(model, decoder_output, hidden[row_indices[start : start + chunk]])  # (chunk, vocabulary)
        own_rows = _to(device, sorted_rows[low:high] - start)
        chosen = logits[own_rows, token_ids[low:high]]
        best = most_probable(logits)
        highest = logits.gather(-1, best.unsqueeze(-1)).squeeze(-1)
        # log-sum-exp by hand, in place: three passes over a chunk and no copy of it.
        normaliser = highest + logits.sub_(highest.unsqueeze(-1)).exp_().sum(-1).log()
        log_probabilities.append(chosen - normaliser[own_rows])
        is_greedy.append(best[own_rows] == token_ids[low:high])
    back = _to(device, np.argsort(order, kind="stable"))
    return torch.cat(log_probabilities)[back], torch.cat(is_greedy)[back]


def most_probable(logits: "torch.Tensor") -> "torch.Tensor":
    """Index of the largest logit along the last axis, the first of equals: lm-eval's rule, by which no two are greedy.

    NumPy finds it on a CPU in a tenth of torch's time, and sooner than torch finds the largest value.
    """
    import torch

    return torch.from_numpy(logits.numpy().argmax(-1)) if logits.device.type == "cpu" else logits.argmax(-1)


def head_logits(model: Any, decoder_output: Any, hidden: "torch.Tensor") -> "torch.Tensor":
    """Logits in fp32, shape (n_rows, n_vocabulary), of hidden states of shape (n_rows, hidden size).

    The head is the model's own forward with the decoder's output given, so that families whose head does more than
    project (soft-capping, a logit scale) stay right.
    """
    import torch

    any_ids = torch.zeros((1, 1), dtype=torch.long, device=hidden.device)
    with _decoders_returning(decoders(model), type(decoder_output)(last_hidden_state=hidden.unsqueeze(0))):
        logits: torch.Tensor = model(input_ids=any_ids, use_cache=False).logits[0]
    # The caller computes in place: what the head returned must be a tensor of ours in fp32.
    return logits.float() if logits.dtype != torch.float32 else logits


@contextmanager
def _decoders_returning(modules: Sequence[Any], output: Any) -> Iterator[None]:
    """Makes these modules return this output within the block, whatever their inputs.

    Needed by families whose head is code in their forward and not only `lm_head`: Gemma 2 caps its logits, Cohere
    scales them. It breaks where a forward hook changes the decoder's output, which then happens twice, and where
    the model was compiled, so that `forward` is not looked up again. `check_path` finds both, because the plain path
    calls the model as a whole.
    """
    own = [vars(module).get("forward") for module in modules]
    for module in modules:
        module.forward = lambda *_args, **_options: output
    try:
        yield
    finally:
        for module, forward in zip(modules, own, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward


def _to(device: "torch.device", values: Integers) -> "torch.Tensor":
    """Copies indices to the device, without waiting for it."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)
