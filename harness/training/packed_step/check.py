"""Compares the packed forward with TRL's on some rows of a training, before its first step.

Log-probabilities of the responses and the gradient of every trained weight have to agree: a family that takes no tree
of tokens as its mask, or whose layers carry a state from token to token, gives other numbers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.training.packed_step.batch import UNLABELLED
from harness.training.packed_step.budget import Budget
from harness.training.packed_step.forward import Kernel, kernels, packed_forward
from reports.errors import first_line
from suites.engine.causal_model import (
    attention_kernel,
    attention_kernel_name,
    computes_exactly,
    evaluation_mode,
    jittered_embeddings,
)
from suites.engine.self_check.thresholds import length_thresholds
from suites.engine.units import is_out_of_memory
from suites.inputs import Request

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

CHECKED_ROWS = 64
"""Rows among which the shortest are found."""
CHECKED_TOKENS = 256
"""Tokens of the shortest rows, padding included; below fp32 twice as many, whose spread is less a matter of luck."""
FEWEST_ROWS = 2
"""Rows that are checked at least, because a pack holds several; they are cut where they are too long together."""
EXACT_TOLERANCE = 1e-4
"""Share of its size by which a value may differ where products are computed in fp32."""
SPREADS_ALLOWED = 4.0
"""Below fp32: times the largest difference of the padded forward from itself."""
JITTER = 2.0**-21
"""Share of itself by which an fp32 sum changes in another order of summation: a few units in the last place."""
JITTERS = 4
"""How often sums are changed so: on a tiny model one that tips no rounding over shows a twentieth of what others do."""
_EXTRA_COLUMNS = 5
_MOVED = 0.02
"""Standard deviation of the second matrices of LoRA during the check; at their 0 the first ones have no gradient."""


@dataclass(frozen=True, slots=True)
class StepCheck:
    """Differences between the packed forward and TRL's, as shares of the size of what differs."""

    n_requests: int
    difference: float | None
    """Largest of those of the log-probabilities and of the gradients of all tensors; None where it failed."""
    tolerance: float
    worst: str = ""
    """What differs most."""
    problem: str = ""
    """Why the packed forward could not be computed, in the library's words."""
    kernel: Kernel = "dense"
    """How attention over packs was computed."""
    is_lasting: bool = True
    """Whether it would come out so again; not where memory ran out."""
    longest: int = 0
    """Tokens of the longest request."""

    @property
    def passed(self) -> bool:
        """Whether packs may be trained on."""
        return self.difference is not None and self.difference <= self.tolerance

    def holds_for(self, longest: int, thresholds: Sequence[int]) -> bool:
        """Whether it failed, or requests of up to so many tokens cross no length that those of the check did not."""
        return not self.passed or not any(self.longest <= threshold < longest for threshold in thresholds)

    def __str__(self) -> str:
        if self.difference is None:
            return f"training in packs is not possible for this model ({self.problem})"
        verb = "agrees with" if self.passed else "differs from"
        return (
            f"training in packs {verb} TRL's padded batches: gradients and log-probabilities of {self.n_requests} "
            f"responses differ by at most {self.difference:.1e} of their size ({self.worst}), allowed "
            f"{self.tolerance:.1e}"
        )


@dataclass(frozen=True, slots=True)
class _Computed:
    """Log-probabilities of all responses, and the gradient of each trained weight by its name."""

    log_probabilities: "torch.Tensor"
    gradients: "dict[str, torch.Tensor]"


def check_packed_step(model: Any, rows: Sequence[Sequence[Request]], padding: int) -> StepCheck:
    """Compares some rows on both forwards and leaves model, gradients and random numbers as they were.

    They are the shortest, cut where they are long, since a family that takes no tree is found out by few tokens. What
    begins at a length that the model's configuration names, such as a window's, is found by a whole row beyond it.

    Where several kernels of attention can be trained with, the result is that of the first that passes, or of the last.

    Args:
        model: PEFT's model over a base with TRL's fused head.
        rows: Rows to choose from, each with its requests: both of a pair, or one.
        padding: Token id to pad with.
    """
    base, is_exact = model.get_base_model(), computes_exactly(model.get_base_model())
    n_tokens = CHECKED_TOKENS if is_exact else 2 * CHECKED_TOKENS
    groups = _chosen(rows, length_thresholds(base.config), n_tokens)
    chosen = [request for group in groups for request in group]
    longest = _longest(chosen)
    with evaluation_mode(model), _moved(model):
        plain = _computed(model, groups, padding)
        tolerance = EXACT_TOLERANCE
        if not is_exact:
            tolerance = max(EXACT_TOLERANCE, SPREADS_ALLOWED * _spread(model, groups, padding, plain))
        is_lasting = True
        for kernel in kernels(base):
            check = StepCheck(len(chosen), None, tolerance, kernel=kernel, is_lasting=is_lasting, longest=longest)
            try:
                with packed_forward(base, Budget(sum(each.n_inputs for each in chosen)), kernel):
                    packed = _computed(model, groups, padding)
            except Exception as error:  # noqa: BLE001 - whatever a kernel or a family's own code may raise
                is_lasting = is_lasting and not is_out_of_memory(error)  # nor does what another kernel then finds
                problem = f"{type(error).__name__}: {first_line(error)}"
                check = replace(check, problem=problem, is_lasting=is_lasting)
                continue
            difference, worst = _largest(packed, plain)
            check = replace(check, worst=worst)
            if isfinite(difference):
                check = replace(check, difference=difference)
            else:
                check = replace(check, problem=f"{worst} is not finite")
            if check.passed:
                break
    return check


def _spread(model: Any, groups: Sequence[Sequence[Request]], padding: int, plain: _Computed) -> float:
    """The largest difference of the padded forward from itself: over padding, kernels of attention, and last bits.

    Padding alone may show none, because a CPU's kernels treat every row alike.
    """
    base, spreads = model.get_base_model(), list[float]()
    other_kernel = "eager" if attention_kernel_name(base) != "eager" else "sdpa"
    ways = ((nullcontext(), 1), (jittered_embeddings(base, JITTER), JITTERS), (attention_kernel(base, other_kernel), 1))
    for others, n_draws in ways:
        with suppress(ValueError, AttributeError), others:  # a family may have one kernel only
            others_give = (_computed(model, groups, padding, _EXTRA_COLUMNS) for _ in range(n_draws))
            spreads.extend(_largest(each, plain)[0] for each in others_give)
    return max(spreads)


def rows_to_check(lengths: "NDArray[np.int64]", thresholds: Sequence[int]) -> "NDArray[np.int64]":
    """Returns the places of rows among which a check finds its own.

    Args:
        lengths: Tokens of the longest request of each row, shape (n_rows,).
        thresholds: Lengths beyond which the model may compute otherwise (see `length_thresholds`).
    """
    beyond = (np.flatnonzero(lengths > threshold) for threshold in thresholds)
    shortest = [places[lengths[places].argmin()] for places in beyond if len(places)]
    first = np.arange(min(CHECKED_ROWS, len(lengths)))
    return np.concatenate([first, np.setdiff1d(np.asarray(shortest, np.int64), first)])


def _chosen(rows: Sequence[Sequence[Request]], thresholds: Sequence[int], n_tokens: int) -> list[Sequence[Request]]:
    """The requests of the shortest rows, at least two, that fit into so many tokens with their padding.

    Then, each by itself, the shortest row beyond every length at which the model may begin to compute otherwise.
    """
    by_length = sorted(rows, key=_longest)
    chosen: list[Request] = []
    for number, row in enumerate(by_length):
        more = [*chosen, *_cut(row, n_tokens // (FEWEST_ROWS * len(row)) - 1)]
        if number >= FEWEST_ROWS and len(more) * (_longest(more) + 1) > n_tokens:
            break
        chosen = more
    groups: list[Sequence[Request]] = [chosen]
    for threshold in thresholds:
        beyond = [row for row in by_length if _longest(row) > threshold]
        if beyond and _longest(groups[-1]) <= threshold:
            groups.append(beyond[0])
    return groups


def _cut(row: Sequence[Request], n_inputs: int) -> Sequence[Request]:
    """A row of so many input tokens a request, or the starts of prompt and responses of a longer one."""
    if _longest(row) <= n_inputs:
        return row
    prompts = [each.prompt_ids[: n_inputs // 2] for each in row]  # as long for both of a pair, which stays one
    return [
        Request(prompt, each.response_ids[: n_inputs - len(prompt) + 1])
        for prompt, each in zip(prompts, row, strict=True)
    ]


def _longest(requests: Sequence[Request]) -> int:
    return max(each.n_inputs for each in requests)


def _batch(requests: Sequence[Request], padding: int, n_extra: int, device: Any) -> "dict[str, torch.Tensor]":
    """The requests as a batch that is padded on the right, with so many columns of padding more than it needs."""
    import torch

    n_columns = _longest(requests) + 1 + n_extra
    shape = (len(requests), n_columns)
    ids, seen, labels = torch.full(shape, padding), torch.zeros(shape, dtype=torch.long), torch.full(shape, UNLABELLED)
    for row, request in enumerate(requests):
        tokens = torch.tensor((*request.prompt_ids, *request.response_ids))
        ids[row, : len(tokens)], seen[row, : len(tokens)] = tokens, 1
        labels[row, len(request.prompt_ids) : len(tokens)] = tokens[len(request.prompt_ids) :]
    return {
        name: values.to(device) for name, values in (("input_ids", ids), ("attention_mask", seen), ("labels", labels))
    }


def _computed(model: Any, groups: Sequence[Sequence[Request]], padding: int, n_extra: int = 0) -> _Computed:
    """Log-probabilities, and the gradients of the difference that DPO trains: every second response counts less.

    Each group is a batch, so that one long pair does not make a long row of every short one.
    """
    import torch

    weights = {name: each for name, each in model.named_parameters() if each.requires_grad}
    log_probabilities, gradients = [], dict[str, torch.Tensor]()
    for requests in groups:
        sums = model(**_batch(requests, padding, n_extra, model.device), fused_lm_head=True).log_probs.sum(-1)
        signs = torch.ones_like(sums)
        signs[1::2] = -0.5
        found = torch.autograd.grad((sums * signs).sum(), list(weights.values()), allow_unused=True)
        for name, each in zip(weights, found, strict=True):
            if each is not None:
                gradients[name] = gradients[name] + each if name in gradients else each
        log_probabilities.append(sums.detach())
    return _Computed(torch.cat(log_probabilities), gradients)


def _largest(one: _Computed, other: _Computed) -> tuple[float, str]:
    """The largest difference of two computations as a share of the second's size, and where it is."""
    pairs = {"log-probabilities": (one.log_probabilities, other.log_probabilities)}
    pairs |= {name: (one.gradients[name], gradient) for name, gradient in other.gradients.items()}
    shares = {
        name: float((mine - theirs).norm() / theirs.norm().clamp(min=1e-12)) for name, (mine, theirs) in pairs.items()
    }
    worst = max(shares, key=lambda name: inf if isnan(shares[name]) else shares[name])
    return shares[worst], worst


@contextmanager
def _moved(model: Any) -> Iterator[None]:
    """Sets the second matrices of LoRA to random numbers within the block; then they are as before, bit for bit."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    weights = [each for name, each in model.named_parameters() if each.requires_grad and "lora_B" in name]
    before = [weight.data for weight in weights]
    for weight in weights:
        weight.data = (torch.randn(weight.shape, generator=drawn) * _MOVED).to(weight.device, weight.dtype)
    try:
        yield
    finally:
        for weight, own in zip(weights, before, strict=True):
            weight.data = own
