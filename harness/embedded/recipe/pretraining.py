"""Trains the embedded base model on its text, and keeps the progress, so that a stopped training can go on.

A training that was stopped and goes on gives the same weights as one that was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from harness.embedded.recipe.training_text import Batch

PROGRESS = "progress.pt"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the weights are moved. The number of steps is fixed, not the time."""

    steps: int = 9000
    learning_rate: float = 2.5e-3
    """Of the embeddings and of the root mean square of each matrix's update."""
    warmup_steps: int = 100
    last_share: float = 0.03
    """Share of the learning rate that is left at the end."""
    weight_decay: float = 0.1
    smoothing: float = 0.1
    """Share of each target that goes to all tokens by their frequency, so that no word comes as a complete surprise."""
    log_steps: int = 200
    save_steps: int = 500


def learning_rate_at(step: int, schedule: Schedule) -> float:
    """The learning rate of a step: a linear warm-up, then a cosine down to the last share of the peak."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    share = schedule.last_share + (1 - schedule.last_share) * 0.5 * (1 + math.cos(math.pi * progress))
    return schedule.learning_rate * share


def frequencies(batches: Sequence[Batch], vocabulary_size: int) -> torch.Tensor:
    """Share of each token among the targets, of shape (vocabulary,); every token counts once more than it is seen."""
    import torch

    counts = torch.ones(vocabulary_size)
    for batch in batches:
        counts += torch.bincount(batch.ids[batch.weights > 0].long(), minlength=vocabulary_size)
    return counts / counts.sum()


def weighted_loss(
    model: LlamaForCausalLM, batch: Batch, token_shares: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the loss to minimise and the mean cross-entropy of the next tokens, in nats, both by their weights.

    The loss smooths each target with the frequencies of the tokens, which is what drawing a token at random in so many
    places comes to (Xie et al. 2017, Data noising as smoothing in neural network language models, section 3.3).
    """
    ids = batch.ids.long()
    log_probabilities = model(input_ids=ids[:, :-1]).logits.float().log_softmax(-1)
    losses = -log_probabilities.gather(-1, ids[:, 1:, None])[..., 0]
    smoothed = (1 - smoothing) * losses - smoothing * (log_probabilities @ token_shares)
    weights = batch.weights[:, 1:]
    return (smoothed * weights).sum() / weights.sum(), (losses * weights).sum().detach() / weights.sum()


def make_optimizers(model: LlamaForCausalLM, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embeddings and norms (Jordan et al. 2024, Liu et al. 2025).

    It takes a third fewer steps than AdamW alone for the same loss, of which its own arithmetic costs a half.
    """
    import torch

    matrices = [each for name, each in model.named_parameters() if each.ndim == 2 and ".layers." in name]  # noqa: PLR2004
    others = [each for name, each in model.named_parameters() if each.ndim != 2 or ".layers." not in name]  # noqa: PLR2004
    rate, decay = schedule.learning_rate, schedule.weight_decay
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=decay, betas=(0.9, 0.98)),
    ]


def pretrain(model: LlamaForCausalLM, batches: list[Batch], schedule: Schedule, folder: Path) -> None:
    """Trains on all batches in order, once, in fp32, from the progress in the folder if there is any."""
    import torch

    optimizers = make_optimizers(model, schedule)
    start = restore(model, optimizers, folder)
    if start:
        click.echo(f"goes on from step {start}")
    token_shares = frequencies(batches, model.config.vocab_size)
    model.train()
    began, losses = time.perf_counter(), []
    for step in range(start, schedule.steps):
        loss, cross_entropy = weighted_loss(model, batches[step], token_shares, schedule.smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, schedule)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(cross_entropy.item())
        if (step + 1) % schedule.log_steps == 0 or step + 1 == schedule.steps:
            mean = sum(losses) / len(losses)
            click.echo(f"step {step + 1} of {schedule.steps}: loss {mean:.3f}, {time.perf_counter() - began:.0f} s")
            losses = []
        if (step + 1) % schedule.save_steps == 0:
            keep(model, optimizers, step + 1, folder)


def keep(model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], step: int, folder: Path) -> None:
    """Writes weights, states of the optimizers and number of steps done, whole or not at all."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{PROGRESS}.{os.getpid()}"  # another process may build the same
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.save({"model": model.state_dict(), "optimizers": states, "step": step}, unfinished)
    unfinished.replace(folder / PROGRESS)


def restore(model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], folder: Path) -> int:
    """Reads the progress into model and optimizers, and returns the number of steps done.

    It is 0 where there is no progress, or a damaged one, which is said.
    """
    import torch

    path = folder / PROGRESS
    if not path.exists():
        return 0
    try:
        kept: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, UnpicklingError) as error:
        click.echo(f"{path} cannot be read ({type(error).__name__}): the training begins anew")
        return 0
    model.load_state_dict(kept["model"])
    for optimizer, state in zip(optimizers, kept["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return int(kept["step"])
