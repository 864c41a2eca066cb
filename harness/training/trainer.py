"""Train one adapter on a loaded base: measure selection rows on the way, continue an interrupted run.

DPO trains on pairs, KTO on rated answers, SFT on good answers, with TRL's trainers on PEFT's LoRA.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.models.adapter_files.folder import CONFIG_FILE, WEIGHTS_FILE
from harness.models.base import LoadedModel
from harness.models.base_files.folder import files_fingerprint
from harness.models.provenance import context_with_adapter
from harness.models.quantization import assert_unpacked
from harness.processes import by_all, by_the_first, n_together, ranks, told
from harness.training.checkpoints import writing
from harness.training.in_step import agreed, take_steps
from harness.training.loggers import check_loggers, logged
from harness.training.packed_step.budget import Budget
from harness.training.packed_step.check import check_packed_step, rows_to_check
from harness.training.packed_step.forward import packed_forward
from harness.training.packed_step.kept_check import keep_check, read_check
from harness.training.recipe import (
    KINDS,
    EncodedRows,
    LogLine,
    Progress,
    Recipe,
    TrainingError,
    requests_of,
    usable_recipe,
)
from harness.training.recorder import Recorder, Reference
from harness.training.reference import has_reference, reference_columns
from harness.training.resumable import save_adapter
from harness.training.router import router_line, router_weight
from harness.training.shares import check_shares, line_on_last_batch
from harness.training.token_table import table_of
from harness.training.trl import (
    LOSS_TYPES,
    SMOOTHED_LOSS_TYPES,
    HarnessTrainerMixin,
    TrainerInputs,
    check_start,
    load_start,
    make_trainer,
    tokens_at_once,
)
from harness.training.variants import n_steps
from suites.engine.scoring import ScoreStore
from suites.engine.self_check.thresholds import length_thresholds

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Result = TypeVar("Result")

_TRIED_ROWS = 4
"""Rows that a recipe is tried on; KTO needs more than one."""


class UnpackableModelError(Exception):
    """Packs do not give what TRL's padded batches give on this model."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one training run."""

    adapter: Path
    """Receives PEFT's files at the end."""
    checkpoints: Path
    """Holds the run's checkpoints, also those from before it was interrupted."""
    start: Path | None = None
    """Holds the adapter of an earlier stage, which training starts from and which becomes the reference."""
    logs: Path | None = None
    """Receives the loggers' files; with None they are deleted."""
    check: Path | None = None
    """File of what the check of the packed engine finds; what is there is not checked again."""


def train_adapter(
    loaded: LoadedModel,
    rows: EncodedRows,
    recipe: Recipe,
    folders: Folders,
    say: Callable[[str], None],
    progress: Progress | None = None,
    *,
    cache: ScoreStore | None = None,
) -> tuple[LogLine, ...]:
    """Train an adapter, save it and return its log; the base stays the same bit for bit.

    The reference is the same (quantised) base without dropout, with the adapter off or with that of the earlier stage.
    Log lines of kind "train" hold the trainer's own numbers of each step. Lines of kind "selection" hold
    `selection_statistics` at the start, every `eval_steps` and at the end. The last line, "summary", holds the totals.

    An interrupted run continues from its newest checkpoint. On a CPU of the same kind it ends with the same adapter bit
    for bit, and with the same log except for seconds and memory.

    Processes that are joined (`harness.processes`) each compute their part of every step, and call this together. The
    first one alone writes, logs and reads checkpoints; the others return the same log but for their own times.

    Args:
        loaded: base model without adapters.
        rows: encoded and truncated rows of the kind that the method trains on.
        recipe: recipe as `usable_recipe` returns it.
        folders: folders to read and write.
        say: called with messages about checkpoints and unbalanced ratings.
        progress: called with every log line.
        cache: store of scores, for those of the reference.

    Raises:
        TrainingError: a setting is invalid, the loss became NaN, or a file cannot be written.
        UnpackableModelError: the packed engine does not agree with TRL on this model.
        TrainingStartError: the first loss of plain DPO or KTO is wrong.
    """
    here = ranks()
    if not here.is_first:
        recipe = replace(recipe, training=replace(recipe.training, report_to=()))
    by_all(lambda: check_trainable(loaded, rows, recipe, folders.start))
    _warn_of_imbalance(rows, say)
    if line := line_on_last_batch(len(rows.training), recipe.training.batch_size, here.n):
        say(line)
    with ExitStack() as stack:
        logs = folders.logs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        by_the_first(lambda: stack.enter_context(logged(recipe.training.report_to, logs)))
        stack.enter_context(restored(loaded.base))
        log = None
        while log is None:
            log = _train_to_the_end(
                agreed(TrainerInputs(loaded, rows.training, recipe, folders.start is not None)),
                rows,
                folders,
                logs,
                say,
                progress,
                cache,
            )
        return log


def _train_to_the_end(
    inputs: TrainerInputs,
    rows: EncodedRows,
    folders: Folders,
    logs: Path,
    say: Callable[[str], None],
    progress: Progress | None,
    cache: ScoreStore | None,
) -> tuple[LogLine, ...] | None:
    """Train from the newest checkpoint, or from the start; None where that turned out to be damaged and is deleted."""
    with ready_to_train(inputs, rows, folders, logs, say=say, progress=progress, cache=cache) as (trainer, recorder):
        if not take_steps(trainer, folders.checkpoints, say):
            return None

        def write() -> None:
            with writing(folders.adapter, folders.checkpoints):
                save_adapter(trainer.model, folders.adapter)

        by_the_first(write)
        return tuple(recorder.log)


@contextmanager
def ready_to_train(
    inputs: TrainerInputs,
    rows: EncodedRows,
    folders: Folders,
    logs: Path,
    *,
    say: Callable[[str], None],
    progress: Progress | None,
    cache: ScoreStore | None,
) -> Iterator[tuple[HarnessTrainerMixin, Recorder]]:
    """Yields a trainer and its recorder before the first step, its rows scored by the reference where that is once.

    Raises:
        UnpackableModelError: the packed engine does not agree with TRL on this model.
    """
    loaded, recipe = inputs.loaded, inputs.recipe
    with ExitStack() as stack:
        trainer = by_all(lambda: make_trainer(inputs, logs))
        stack.callback(trainer.model.unload)
        if (start := folders.start) is not None:
            by_all(lambda: load_start(trainer.model, start, loaded.device))
        recorder = Recorder(
            loaded,
            trainer.model,
            rows.selection,
            recipe,
            progress,
            say=say,
            reference=Reference(inputs.is_started, cache, reference_context(loaded, folders.start)),
        )
        for line in filter(None, (recorder.covered.as_line(), router_line(recorder.router_weight))):
            say(line)
        trainer.attach(recorder, folders.checkpoints, say)
        if recipe.training.engine == "packed":
            stack.enter_context(_in_packs(trainer, inputs, folders.check))
        if has_reference(recipe.training.method) and recipe.training.reference == "once":
            columns = partial(
                reference_columns,
                recipe.training.method,
                trainer.train_dataset,
                trainer.rows_seen(n_steps(len(inputs.rows), recipe.training)),
                folders.checkpoints,
                recorder.reference_scores,
            )
            trainer.give_reference(by_the_first(columns))
        yield trainer, recorder


@contextmanager
def _in_packs(trainer: HarnessTrainerMixin, inputs: TrainerInputs, file: Path | None) -> Iterator[None]:
    """Lets a trainer compute its batches in packs within the block, after a check on some rows.

    Raises:
        UnpackableModelError: packs do not agree with TRL's padded batches.
    """
    check, thresholds = told(read_check(file)), length_thresholds(inputs.loaded.base.config)
    rows = table_of(inputs.rows)
    lengths = rows.lengths.max(axis=1) - 1  # a last token is no input
    if check is None or not check.holds_for(int(lengths.max()), thresholds):
        some = [requests_of([row]) for row in rows.take(rows_to_check(lengths, thresholds))]
        with trainer.without_casts(), trainer.accelerator.autocast():
            check = told(check_packed_step(trainer.model, some, inputs.loaded.pad_token_id))
        if ranks().is_first:
            keep_check(file, check)
    if not check.passed:
        raise UnpackableModelError(str(check))
    trainer.budget = Budget(tokens_at_once(inputs))
    trainer.recorder.packed_step = trainer.budget, str(check)
    with packed_forward(trainer.model.get_base_model(), trainer.budget, check.kernel) as as_itself:
        trainer.recorder.scoring = as_itself
        yield


def reference_context(loaded: LoadedModel, start: Path | None) -> str:
    """Everything but token ids that determines a score of the reference: the base, or the adapter of the start."""
    if start is None:
        return context_with_adapter(loaded, None)
    return context_with_adapter(loaded, files_fingerprint([start / CONFIG_FILE, start / WEIGHTS_FILE]))


def on_fitting_engine(train: Callable[[Recipe], Result], recipe: Recipe, say: Callable[[str], object]) -> Result:
    """Return what `train` makes of a recipe, in TRL's batches where packs do not fit and the recipe leaves the choice.

    Raises:
        TrainingError: the recipe asks for packs, and they do not agree with TRL on this model.
    """
    try:
        return train(recipe)
    except UnpackableModelError as error:
        if recipe.training.engine == "packed":
            raise TrainingError(f"training.engine: {error}; set it to trl, or leave it out") from error
        say(f"{error}; it is trained in TRL's padded batches")
        return train(replace(recipe, training=replace(recipe.training, engine="trl")))


def try_recipe(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, *, is_started: bool) -> None:
    """Do everything that comes before the first step of a training, on a few rows, and undo it.

    What PEFT, TRL and transformers refuse, such as an unknown optimizer, then shows before other adapters are trained.

    Args:
        loaded: base model without adapters.
        rows: rows of the run.
        recipe: recipe as `usable_recipe` returns it.
        is_started: whether the adapter continues from an earlier stage.

    Raises:
        TrainingError: the recipe cannot be trained.
    """
    check_trainable(loaded, rows, recipe, None)
    few = TrainerInputs(loaded, rows.training[:_TRIED_ROWS], recipe, is_started)
    with tempfile.TemporaryDirectory() as logs, restored(loaded.base):
        make_trainer(few, Path(logs)).model.unload()


def write_untrained(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, folder: Path) -> None:
    """Write an adapter of a recipe's shape that changes nothing yet, and leave the base as it is.

    Args:
        loaded: base model without adapters.
        rows: rows of the run.
        recipe: recipe of the run.
        folder: folder to write.

    Raises:
        TrainingError: the recipe cannot be trained.
    """
    recipe, _ = usable_recipe(recipe, loaded)
    inputs = TrainerInputs(loaded, rows.training[:_TRIED_ROWS], recipe, is_started=False)
    with tempfile.TemporaryDirectory() as logs, restored(loaded.base):
        model = make_trainer(inputs, Path(logs)).model
        save_adapter(model, folder)
        model.unload()


def check_trainable(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, start: Path | None) -> None:
    """Check what TRL checks with less helpful messages, or not at all."""
    if loaded.adapters is not None:
        raise ValueError("a model is trained before adapters are attached to it")
    if recipe.training.engine == "auto":
        raise ValueError("a recipe is trained as usable_recipe returns it, which chooses the engine")
    assert_unpacked(loaded.base)
    run = recipe.training
    if not rows.training:
        equal = f" ({rows.n_equal} have equal sides once they are cut to data.max_tokens)" if rows.n_equal else ""
        raise TrainingError(
            f"data.training: no {KINDS[run.method]} are left to train on{equal}; "
            f"loosen data's filters, limits or overlap"
        )
    kind = table_of(rows.training).kind
    if kind != KINDS[run.method]:
        raise TrainingError(f"training.method: {run.method} trains on {KINDS[run.method]}, not on {kind}")
    check_loggers(run.report_to)
    router = router_weight(loaded, run)
    check_shares(run, n_together(recipe.n_ranks), router)
    if router and run.engine == "packed":
        raise TrainingError(
            f"training.engine: packed does not compute the router's loss, which counts {router:g} times here; choose "
            f"trl, or let training.router_aux_loss_coef be 0"
        )
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


def _warn_of_imbalance(rows: EncodedRows, say: Callable[[str], None]) -> None:
    """Say when good and bad answers are unbalanced.

    KTO's paper (https://arxiv.org/abs/2402.01306, equation 9) advises a ratio of good to bad, each times its weight,
    from 1 to 4/3.
    """
    ratings = table_of(rows.training).ratings
    n_good = int(ratings.sum())
    n_bad = len(ratings) - n_good
    if not n_bad <= n_good <= 4 / 3 * n_bad:
        say(
            f"{n_good} answers are good and {n_bad} bad, all of weight 1; KTO's paper advises 1 to 1.33 good answers "
            f"for each bad one."
        )


@contextmanager
def restored(base: "PreTrainedModel") -> Iterator[None]:
    """Undo every change to the base and to torch that a trainer makes besides training the adapter."""
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
