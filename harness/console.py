"""What a person at the terminal sees: lines, progress bars, and silence from chatty libraries."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Done = Callable[[int], None]
"""Told how many units of work are done so far."""


@dataclass(frozen=True)
class Terminal:
    """Lines and bars on standard error, so that standard output holds the result alone."""

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))

    def say(self, line: str) -> None:
        """Prints one line as it is, without interpreting markup in it."""
        self.console.print(line, markup=False)

    @contextmanager
    def waiting(self, description: str) -> Iterator[None]:
        """A sign of life during what has no steps to count; silent where standard error is no terminal."""
        if self.console.is_terminal:
            with self.console.status(description):
                yield
        else:
            yield

    @contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Done]:
        """A bar from 0 to `total`, None where unknown; silent where standard error is no terminal."""
        if not self.console.is_terminal:
            yield lambda _n_done: None
            return
        with Progress(*_columns(), console=self.console, transient=True) as bar:
            task = bar.add_task(description, total=total)
            yield lambda n_done: bar.update(task, completed=n_done)

    @contextmanager
    def training(self, name: str) -> "Iterator[Callable[[int, int, dict[str, Any]], None]]":
        """A bar over the steps of a training that shows loss, reward accuracy and peak memory; see `progress`."""
        if not self.console.is_terminal:
            yield lambda _n_done, _n_steps, _row: None
            return
        columns = (*_columns(), TextColumn("{task.fields[numbers]}"))
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(f"training {name}", total=None, numbers="")

            def show(n_done: int, n_steps: int, row: dict[str, Any]) -> None:
                numbers = {"loss": "loss", "rewards/accuracies": "reward accuracy"}
                shown = [f"{name} {row[key]:.3f}" for key, name in numbers.items() if key in row]
                if "peak_memory_bytes" in row:
                    shown.append(f"{row['peak_memory_bytes'] / 2**30:.1f} GiB")
                bar.update(task, completed=n_done, total=n_steps, numbers=", ".join(shown))

            yield show


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def quiet_libraries() -> None:
    """Keeps the libraries' own progress bars, advice and telemetry off the terminal; call before importing them."""
    for name, value in {
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DATASETS_VERBOSITY": "error",
        "BITSANDBYTES_NOWELCOME": "1",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore")
    for name in ("bitsandbytes", "lm_eval", "lm-eval", "datasets", "httpx", "accelerate", "peft", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
