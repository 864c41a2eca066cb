"""What the processes of one training do in step: choose alike, begin at one checkpoint, and end together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.processes import StoppedError, by_all, by_the_first, gathered, ranks
from harness.training.checkpoints import DamagedCheckpointError, discard, newest_checkpoint, what_is_kept
from harness.training.recipe import TrainingError
from harness.training.trl import HarnessTrainerMixin, TrainerInputs, recomputes_activations, tokens_at_once


def agreed(inputs: TrainerInputs) -> TrainerInputs:
    """Return the inputs with the choices that follow a process's free memory made alike for all: the careful ones.

    Packs of another size round otherwise, and a resumed training goes on with those of the first process.
    """
    if ranks().n == 1:
        return inputs
    recomputes = any(gathered(recomputes_activations(inputs)))
    training = replace(inputs.recipe.training, gradient_checkpointing="on" if recomputes else "off")
    inputs = replace(inputs, recipe=replace(inputs.recipe, training=training))
    if training.engine == "packed":
        training = replace(training, max_tokens_at_once=min(gathered(tokens_at_once(inputs))))
    return replace(inputs, recipe=replace(inputs.recipe, training=training))


def take_steps(trainer: HarnessTrainerMixin, checkpoints: Path, say: Callable[[str], None]) -> bool:
    """Take all steps from the newest checkpoint on; False where that turned out to be damaged and is deleted.

    Raises:
        TrainingError: the loss became NaN, or another process does not find the checkpoint.
        StoppedError: the same as the first process's error, in the others.
    """
    checkpoint = by_the_first(lambda: newest_checkpoint(checkpoints, say, trainer.restore))
    by_all(lambda: _follow(trainer, checkpoint))
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except DamagedCheckpointError as damage:  # in what transformers itself reads, which it may have taken half of
        assert checkpoint is not None
        found, reason = checkpoint, damage
        by_the_first(lambda: discard(found, reason, say))
        return False
    except TrainingError as error:  # of loss or weights, which all processes share
        if ranks().is_first:
            raise
        raise StoppedError(str(error)) from error
    except KeyboardInterrupt:
        say(f"Interrupted: {what_is_kept(checkpoints)}.")
        raise
    return True


def _follow(trainer: HarnessTrainerMixin, checkpoint: Path | None) -> None:
    """Take what the first process took from a checkpoint in the other ones.

    Raises:
        TrainingError: it is not here.
    """
    if checkpoint is None or ranks().is_first:
        return
    try:
        trainer.restore(checkpoint)
    except DamagedCheckpointError as damage:
        raise TrainingError(
            f"--workspace: {checkpoint} is not here as the first process reads it ({damage}); give all processes one "
            f"folder that every machine sees"
        ) from damage
