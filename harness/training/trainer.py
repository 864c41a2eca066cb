"""One training run: an adapter on a loaded base, measured on selection rows while it runs, resumed when it was cut off.

DPO learns from pairs, KTO from rated answers, SFT from good answers: TRL's trainers on PEFT's LoRA.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.base import LoadedModel
from harness.models.quantization import assert_unpacked
from harness.training.checkpoints import newest_checkpoint, what_is_kept, writing
from harness.training.loggers import check_loggers, logged
from harness.training.recipe import KINDS, Progress, RatedRequest, Recipe, Row, TrainingError, TrainingRows, kind_of
from harness.training.recorder import Recorder
from harness.training.trl import (
    LOSS_TYPES,
    SMOOTHED_LOSS_TYPES,
    TrainerInputs,
    activation_bytes,
    attach_recorder,
    check_start,
    load_start,
    make_trainer,
    restore,
    save_adapter,
    usable_recipe,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Folders", "Recipe", "TrainingRows", "activation_bytes", "train_adapter", "usable_recipe"]


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a training run reads and writes."""

    adapter: Path
    """Gets PEFT's files when training is over."""
    checkpoints: Path
    """Of this very run, before and after it was cut off."""
    start: Path | None = None
    """Adapter of a stage before, whose weights training starts from; with the base it is then the reference."""
    logs: Path | None = None
    """For the loggers; None keeps nothing of them."""


def train_adapter(
    loaded: LoadedModel,
    rows: TrainingRows,
    recipe: Recipe,
    folders: Folders,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> tuple[Row, ...]:
    """Train an adapter and save it; the base is bit for bit what it was.

    The reference is the same (quantised) base, with the adapter off or with that of the stage before, without dropout.
    Rows of kind "train" are the trainer's own numbers, one a step, where a tie counts as lost; rows of kind "selection"
    are computed per row (`selection_statistics`) at the start, every `eval_steps` and at the end; the last row,
    "summary", says what it took.

    A run that was cut off goes on from its newest checkpoint. On a CPU it ends with the same adapter, bit for bit, and
    the same rows but for seconds and memory.

    Args:
        loaded: without adapters.
        rows: token ids as the encoder made them, truncated already, of the kind that the method learns from.
        recipe: adapter, run and seed, as `usable_recipe` gives it.
        folders: where it reads and writes.
        say: told lines about what it goes on from and what is kept.
        progress: told of every row.

    Returns:
        The rows of training.jsonl, in order.

    Raises:
        TrainingError: the recipe asks for what does not exist, the loss became NaN, or nothing can be written.
        TrainingStartError: a run of plain DPO or KTO did not start where it must.
    """
    _check(loaded, rows, recipe, folders.start)
    _tell_of_imbalance(rows, say)
    with ExitStack() as stack:
        logs = folders.logs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(logged(recipe.training.report_to, logs))
        stack.enter_context(_left_as_it_was(loaded.base))
        is_started = folders.start is not None
        trainer = make_trainer(TrainerInputs(loaded, rows.training, recipe, is_started), logs)
        stack.callback(trainer.model.unload)
        if folders.start is not None:
            load_start(trainer.model, folders.start, loaded.device)
        recorder = Recorder(loaded, trainer.model, rows.selection, recipe, progress, say=say, is_started=is_started)
        attach_recorder(trainer, recorder, folders.checkpoints)
        checkpoint = newest_checkpoint(folders.checkpoints, say)
        if checkpoint is not None:
            restore(trainer, recorder, checkpoint)
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except KeyboardInterrupt:
            say(f"Interrupted: {what_is_kept(folders.checkpoints)}.")
            raise
        with writing(folders.adapter, folders.checkpoints):
            save_adapter(trainer.model, folders.adapter)
    return tuple(recorder.rows)


def _check(loaded: LoadedModel, rows: TrainingRows, recipe: Recipe, start: Path | None) -> None:
    """Refuse what TRL would refuse in other words, or not at all."""
    if loaded.adapters is not None:
        raise ValueError("a model is trained before adapters are attached to it")
    assert_unpacked(loaded.base)
    run = recipe.training
    if not rows.training:
        raise TrainingError(f"data.training: no {KINDS[run.method]} are left to train on")
    given = sorted({kind_of(row) for row in rows.training} - {KINDS[run.method]})
    if given:
        raise TrainingError(f"training.method: {run.method} learns from {KINDS[run.method]}, not from {given[0]}")
    check_loggers(run.report_to)
    if start is not None:
        check_start(start, recipe.lora)
    if run.method == "kto" and run.batch_size == 1:
        raise TrainingError("training.batch_size: must be at least 2 for kto, which compares the answers of a batch")
    if run.method == "dpo":
        _check_losses(run.loss_type, run.loss_weights, run.label_smoothing)


def _check_losses(loss_type: Sequence[str], weights: Sequence[float] | None, label_smoothing: float) -> None:
    unknown = sorted(set(loss_type) - set(LOSS_TYPES))
    if unknown or not loss_type:
        raise TrainingError(f"training.loss_type: {unknown} must be of {', '.join(LOSS_TYPES)}")
    if weights is not None and len(weights) != len(loss_type):
        raise TrainingError(f"training.loss_weights: {len(weights)} weights for {len(loss_type)} losses")
    if label_smoothing == 0 and "exo_pair" in loss_type:
        raise TrainingError("training.label_smoothing: must be above 0 for the loss exo_pair, such as 0.001")
    if label_smoothing > 0 and not set(loss_type) & set(SMOOTHED_LOSS_TYPES):
        raise TrainingError(
            f"training.label_smoothing: {label_smoothing:g} changes nothing for {', '.join(loss_type)}; it belongs to "
            f"{', '.join(SMOOTHED_LOSS_TYPES)}"
        )


def _tell_of_imbalance(rows: TrainingRows, say: Callable[[str], None]) -> None:
    """KTO's paper (https://arxiv.org/abs/2402.01306, equation 9) wants good x weight to bad x weight from 1 to 4/3."""
    ratings = [row.is_good for row in rows.training if isinstance(row, RatedRequest)]
    n_good, n_bad = sum(ratings), len(ratings) - sum(ratings)
    if not n_bad <= n_good <= 4 / 3 * n_bad:
        say(
            f"Of the answers {n_good} are good and {n_bad} bad, all of weight 1; for KTO 1 to 1.33 good ones for a bad "
            f"one are advised."
        )


@contextmanager
def _left_as_it_was(base: "PreTrainedModel") -> Iterator[None]:
    """Undo what the trainers do to a model, and to torch, beside training the model's adapter."""
    import torch

    n_threads, was_training, forward = torch.get_num_threads(), base.training, vars(base).get("forward")
    settings = [(each, dict(vars(each))) for each in (base.config, base.config.get_text_config())]
    settings += [(base.generation_config, dict(vars(base.generation_config)))]
    try:
        yield
    finally:
        vars(base).pop("forward", None)  # TRL's fused head
        if forward is not None:
            base.forward = forward
        base.gradient_checkpointing_disable()
        base.disable_input_require_grads()
        for each, before in settings:  # token ids and the use of the cache
            vars(each).update(before)
        base.requires_grad_(False).train(was_training)
        torch.set_num_threads(n_threads)
