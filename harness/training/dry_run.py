"""Estimate time and memory of a training from a few real steps, and whether it fits."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.config.schema import TrainingConfig
from harness.config.wording import duration
from harness.models.base import LoadedModel
from harness.models.precision import advice_on
from harness.training.memory import tokens_held, training_memory
from harness.training.recipe import EncodedRows, LogLine, Recipe, usable_recipe
from harness.training.reference import has_reference
from harness.training.token_table import table_of
from harness.training.trainer import Folders, on_fitting_engine, train_adapter
from harness.training.trl import TrainerInputs, recomputes_activations
from harness.training.variants import Variant, n_steps
from suites.engine.memory import free_bytes, own_bytes

PROBE_SECONDS = 10.0
"""Time limit of a probe's timed steps; at least one step is timed however long it takes."""
_MOST_STEPS = 9
_LONGEST_STEP_SECONDS = 30.0
"""Time of a step, by that of the smallest batch, above which no whole batch is tried."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost of one training run; fields that the probe could not determine are None."""

    n_rows: int
    n_tokens: int
    """Tokens of all rows in one epoch: prompts and responses, both sides of a pair."""
    longest_tokens: int
    """Tokens of the longest sequence."""
    n_steps: int
    rows_a_step: int
    device: str
    products: str
    """The type that matrix products are computed in, and advice where it is slow here."""
    device_bytes: int
    """Memory that this process holds or could still get."""
    fits: bool
    reason: str
    """Sentence that says why it fits or does not."""
    trainable_parameters: int | None = None
    tokens_per_second: float | None = None
    """Training speed."""
    seconds: float | None = None
    """Time for training, for the reference, and for measuring the selection rows."""
    reference_seconds: float = 0.0
    """Of them for training rows by the reference, whose scores the next adapter on these rows finds."""
    peak_bytes: int | None = None
    """Peak memory of torch on a GPU, of the whole process on a CPU, as in training.jsonl."""

    def as_lines(self) -> tuple[str, ...]:
        """Return the estimate as lines for the terminal."""
        lines = [
            f"rows             {self.n_rows:,}, {self.n_tokens:,} tokens, the longest sequence {self.longest_tokens:,}",
            f"steps            {self.n_steps:,} of {self.rows_a_step:,} rows",
        ]
        if self.trainable_parameters is not None:
            lines.append(f"trained weights  {self.trainable_parameters:,}")
        if self.seconds is not None:
            lines.append(f"time             about {duration(self.seconds)}, {self.tokens_per_second:,.0f} tokens/s")
        lines.append(f"products         {self.products}")
        lines.append(f"memory           {self.reason}")
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class _Probe:
    """Measurements of a probe's steps; memory and time are those of the recipe's own batch size."""

    trainable_parameters: int
    tokens_per_second: float
    selection_tokens_per_second: float | None
    """Speed of measuring selection rows; None without selection rows."""
    peak_bytes: int
    n_sequences: int | None = None
    """Rows of a batch that was tried, where it is smaller than the recipe's."""


def estimate(
    loaded: LoadedModel,
    rows: EncodedRows,
    recipe: Recipe,
    *,
    say: Callable[[str], object] = str,
    probe_seconds: float = PROBE_SECONDS,
) -> Estimate:
    """Train a few steps, discard them, and extrapolate to the whole run.

    First the memory is said by arithmetic. Then the steps are those of `train_adapter`: one on the longest row alone,
    and where a whole batch then fits and does not take too long, one on the longest rows for the memory, and a few on
    random rows for the time. The base stays the same bit for bit. Assumed, not measured: time is proportional to
    the number of tokens, continuing from an earlier stage takes no more memory, and imports, loggers and checkpoints
    take no time.

    Args:
        loaded: base model without adapters.
        rows: rows of the run.
        recipe: recipe of the run.
        say: called with the memory by arithmetic, before any step is taken.
        probe_seconds: time limit of the timed steps, judged by one step on the longest rows.

    Raises:
        TrainingError: the recipe cannot be trained.
    """
    estimated = partial(_estimate, loaded, rows, say=say, probe_seconds=probe_seconds)
    return on_fitting_engine(estimated, recipe, say)


def _estimate(
    loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, *, say: Callable[[str], object], probe_seconds: float
) -> Estimate:
    """Return the estimate of a recipe as it stands; see `estimate`.

    Raises:
        UnpackableModelError: the packed engine does not agree with TRL on this model.
    """
    import torch

    recipe, _ = usable_recipe(recipe, loaded)
    run, n_rows = recipe.training, len(rows.training)
    held_bytes = own_bytes(loaded.device)
    device_bytes = held_bytes + free_bytes(loaded.device, loaded.gpus)
    if rows.training:  # without any the trainer says what to do
        say(training_memory(loaded, rows, recipe).as_line(held_bytes, device_bytes, loaded.device))
    try:
        probe = _probe(loaded, rows, recipe, probe_seconds, device_bytes)
    except torch.OutOfMemoryError:
        probe = None
    table = table_of(rows.training)
    n_tokens = int(table.lengths.sum())
    plan = Estimate(
        n_rows=n_rows,
        n_tokens=n_tokens,
        longest_tokens=table.longest,
        n_steps=n_steps(n_rows, run),
        rows_a_step=run.batch_size * run.gradient_accumulation_steps,
        device=loaded.device,
        products=_products(loaded),
        device_bytes=device_bytes,
        fits=probe is not None and probe.peak_bytes <= device_bytes,
        reason=_memory(probe, device_bytes, loaded.device),
    )
    if probe is None:
        return plan
    reference_seconds = _reference_seconds(rows, run, n_tokens, probe)
    return replace(
        plan,
        trainable_parameters=probe.trainable_parameters,
        tokens_per_second=probe.tokens_per_second,
        seconds=_own_seconds(rows, run, n_tokens, probe) + reference_seconds,
        reference_seconds=reference_seconds,
        peak_bytes=probe.peak_bytes,
    )


def _own_seconds(rows: EncodedRows, run: TrainingConfig, n_tokens: int, probe: _Probe) -> float:
    """Return the time of all steps, and of the selection rows as often as the recipe asks."""
    n_all_steps = n_steps(len(rows.training), run)
    seconds = n_tokens * _n_epochs(rows, run) / probe.tokens_per_second
    if probe.selection_tokens_per_second is not None:
        n_tokens_a_pass = int(table_of(rows.selection).lengths.sum())
        n_selection_tokens = n_tokens_a_pass * _selection_passes(n_all_steps, run.eval_steps)
        seconds += n_selection_tokens / probe.selection_tokens_per_second
    return seconds


def _reference_seconds(rows: EncodedRows, run: TrainingConfig, n_tokens: int, probe: _Probe) -> float:
    """Return the time of the pass in which the reference scores training rows; 0 where there is none."""
    if run.reference != "once" or not has_reference(run.method):
        return 0.0
    speed = probe.selection_tokens_per_second or 3 * probe.tokens_per_second
    return n_tokens * min(1.0, _n_epochs(rows, run)) / speed


def _n_epochs(rows: EncodedRows, run: TrainingConfig) -> float:
    """Return how often each training row is trained on."""
    n_rows = len(rows.training)
    return n_steps(n_rows, run) / n_steps(n_rows, replace(run, epochs=1.0, max_steps=None))


def estimates(
    loaded: LoadedModel, runs: Sequence[tuple[Variant, EncodedRows]], say: Callable[[str], object] = str
) -> str:
    """Return the estimates of all adapters of an experiment as text; adapters of equal cost are probed once.

    In the sum rows that several adapters have in common are scored by a reference once.

    Args:
        loaded: base model without adapters.
        runs: adapters with their rows.
        say: called with a line before each probe.
    """
    by_cost: dict[tuple[Recipe, int], Estimate] = {}
    names: dict[tuple[Recipe, int], list[str]] = {}
    for variant, rows in runs:
        key = (_cost(variant.recipe), id(rows))
        if key not in by_cost:
            by_cost[key] = estimate(loaded, rows, variant.recipe, say=_with_name(say, variant.name))
        names.setdefault(key, []).append(variant.name)
    blocks = [
        "\n".join((f"{'; '.join(names[key])}:", *(f"  {line}" for line in each.as_lines())))
        for key, each in by_cost.items()
    ]
    if len(runs) > 1:
        each_one = [by_cost[_cost(variant.recipe), id(rows)] for variant, rows in runs]
        known = [each.seconds for each in each_one if each.seconds is not None]
        passes: dict[tuple[str, bool], list[float]] = {}
        for (variant, _), each in zip(runs, each_one, strict=True):
            passes.setdefault((variant.recipe.training.method, variant.starts_from_sft), []).append(
                each.reference_seconds
            )
        if len(known) == len(runs):
            shared = sum(sum(each) - max(each) for each in passes.values())
            blocks.append(f"all {len(runs)} adapters: about {duration(sum(known) - shared)}")
    return "\n\n".join(blocks)


def _with_name(say: Callable[[str], object], name: str) -> Callable[[str], object]:
    """Return a function that says lines of one adapter."""
    return lambda line: say(f"{name}: {line}")


def _cost(recipe: Recipe) -> Recipe:
    """Return the recipe with everything that changes neither time nor memory set to one value."""
    training = replace(recipe.training, learning_rate=1.0, beta=1.0, label_smoothing=0.0, scheduler="constant")
    return replace(recipe, seed=0, training=training)


def _probe(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, probe_seconds: float, device_bytes: int) -> _Probe:
    """Run one step on the longest rows, then some on random rows, the first of them untimed.

    The first step has the smallest batch, and all others too where a whole one would not fit or take too long.
    """
    import torch

    if loaded.device == "cuda":
        for gpu in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(gpu)
    table, all_selection = table_of(rows.training), table_of(rows.selection)
    by_length = np.argsort(-table.lengths.max(axis=1, initial=0), kind="stable")
    whole = min(recipe.training.batch_size, max(1, len(by_length)))
    smallest = min(whole, 2 if recipe.training.method == "kto" else 1)  # which compares the answers of a batch
    held_bytes = own_bytes(loaded.device)
    few = EncodedRows(table.take(by_length[:smallest]))
    slowest = _train(loaded, few, _in_batches(loaded, rows, recipe, smallest), 1)
    inputs = TrainerInputs(loaded, rows.training, recipe, is_started=False)
    n_bytes = max(0, slowest[-1]["peak_memory_bytes"] - held_bytes)
    whole_bytes = held_bytes + n_bytes * tokens_held(inputs, whole) // tokens_held(inputs, smallest)
    n_seconds = _seconds(slowest, "train") * whole / smallest
    batch = whole if whole_bytes <= device_bytes and n_seconds <= _LONGEST_STEP_SECONDS else smallest
    recipe = _in_batches(loaded, rows, recipe, batch)
    if batch > smallest:
        slowest = (*slowest, *_train(loaded, EncodedRows(table.take(by_length[:batch])), recipe, 1))
    n_timed = min(max(1, int(probe_seconds / _seconds(slowest, "train"))), _MOST_STEPS - 1)
    # With the longest row among them, so that gradient checkpointing is decided as it would be for all.
    others = _sample(by_length[1:], (n_timed + 1) * batch - 1, recipe.seed)
    typical = table.take(np.concatenate([by_length[:1], others]))
    selection = all_selection.take(_sample(np.arange(len(all_selection)), n_timed * batch, recipe.seed))
    steps = _train(loaded, EncodedRows(typical, selection), recipe, n_timed + 1)
    timed = [line["seconds"] for line in steps if line["kind"] == "train"]
    rows_a_step = len(typical) / -(-len(typical) // batch)
    n_timed_tokens = n_timed * rows_a_step * typical.lengths.sum() / len(typical)
    selection_rate = None
    if selection:
        selection_rate = int(selection.lengths.sum()) / _positive(_seconds(steps, "selection") - timed[-1])
    return _Probe(
        trainable_parameters=steps[-1]["trainable_parameters"],
        tokens_per_second=float(n_timed_tokens / _positive(timed[-1] - timed[0])),
        selection_tokens_per_second=selection_rate,
        peak_bytes=whole_bytes if batch < whole else max(line["peak_memory_bytes"] for line in (*slowest, *steps)),
        n_sequences=batch if batch < whole else None,
    )


def _in_batches(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, batch: int) -> Recipe:
    """Return the recipe with another batch size, and gradient checkpointing as it is with its own."""
    run = recipe.training
    is_recomputed = recomputes_activations(TrainerInputs(loaded, rows.training, recipe, is_started=False))
    return replace(
        recipe,
        training=replace(run, batch_size=batch, gradient_checkpointing="on" if is_recomputed else "off"),
    )


def _train(loaded: LoadedModel, rows: EncodedRows, recipe: Recipe, n_probe_steps: int) -> tuple[LogLine, ...]:
    """Train `n_probe_steps` steps into a temporary folder and return the log."""
    probed = replace(
        recipe.training,
        max_steps=n_probe_steps,
        gradient_accumulation_steps=1,
        eval_steps=None,
        save_steps=n_probe_steps,
        report_to=(),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folders = Folders(adapter=Path(scratch) / "adapter", checkpoints=Path(scratch) / "checkpoints")
        return train_adapter(loaded, rows, replace(recipe, training=probed), folders, lambda _line: None)


def _sample(places: NDArray[np.integer[Any]], n_rows: int, seed: int) -> NDArray[np.integer[Any]]:
    """Return at most `n_rows` of the places of rows at random."""
    return places[np.random.default_rng(seed).permutation(len(places))[:n_rows]]


def _selection_passes(n_all_steps: int, eval_steps: int | None) -> int:
    """Return how often selection rows are scored: by the reference, at step 0, every `eval_steps`, at the last step."""
    if eval_steps is None:
        return 3
    return 2 + -(-n_all_steps // eval_steps)


def _products(loaded: LoadedModel) -> str:
    """Return the type that matrix products are computed in, and what to change where a timing finds it slow."""
    types = {"dtype": loaded.dtype}
    if loaded.quantization != "none":
        types["compute_dtype"] = loaded.compute_dtype
    slow = [advice for key, dtype in types.items() if (advice := advice_on(key, dtype, loaded.device))]
    return "; ".join(slow) or f"in {loaded.compute_dtype}, which is fast here"


def _memory(probe: _Probe | None, device_bytes: int, device: str) -> str:
    available = f"{device_bytes / _GIB:.1f} GiB available on {device}"
    needs = f"peak {probe.peak_bytes / _GIB:.1f} GiB of {available}" if probe else f"the probe exceeded the {available}"
    if probe is not None and probe.n_sequences is not None:
        needs += f", extrapolated from a batch of {probe.n_sequences}"
    if probe is not None and probe.peak_bytes <= device_bytes:
        return f"fits: {needs}"
    return f"does not fit: {needs}; lower training.batch_size, or set training.gradient_checkpointing=on"


def _seconds(log: Sequence[LogLine], kind: str) -> float:
    """Return the time of the last log line of a kind, in seconds since the start."""
    return _positive([line["seconds"] for line in log if line["kind"] == kind][-1])


def _positive(seconds: float) -> float:
    """Return at least a millisecond: the log rounds to milliseconds, and a tiny step may take less."""
    return max(float(seconds), 0.001)
