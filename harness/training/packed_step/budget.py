"""How many tokens a step holds the activations of, and the step again with half of them where memory runs out."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.errors import UserError
from suites.engine.units import is_out_of_memory

if TYPE_CHECKING:
    import torch
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

LOWEST_TOKENS_AT_ONCE = 64


class StepMemoryError(UserError):
    """One of several processes has no room for its part of a step."""


@dataclass(slots=True)
class Budget:
    """Tokens whose activations a backward pass holds; halved where memory runs out."""

    max_tokens: int

    def halve(self) -> bool:
        """Makes the budget half as large; False where it cannot become smaller."""
        if self.max_tokens <= LOWEST_TOKENS_AT_ONCE:
            return False
        self.max_tokens = max(LOWEST_TOKENS_AT_ONCE, self.max_tokens // 2)
        return True


class BudgetMixin(_Trainer):  # type: ignore[misc]
    """Repeats a step that ran out of memory as if it had not been begun; stands before a class of TRL.

    One of several processes cannot: the others took the step, and wait for their average of its gradients.
    """

    budget: Budget | None = None
    """None where batches are computed as TRL does."""
    say: Callable[[str], object] = print

    def training_step(self, *arguments: Any, **options: Any) -> "torch.Tensor":
        """Take a step, within a smaller budget where it does not fit; the loss is the same."""
        loss: torch.Tensor
        while self.budget is not None:
            before = _before_step(self)
            try:
                loss = super().training_step(*arguments, **options)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self.budget.halve():
                    raise
                if self.args.world_size > 1:
                    raise StepMemoryError(
                        f"training.max_tokens_at_once: memory ran out in a step of several processes, which one of "
                        f"them cannot repeat alone; set it to {self.budget.max_tokens}, or lower training.batch_size: "
                        f"either is another recipe, which is trained from its first step"
                    ) from error
            else:
                return loss
            before()
            self.say(f"out of memory: training goes on with at most {self.budget.max_tokens} tokens at once")
        loss = super().training_step(*arguments, **options)
        return loss


def _before_step(trainer: Any) -> Callable[[], None]:
    """What puts a trainer back to where it is now: gradients, metrics of the step so far, and all random numbers."""
    import torch

    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    gradients = [None if weight.grad is None else weight.grad.clone() for weight in weights]
    metrics = {name: list(values) for name, values in trainer._metrics["train"].items()}  # noqa: SLF001 - no public one
    n_tokens = trainer._total_train_tokens  # noqa: SLF001
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - what libraries draw from
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore() -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        trainer._metrics["train"].clear()  # noqa: SLF001
        trainer._metrics["train"].update(metrics)  # noqa: SLF001
        trainer._total_train_tokens = n_tokens  # noqa: SLF001
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)
            torch.cuda.empty_cache()

    return restore
