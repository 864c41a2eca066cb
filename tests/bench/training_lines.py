"""Rows of the table of trainings: what each measures, and how it is written."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from kept import Kept
from trainings import MICRO_BATCHES, ROWS_A_STEP, Cost, Step, Workload, encode, load, one_step, train_all

from harness.models.base import LoadedModel
from harness.models.provenance import processor_name
from harness.training.packed_step.forward import VERSION as PACKED_STEP_VERSION
from harness.training.recipe import EncodedRows, TrainingRow, requests_of

STEPS_ON_GPU = 16
LARGEST_DIFFERENCE = 1e-3
"""Of the losses of a step on both sides, where both compute in fp32."""
ROWS_WITH_NF4 = 8
"""Rows at a time of NF4 and of fp32, on the same engine."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How rows are measured."""

    kept: Kept
    texts: tuple[str, ...]
    data_root: Path
    folder: Path | None
    repetitions: int
    steps: int
    is_quick: bool

    def steps_of(self, workload: Workload) -> int:
        """Steps of each training."""
        return STEPS_ON_GPU if workload.device == "cuda" and not self.is_quick else self.steps


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table, and whether numbers that have to be equal are."""

    cells: dict[str, str]
    agrees: bool = True


@dataclass(frozen=True, slots=True)
class Bench:
    """A workload with its model and rows; what it measures is kept."""

    workload: Workload
    settings: Settings
    loaded: LoadedModel
    rows: EncodedRows

    @classmethod
    def of(cls, workload: Workload, settings: Settings, quantization: str = "none") -> "Bench":
        """Loads the model, encodes the rows and trains a little, so that what is imported at need is there."""
        loaded = load(workload.shape, workload.device, quantization, settings.texts, settings.folder)
        rows = encode(loaded, workload, settings.data_root, ROWS_A_STEP * settings.steps_of(workload))
        few = EncodedRows(sorted(rows.training, key=_n_inputs)[: ROWS_A_STEP if workload.device == "cuda" else 2])
        for engine in ("packed", "trl"):
            train_all(loaded, few, workload, engine, 2, 1)
        return cls(workload, settings, loaded, rows)

    def train(self, engine: str, micro: int) -> Cost:
        """Trains on all rows."""
        n_steps = self.settings.steps_of(self.workload)
        return train_all(self.loaded, self.rows, self.workload, engine, micro, n_steps)

    def step(self, engine: str, micro: int, longest: float = math.inf) -> Step:
        """Takes one step at one learning rate, which is ended after the longest CPU seconds."""
        once = replace(self.workload, learning_rates=self.workload.learning_rates[:1])
        first = EncodedRows(self.rows.training[:ROWS_A_STEP])
        train = partial(train_all, self.loaded, first, once, engine, micro, 1)
        limit = "" if longest == math.inf else f", at most {longest:.1f} s"
        description = f"step {self._what()}, {engine}, {micro} rows at a time{limit}"
        return Step(**self._take(description, lambda: asdict(one_step(train, self.workload.device, longest))))

    def steps(self, engine: str) -> dict[int, Step]:
        """A side's step by the rows at a time; one that takes more time than the best so far is not waited for."""
        steps: dict[int, Step] = {}
        for micro in MICRO_BATCHES[1:2] if self.settings.is_quick else MICRO_BATCHES:
            steps[micro] = self.step(engine, micro, min((each.time for each in steps.values()), default=math.inf))
        if all(each.problem for each in steps.values()):
            raise click.ClickException(f"no step of engine {engine} fits: {steps}")
        return steps

    def turns(self, sides: Sequence[Callable[[], Cost]], what: str) -> list[list[Cost]]:
        """What all sides took, one after another, as often as asked for; each turn is kept as a whole."""

        def turn() -> list[dict[str, object]]:
            return [asdict(side()) for side in sides]

        return [
            [Cost(**cost) for cost in self._take(f"turn {number}, {self._what()}, {what}", turn)]
            for number in range(self.settings.repetitions)
        ]

    def time(self, costs: Sequence[Cost]) -> float:
        """The median of some costs, in seconds."""
        return median(cost.time(self.workload.device) for cost in costs)

    def _what(self) -> str:
        """What the numbers of a training depend on but for the engine and its rows at a time."""
        workload, loaded = self.workload, self.loaded
        return (
            f"{workload.method} of {workload.pairs.__name__}, {workload.max_tokens} tokens, {len(self.rows.training)} "
            f"rows, {loaded.fingerprint[:12]}, {loaded.quantization}, {loaded.device}, "
            f"{torch.backends.cpu.get_cpu_capability()}, {computed_by()}"
        )

    def _take(self, description: str, measure: Callable[[], object]) -> Any:
        def said() -> object:
            result = measure()
            click.echo(f"{description}: {result}", err=True)
            return result

        return self.settings.kept.take(description, said)


def computed_by() -> str:
    """What every number depends on, whatever is measured."""
    return f"{processor_name()}, {torch.get_num_threads()} threads, packed step {PACKED_STEP_VERSION}"


def speed_line(workload: Workload, settings: Settings) -> Line:
    """Times of both sides, each at its best rows at a time."""
    bench = Bench.of(workload, settings)
    their_steps, own_steps = bench.steps("trl"), bench.steps("packed")
    best, own_best = _fastest(their_steps), _fastest(own_steps)
    sides = [partial(bench.train, "packed", own_best), partial(bench.train, "trl", best)]
    ours, theirs = zip(*bench.turns(sides, f"{own_best} and {best} rows at a time, {workload.name}"), strict=True)
    ratio = median(
        their.time(workload.device) / own.time(workload.device) for own, their in zip(ours, theirs, strict=True)
    )
    difference = _largest_difference(ours, theirs)
    return Line(
        {
            "row": workload.title,
            "packs": _side(bench.time(ours), own_steps[own_best], own_best),
            "of it the check, CPU": f"{median(own.check_seconds for own in ours):.1f} s",
            "against": f"TRL: {_side(bench.time(theirs), their_steps[best], best)}",
            "ratio": _ratio(ratio, workload, at_least=True, is_quick=settings.is_quick),
            "packs' first step with the check, by rows at a time": _by_micro(own_steps),
            "TRL's first step by rows at a time": _by_micro(their_steps),
            "losses differ by": f"{difference:.1e}",
        },
        workload.device == "cuda" or difference < LARGEST_DIFFERENCE,
    )


def memory_line(workload: Workload, settings: Settings) -> Line:
    """Peak memory of a step on both sides, at TRL's best rows at a time."""
    bench = Bench.of(workload, settings)
    steps = bench.steps("trl")
    best = _fastest(steps)
    ours = bench.step("packed", best)
    return Line(
        {
            "row": workload.title,
            "packs": f"{ours}, {best} rows at a time",
            "against": f"TRL: {steps[best]}, {best} rows at a time",
            "ratio": _ratio(
                ours.peak_bytes / steps[best].peak_bytes, workload, at_least=False, is_quick=settings.is_quick
            ),
            "TRL's first step by rows at a time": _by_micro(steps),
        }
    )


def nf4_line(workload: Workload, settings: Settings) -> Line:
    """Times of packs on NF4 and on fp32 weights."""
    nf4 = Bench.of(workload, settings, "nf4")
    quantised_step = nf4.step("packed", ROWS_WITH_NF4)
    fp32 = Bench.of(workload, settings)
    exact_step = fp32.step("packed", ROWS_WITH_NF4)
    sides = [partial(bench.train, "packed", ROWS_WITH_NF4) for bench in (nf4, fp32)]
    ours, theirs = zip(*nf4.turns(sides, f"then fp32, {ROWS_WITH_NF4} rows at a time"), strict=True)
    ratio = median(own.cpu_seconds / their.cpu_seconds for own, their in zip(ours, theirs, strict=True))
    return Line(
        {
            "row": f"{workload.title} ({torch.backends.cpu.get_cpu_capability()})",
            "packs": f"NF4: {_side(nf4.time(ours), quantised_step, ROWS_WITH_NF4)}",
            "against": f"fp32, packs: {_side(fp32.time(theirs), exact_step, ROWS_WITH_NF4)}",
            "ratio": _ratio(ratio, workload, at_least=False, is_quick=settings.is_quick),
        }
    )


def _fastest(steps: Mapping[int, Step]) -> int:
    """The rows at a time whose step took the least time."""
    return min(steps, key=lambda micro: steps[micro].time)


def _n_inputs(row: TrainingRow) -> int:
    return sum(request.n_inputs for request in requests_of([row]))


def _largest_difference(ours: Sequence[Cost], theirs: Sequence[Cost]) -> float:
    """Of the losses of all steps, in nats."""
    pairs = [
        both for own, their in zip(ours, theirs, strict=True) for both in zip(own.losses, their.losses, strict=True)
    ]
    return max(abs(own - their) for own, their in pairs)


def _side(seconds: float, step: Step, micro: int) -> str:
    return f"{seconds:.1f} s, {step.peak_bytes / 2**20:,.0f} MiB, {micro} rows at a time"


def _by_micro(steps: Mapping[int, Step]) -> str:
    return "; ".join(f"{micro}: {step}" for micro, step in steps.items())


def _ratio(ratio: float, workload: Workload, *, at_least: bool, is_quick: bool) -> str:
    """A ratio with its bar, which tiny models say nothing about."""
    if is_quick:
        return f"{ratio:.2f}x"
    reached = "reached" if (ratio >= workload.bar if at_least else ratio <= workload.bar) else "NOT reached"
    bound = f"at least {workload.bar:g}x" if at_least else f"at most {workload.bar:g}x"
    return f"{ratio:.2f}x ({bound}: {reached}; aim {workload.aim:g}x)"
