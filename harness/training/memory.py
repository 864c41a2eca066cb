"""Memory of a training by arithmetic, before a step of it is taken."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.models.base import LoadedModel
from harness.training.packed_step.forward import MAX_LOGIT_ELEMENTS
from harness.training.recipe import EncodedRows, Recipe
from harness.training.trl import (
    TrainerInputs,
    activation_bytes,
    bytes_per_value,
    longest_row_tokens,
    recomputes_activations,
    tokens_at_once,
)
from suites.engine.causal_model import n_vocabulary

_ADAPTER_BYTES = 16
"""Bytes of a trained weight in fp32: itself, its gradient, and the two moments of AdamW."""
_LOGIT_BYTES = 8
"""Bytes of a logit: itself in fp32 and its gradient."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """What one step takes beside what the process holds already, the base model included; in bytes."""

    adapter: int
    """Trained weights, gradients and optimizer."""
    activations: int
    logits: int
    is_recomputed: bool
    """Whether gradient checkpointing keeps only each layer's input."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.adapter + self.activations + self.logits

    def as_line(self, held_bytes: int, available_bytes: int, device: str) -> str:
        """The sum and its parts in a line.

        Args:
            held_bytes: memory that the process holds now.
            available_bytes: memory that it holds or could still get.
            device: where.
        """
        parts = {
            "held now": held_bytes,
            "adapter": self.adapter,
            "activations": self.activations,
            "logits": self.logits,
        }
        shown = ", ".join(f"{name} {n_bytes / _GIB:.1f}" for name, n_bytes in parts.items())
        recomputed = "with" if self.is_recomputed else "without"
        return (
            f"by arithmetic about {(held_bytes + self.total) / _GIB:.1f} GiB of {available_bytes / _GIB:.1f} GiB on "
            f"{device} ({shown}; {recomputed} gradient checkpointing)"
        )


def tokens_held(inputs: TrainerInputs, n_rows: int) -> int:
    """Return the tokens whose activations a step on so many of the longest rows holds at a time.

    The packed engine holds a part of a batch, but no part of a row.
    """
    n_longest = longest_row_tokens(inputs)
    if inputs.recipe.training.engine != "packed":
        return n_rows * n_longest
    return min(n_rows * n_longest, max(tokens_at_once(inputs), n_longest))


def training_memory(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe) -> TrainingMemory:
    """Return the memory of a step on the longest rows, from the shapes of model and batch alone.

    Args:
        loaded: base model without adapters.
        rows: rows of the run.
        recipe: recipe of the run.
    """
    run, config = recipe.training, loaded.base.config.get_text_config()
    inputs = TrainerInputs(loaded, rows.training, recipe, is_started=False)
    n_rows = min(run.batch_size, len(rows.training))
    n_tokens, n_logits = tokens_held(inputs, n_rows), n_rows * longest_row_tokens(inputs) * n_vocabulary(loaded.base)
    if run.engine == "packed":
        n_logits = min(n_logits, MAX_LOGIT_ELEMENTS)
    n_bytes = bytes_per_value(loaded)
    is_recomputed = recomputes_activations(inputs)

    def of_layers(n_layers: int) -> int:
        return activation_bytes(n_layers, n_tokens, config.hidden_size, n_bytes)

    inputs_of_layers = config.num_hidden_layers * n_tokens * config.hidden_size * n_bytes
    return TrainingMemory(
        adapter=_ADAPTER_BYTES * sum(recipe.lora.rank * size for size in _adapted_sizes(loaded.base, recipe)),
        activations=inputs_of_layers + of_layers(1) if is_recomputed else of_layers(config.num_hidden_layers),
        logits=n_logits * _LOGIT_BYTES,
        is_recomputed=is_recomputed,
    )


def _adapted_sizes(base: Any, recipe: Recipe) -> Iterator[int]:
    """Yield inputs + outputs of every layer that the adapter changes, which is its number of weights for each rank."""
    from transformers.pytorch_utils import Conv1D

    head, targets = base.get_output_embeddings(), recipe.lora.target_modules
    for name, module in base.named_modules():
        is_linear = hasattr(module, "in_features") or isinstance(module, Conv1D)
        is_target = module is not head if isinstance(targets, str) else name.rpartition(".")[2] in targets
        if is_linear and is_target:
            yield sum(module.weight.shape) if isinstance(module, Conv1D) else module.in_features + module.out_features
