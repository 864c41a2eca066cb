"""Lines and progress bars on the terminal, and silence from chatty libraries."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness.config.wording import duration
from reports.plain_text import visible

SECONDS_BETWEEN_LINES = 30.0
"""Shortest time between two lines of a stage where standard error is no terminal."""


_KNOWN_WARNINGS: tuple[tuple[str, type[Warning]], ...] = (
    ("`(is_)?gradient_checkpointing", FutureWarning),
    ("`torch.jit.script", DeprecationWarning),
    ("bitsandbytes::gemv_4bit: an autograd kernel was not registered", UserWarning),
    ("Model has `tie_word_embeddings=True`", UserWarning),
    ("fan_in_fan_out is set to False but the target module is `Conv1D`", UserWarning),
)
"""First words of the libraries' lines that say nothing to the user; pyproject.toml has the reason of each."""


class Done(Protocol):
    """Takes the number of units of work done so far, and their total where it was not known before."""

    def __call__(self, n_done: int, total: int | None = None) -> None:
        """Shows the progress."""
        ...


def _console() -> Console:
    """A console on the stream below standard error, where its bars may steer the terminal.

    With `stderr=True` rich would find that stream only until it draws a bar, which puts a stream of its own on top.
    """
    return Console(file=getattr(sys.stderr, "rich_proxied_file", sys.stderr), highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Terminal:
    """Lines and bars on standard error, so that standard output holds the result alone.

    Where standard error is no terminal (a file, a pipe, nohup, CI) a stage prints a plain line when it starts, and then
    at most one every `SECONDS_BETWEEN_LINES`.
    """

    console: Console = field(default_factory=_console)
    clock: Callable[[], float] = time.monotonic
    """Seconds since an arbitrary moment."""

    @classmethod
    def silent(cls) -> "Terminal":
        """A terminal that shows nothing."""
        return cls(Console(file=Path(os.devnull).open("w", encoding="utf-8")))

    def say(self, line: str) -> None:
        """Prints one line as it is, without interpreting markup in it.

        A log that cannot be written any more (a full disk, a reader that left) costs its lines, never the job.
        """
        if self.shows_bars:
            self.console.print(visible(line), markup=False, emoji=False)
            return
        with suppress(OSError):
            print(visible(line), file=self.console.file, flush=True)

    @property
    def shows_bars(self) -> bool:
        """Whether a person can see bars: lines go anywhere else, whatever FORCE_COLOR says."""
        return self.console.is_terminal and not self.console.is_dumb_terminal and self.console.file.isatty()

    @contextmanager
    def waiting(self, description: str) -> Iterator[None]:
        """Shows that work without countable steps is going on."""
        if self.shows_bars:
            with self.console.status(_shown(description)):
                yield
        else:
            self.say(description)
            yield

    @contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Done]:
        """Shows progress from 0 to `total`; None where the total is unknown."""
        if not self.shows_bars:
            stage = _Stage(self, description, total)
            yield lambda n_done, total=None: stage.show(n_done, total)
            return
        with Progress(*_columns(), console=self.console, transient=True) as bar:
            task = bar.add_task(_shown(description), total=total)
            yield lambda n_done, total=None: bar.update(task, completed=n_done, total=total)

    @contextmanager
    def changing(self) -> Iterator[Callable[[str], None]]:
        """Shows a line that changes; where nobody sees bars, one every `SECONDS_BETWEEN_LINES`, and the last."""
        if self.shows_bars:
            with self.console.status("") as status:
                yield lambda line: status.update(_shown(line))
            return
        latest, said, last = self.clock() - SECONDS_BETWEEN_LINES, "", ""

        def show(line: str) -> None:
            nonlocal latest, said, last
            last = line
            if self.clock() - latest >= SECONDS_BETWEEN_LINES:
                latest, said = self.clock(), line
                self.say(line)

        try:
            yield show
        finally:
            if last != said:
                self.say(last)

    @contextmanager
    def training(self, name: str) -> "Iterator[Callable[[int, int, dict[str, Any]], None]]":
        """Shows the steps of a training with loss, reward accuracy and peak memory; see `progress`."""
        description = f"training {name}"
        if not self.shows_bars:
            stage = _Stage(self, description, None)
            yield lambda n_done, n_steps, row: stage.show(n_done, n_steps, _numbers(row))
            return
        columns = (*_columns(), TextColumn("{task.fields[numbers]}"))
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(_shown(description), total=None, numbers="")

            def show(n_done: int, n_steps: int, row: dict[str, Any]) -> None:
                bar.update(task, completed=n_done, total=n_steps, numbers=_numbers(row))

            yield show


class _Stage:
    """Progress of one stage as plain lines."""

    def __init__(self, terminal: Terminal, description: str, total: int | None) -> None:
        self._terminal, self._description, self._total = terminal, description, total
        self._last_line = terminal.clock()
        self._first: tuple[float, int] | None = None
        """Time and units of the first progress; units before it may have been done by an earlier process."""
        self._n_done = 0
        terminal.say(description if total is None else f"{description} ({total:,})")

    def show(self, n_done: int, total: int | None = None, numbers: str = "") -> None:
        """Prints progress and remaining time, unless the last line is too recent."""
        now = self._terminal.clock()
        total = total or self._total
        if self._first is None or n_done < self._n_done or n_done == self._first[1]:
            self._first = now, n_done  # begun, begun again, or not yet under way: scoring comes before the first step
        self._n_done = n_done
        if now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        parts = [f"{n_done:,}" if total is None else f"{n_done:,}/{total:,}"]
        started, n_before = self._first
        if total is not None and n_before < n_done < total:
            parts.append(f"about {duration((now - started) / (n_done - n_before) * (total - n_done))} left")
        self._terminal.say(f"{self._description}: {', '.join([*parts, *filter(None, [numbers])])}")


def _shown(description: str) -> str:
    """A description without markup of rich and without what would steer the terminal."""
    return escape(visible(description))


def _numbers(row: dict[str, Any]) -> str:
    """The numbers of a training row that are shown beside its progress."""
    if row["kind"] in ("scoring", "reference"):
        what = "selection rows" if row["kind"] == "scoring" else "rows by the reference"
        return f"scoring {what} {row['n_scored']:,}/{row['n_requests']:,}"
    names = {"loss": "loss", "rewards/accuracies": "reward accuracy"}
    shown = [f"{name} {row[key]:.3f}" for key, name in names.items() if key in row]
    if "peak_memory_bytes" in row:
        shown.append(f"{row['peak_memory_bytes'] / 2**30:.1f} GiB")
    return ", ".join(shown)


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def quiet_libraries() -> None:
    """Keeps progress bars, advice and telemetry of libraries off the terminal; call it before importing them."""
    for name, value in {
        "TOKENIZERS_PARALLELISM": "true",  # left unset, it is switched off with advice once a process has forked
        "TRANSFORMERS_VERBOSITY": "error",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DATASETS_VERBOSITY": "error",
        "BITSANDBYTES_NOWELCOME": "1",
    }.items():
        os.environ.setdefault(name, value)
    for message, category in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message, category)
    for name in ("bitsandbytes", "lm_eval", "lm-eval", "datasets", "httpx", "accelerate", "peft", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
