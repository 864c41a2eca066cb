"""The parts of a run that are free-form JSON, checked once, so that no report meets an odd type."""

from collections.abc import Iterable, Iterator, Mapping
from types import NoneType
from typing import Any

from reports.plain_text import one_line
from reports.records import Run

_TEXTS = ("candidate", "kind")
"""Keys of a training row that hold text; all others that hold text are kept and never computed with."""
_NUMBERS = (
    "loss", "rewards/accuracies", "rewards/margins", "rewards/chosen", "rewards/rejected", "grad_norm",
    "learning_rate", "step", "epoch", "num_tokens", "seconds", "peak_memory_bytes",
)  # fmt: skip
"""Keys of a training row that reports compute with or draw."""
_LARGEST_COUNT = 10**18
"""Whole numbers beyond it are no count of anything, and beyond 1e308 no number that can be drawn."""
_SECTIONS = ("model", "data", "training", "lora", "sft", "answers", "scoring")
"""Keys of a configuration that hold a section, or null."""


def odd_part(run: Run) -> str | None:
    """Return where a run's free-form parts hold another type than reports read, and what is there; None if nowhere."""
    n_baselines = sum(subject.kind == "baseline" for subject in run.subjects)
    if n_baselines != 1:
        return f"subjects must hold one of the kind baseline, not {n_baselines}"
    names = [subject.name for subject in run.subjects]
    if len(set(names)) < len(names):
        return "subjects must have a name each"
    strangers = {measurement.subject for measurement in run.measurements} - set(names)
    if strangers:
        return f"measurements name {one_line(min(strangers))[:100]}, which is none of the subjects"
    return next(_odd_parts(run), None)


def _odd_parts(run: Run) -> Iterator[str]:
    yield from _odd_sections("config", run.config, _SECTIONS)
    yield from _odd_sections("provenance", run.provenance, ("base",))
    for number, row in enumerate(run.training, start=1):
        for key in _TEXTS:
            if key in row and not isinstance(row[key], str):
                yield f"training row {number}: {key} must be text, not {type(row[key]).__name__}"
        for key in _NUMBERS:
            value = row.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                yield f"training row {number}: {key} must be a number, not {type(value).__name__}"
            elif isinstance(value, int) and abs(value) > _LARGEST_COUNT:
                yield f"training row {number}: {key} must be at most {_LARGEST_COUNT:.0e}"


def _odd_sections(name: str, values: Mapping[str, Any], sections: Iterable[str]) -> Iterator[str]:
    for key in sections:
        if not isinstance(values.get(key, {}), Mapping | NoneType):
            yield f"{name}.{key} must be a mapping, not {type(values[key]).__name__}"
