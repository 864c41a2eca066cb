"""Measures the machine's rate of matrix products and counts the tokens that go through a model."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from suites.engine.packing import pack_requests
from suites.inputs import Request

Result = TypeVar("Result")


@dataclass(slots=True)
class Computed:
    """Tokens that went into a model's embedding, padding included."""

    n_tokens: int = 0
    n_forwards: int = 0


@dataclass(frozen=True, slots=True)
class Matmuls:
    """Shapes of the weights that a model multiplies with hidden states."""

    body: Sequence[torch.Tensor] = field(repr=False)
    head: torch.Tensor = field(repr=False)

    def flops(self, n_tokens: int, n_head_rows: int) -> float:
        """Multiplications and additions of the linear layers, without attention's own products."""
        return 2.0 * (sum(weight.numel() for weight in self.body) * n_tokens + self.head.numel() * n_head_rows)


def matmuls_of(model: Any) -> Matmuls:
    """Returns the shapes (inputs, outputs) of all linear layers, the output head apart."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    body = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            body.append(module.weight.detach().T)
        elif isinstance(module, Conv1D):
            body.append(module.weight.detach())
    return Matmuls(body, head.weight.detach().T)


@contextmanager
def counting(model: Any) -> Iterator[Computed]:
    """Counts tokens and forwards of the model within the block."""
    computed = Computed()

    def count(_module: Any, inputs: tuple[Any, ...]) -> None:
        computed.n_tokens += inputs[0].numel()
        computed.n_forwards += 1

    hook = model.get_input_embeddings().register_forward_pre_hook(count)
    try:
        yield computed
    finally:
        hook.remove()


def head_rows(requests: Sequence[Request]) -> int:
    """Number of distinct hidden states that need logits."""
    return sum(len(pack.rows) for pack in pack_requests([*dict.fromkeys(requests)], max_tokens=4096))


def measured_rate(matmuls: Matmuls, n_rows: int, repetitions: int) -> float:
    """Floating-point operations a second of the model's products with `n_rows` rows, the best of a few tries."""
    weights = [*matmuls.body, matmuls.head]
    widths = {weight.shape[0] for weight in weights}
    states = {width: torch.randn(n_rows, width).to(weights[0]) for width in widths}

    def multiply() -> None:
        for weight in weights:
            torch.mm(states[weight.shape[0]], weight)

    with torch.inference_mode():
        torch.mm(states[weights[0].shape[0]], weights[0])
        seconds = min(timed(multiply)[0] for _ in range(repetitions))
    return matmuls.flops(n_rows, n_rows) / seconds


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Returns wall-clock seconds, the device's work included, and the result."""
    synchronize()
    start = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - start, result


def synchronize() -> None:
    """Waits for the GPU where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
