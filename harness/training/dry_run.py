"""What a training would take, reckoned from a few real steps: tokens, steps, weights, time, memory; does it fit?"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.config.wording import duration
from harness.models.base import LoadedModel
from harness.models.precision import advice_on
from harness.training.encode import EncodedRows
from harness.training.recipe import Row, TrainingRow, requests_of
from harness.training.trainer import Folders, Recipe, TrainingRows, train_adapter, usable_recipe
from harness.training.variants import Variant, n_steps
from suites.engine.plan import free_bytes

PROBE_SECONDS = 10.0
"""What the timed steps of a probe may take; at least one is taken, however long it lasts."""
_MOST_STEPS = 9
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one training would take; what the probe could not find out is None."""

    n_rows: int
    n_tokens: int
    """Of all rows once, prompts and responses, both sides of a pair."""
    longest_tokens: int
    """Of the longest sequence."""
    n_steps: int
    rows_a_step: int
    device: str
    products: str
    """What products are computed in, and how fast that is here."""
    device_bytes: int
    """Memory that this process has or could have now."""
    fits: bool
    reason: str
    """Why it fits or does not, in words."""
    trainable_parameters: int | None = None
    tokens_per_second: float | None = None
    """While training."""
    seconds: float | None = None
    """Training, and measuring the selection rows."""
    peak_bytes: int | None = None
    """On a GPU of what torch uses, on a CPU of the whole process, as training.jsonl has it."""

    def as_lines(self) -> tuple[str, ...]:
        """For the terminal."""
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
    """What the steps of a probe showed."""

    trainable_parameters: int
    tokens_per_second: float
    selection_tokens_per_second: float | None
    """While measuring selection rows, where there are some."""
    peak_bytes: int


def estimate(
    loaded: LoadedModel, rows: TrainingRows, recipe: Recipe, *, probe_seconds: float = PROBE_SECONDS
) -> Estimate:
    """Train a few steps, throw them away, and reckon what all of them would take.

    The steps are those of `train_adapter` itself, with the recipe's batch: one on the longest rows, for the memory, and
    a few on rows taken at random, for the time. The base is left bit for bit as it was. What is reckoned and not
    measured: time grows with the number of tokens; a first stage takes as much memory as none; packages, loggers and
    checkpoints cost nothing.

    Args:
        loaded: the base, without adapters.
        rows: as they would be trained on.
        recipe: as it would be trained.
        probe_seconds: what the timed steps may take, as far as one step on the longest rows tells.

    Raises:
        TrainingError: the recipe cannot be trained.
    """
    import torch

    recipe, _ = usable_recipe(recipe, loaded.device)
    run, n_rows = recipe.training, len(rows.training)
    n_all_steps = n_steps(n_rows, run)
    device_bytes = _own_bytes(loaded.device) + free_bytes(loaded.device)
    try:
        probe = _probe(loaded, rows, recipe, probe_seconds)
    except torch.OutOfMemoryError:
        probe = None
    n_tokens = sum(map(_n_tokens, rows.training))
    plan = Estimate(
        n_rows=n_rows,
        n_tokens=n_tokens,
        longest_tokens=max(map(_longest, rows.training)),
        n_steps=n_all_steps,
        rows_a_step=run.batch_size * run.gradient_accumulation_steps,
        device=loaded.device,
        products=_products(loaded),
        device_bytes=device_bytes,
        fits=probe is not None and probe.peak_bytes <= device_bytes,
        reason=_memory(probe, device_bytes, loaded.device),
    )
    if probe is None:
        return plan
    n_steps_a_pass = n_steps(n_rows, replace(run, epochs=1.0, max_steps=None))
    seconds = n_tokens * n_all_steps / n_steps_a_pass / probe.tokens_per_second
    if probe.selection_tokens_per_second is not None:
        n_selection_tokens = sum(map(_n_tokens, rows.selection)) * _selection_passes(n_all_steps, run.eval_steps)
        seconds += n_selection_tokens / probe.selection_tokens_per_second
    return replace(
        plan,
        trainable_parameters=probe.trainable_parameters,
        tokens_per_second=probe.tokens_per_second,
        seconds=seconds,
        peak_bytes=probe.peak_bytes,
    )


def estimates(loaded: LoadedModel, runs: Sequence[tuple[Variant, EncodedRows]]) -> str:
    """What every adapter of an experiment would take, as text; adapters of equal cost are probed once."""
    told: dict[tuple[Recipe, int], Estimate] = {}
    names: dict[tuple[Recipe, int], list[str]] = {}
    for variant, rows in runs:
        key = (_cost(variant.recipe), id(rows))
        if key not in told:
            told[key] = estimate(loaded, TrainingRows(rows.training, rows.selection), variant.recipe)
        names.setdefault(key, []).append(variant.name)
    blocks = ["\n".join((f"{'; '.join(names[key])}:", *(f"  {line}" for line in told[key].as_lines()))) for key in told]
    if len(runs) > 1:
        seconds = [each.seconds for key, each in told.items() for _ in names[key]]
        known = [each for each in seconds if each is not None]
        if len(known) == len(seconds):
            blocks.append(f"all {len(runs)} adapters: about {duration(sum(known))}")
    return "\n\n".join(blocks)


def _cost(recipe: Recipe) -> Recipe:
    """The recipe without what changes neither time nor memory."""
    training = replace(recipe.training, learning_rate=1.0, beta=1.0, label_smoothing=0.0, scheduler="constant")
    return replace(recipe, seed=0, training=training)


def _probe(loaded: LoadedModel, rows: TrainingRows, recipe: Recipe, probe_seconds: float) -> _Probe:
    """One step on the longest rows, then some on rows at random, the first of which is not timed."""
    import torch

    if loaded.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    batch = recipe.training.batch_size
    by_length = sorted(rows.training, key=_longest, reverse=True)
    slowest = _train(loaded, TrainingRows(by_length[:batch]), recipe, 1)
    n_timed = min(max(1, int(probe_seconds / _seconds(slowest, "train"))), _MOST_STEPS - 1)
    # With the longest row among them, so that gradient checkpointing is decided as it would be for all.
    typical = [by_length[0], *_sample(by_length[1:], (n_timed + 1) * batch - 1, recipe.seed)]
    selection = _sample(rows.selection, n_timed * batch, recipe.seed)
    steps = _train(loaded, TrainingRows(typical, selection), recipe, n_timed + 1)
    timed = [row["seconds"] for row in steps if row["kind"] == "train"]
    rows_a_step = len(typical) / -(-len(typical) // batch)
    n_timed_tokens = n_timed * rows_a_step * np.mean([_n_tokens(row) for row in typical])
    selection_rate = None
    if selection:
        selection_rate = sum(map(_n_tokens, selection)) / _positive(_seconds(steps, "selection") - timed[-1])
    return _Probe(
        trainable_parameters=steps[-1]["trainable_parameters"],
        tokens_per_second=float(n_timed_tokens / _positive(timed[-1] - timed[0])),
        selection_tokens_per_second=selection_rate,
        peak_bytes=max(row["peak_memory_bytes"] for row in (*slowest, *steps)),
    )


def _train(loaded: LoadedModel, rows: TrainingRows, recipe: Recipe, n_probe_steps: int) -> tuple[Row, ...]:
    """So many steps of the real training, of which only the rows it writes down are kept."""
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


def _sample(rows: Sequence[TrainingRow], n_rows: int, seed: int) -> list[TrainingRow]:
    """At most so many rows, at random."""
    return [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))[:n_rows]]


def _selection_passes(n_all_steps: int, eval_steps: int | None) -> int:
    """How often selection rows are scored: as the reference, before the first step, on the way, after the last step."""
    if eval_steps is None:
        return 3
    return 2 + -(-n_all_steps // eval_steps)


def _products(loaded: LoadedModel) -> str:
    """The type that products are computed in, timed, and what to type where it is slow."""
    key = "dtype" if loaded.quantization == "none" else "compute_dtype"
    slow = advice_on(key, loaded.compute_dtype, loaded.device)
    return slow or f"in {loaded.compute_dtype}, which is fast here"


def _memory(probe: _Probe | None, device_bytes: int, device: str) -> str:
    there_is = f"the {device_bytes / _GIB:.1f} GiB that {device} has for it"
    needs = f"{probe.peak_bytes / _GIB:.1f} GiB at most, of {there_is}" if probe else f"the probe ran out of {there_is}"
    if probe is not None and probe.peak_bytes <= device_bytes:
        return f"fits: {needs}"
    return f"does not fit: {needs}; lower training.batch_size, or set training.gradient_checkpointing=on"


def _own_bytes(device: str) -> int:
    """Memory that this process holds on a device."""
    import psutil
    import torch

    return int(torch.cuda.memory_reserved() if device == "cuda" else psutil.Process().memory_info().rss)


def _n_tokens(row: TrainingRow) -> int:
    return sum(request.n_inputs + 1 for request in requests_of([row]))


def _longest(row: TrainingRow) -> int:
    return max(request.n_inputs + 1 for request in requests_of([row]))


def _seconds(rows: Sequence[Row], kind: str) -> float:
    """When the last row of a kind was kept."""
    return _positive([row["seconds"] for row in rows if row["kind"] == kind][-1])


def _positive(seconds: float) -> float:
    """Seconds are kept to the millisecond, and a tiny step may take less."""
    return max(float(seconds), 0.001)
