"""Measures many rows: `nox -s bench -- size` trains on 160,000 made-up pairs of hh-rlhf's lengths.

    nox -s bench -- size --pairs 20000     # fewer, for a first look

The command line is run as a user runs it, in a process of its own: first an estimate, then three steps of the embedded
model. Both read the file, search it for what is measured, encode and hash every row. Peak memory is that of the whole
process. It ends with exit code 1 where a bound is exceeded.
"""

import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from tabulate import tabulate

from harness.config.schema import DatasetConfig
from harness.data.read import load_rows
from suites.engine.encoding import common_prefix_length

DATA_ROOT = Path(__file__).parents[3] / "shared" / "data"
SOURCES = ("Anthropic/hh-rlhf:helpful-base", "Anthropic/hh-rlhf:harmless-base")
GIB = 2**30
LARGEST_BYTES, LONGEST_SECONDS = 4 * GIB, 600.0
"""Bounds of each of the two commands, on two cores."""
N_STEPS = 3
MAX_TOKENS = 512
"""As in the other benchmarks of hh-rlhf; longer rows are cut when they are encoded."""
MAX_TOKENS_AT_ONCE = 4096
"""Tokens of a step in memory, so that what is measured is the rows, and not a step on a machine with much memory."""
_SPEAKER = re.compile(r"(\n\nHuman:|\n\nAssistant:)")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took."""

    peak_bytes: int
    seconds: float
    cpu_seconds: float
    exit_code: int

    @property
    def holds(self) -> bool:
        """Whether it ended well and within the bounds."""
        return not self.exit_code and self.peak_bytes <= LARGEST_BYTES and self.seconds <= LONGEST_SECONDS


@click.command("size", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--pairs", "n_pairs", type=click.IntRange(1_000), default=160_000, show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), envvar="HARNESS_DATA_ROOT", default=DATA_ROOT)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File that the table is written to.")
def size(n_pairs: int, data_root: Path, out: Path | None) -> bool:
    """Prints peak memory and time of both commands; returns whether both stay within the bounds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        write_pairs(file, data_root, n_pairs)
        click.echo(f"{n_pairs:,} pairs: {file.stat().st_size / 2**20:,.0f} MiB", err=True)
        costs = {}
        for name, options in (
            ("harness train --dry-run", ["--dry-run"]),
            (f"harness train, {N_STEPS} steps", ["-o", f"training.max_steps={N_STEPS}"]),
        ):
            costs[name] = run_command(file, options, Path(folder) / "workspace")
            click.echo(f"{name}: {costs[name]}", err=True)
    report = f"### {n_pairs:,} pairs of hh-rlhf's lengths\n\n{_table(costs)}\n"
    click.echo(report)
    if out is not None:
        out.write_text(report, encoding="utf-8")
    return all(cost.holds for cost in costs.values())


def write_pairs(file: Path, data_root: Path, n_pairs: int, seed: int = 0) -> None:
    """Writes pairs of random words of hh-rlhf, each turn as long as one of hh-rlhf's, as JSON Lines."""
    templates = [
        (row.text("chosen"), row.text("rejected"))
        for source in SOURCES
        for row in load_rows(DatasetConfig(source), ("test",), data_root).rows
    ]
    words = [word for chosen, _ in templates for word in _SPEAKER.sub(" ", chosen).split()]
    drawn = random.Random(seed)
    with file.open("w", encoding="utf-8") as stream:
        for _ in range(n_pairs):
            chosen, rejected = drawn.choice(templates)
            cut = chosen.rfind("\n\nAssistant:", 0, common_prefix_length(chosen, rejected))
            prompt = "".join(_redrawn(chosen[:cut], words, drawn))
            sides = {
                name: prompt + "".join(_redrawn(text[cut:], words, drawn))
                for name, text in (("chosen", chosen), ("rejected", rejected))
            }
            stream.write(json.dumps(sides, ensure_ascii=False) + "\n")


def _redrawn(text: str, words: Sequence[str], drawn: random.Random) -> Iterator[str]:
    """Yields the parts of a transcript with its speakers as they are and every word replaced by a random one."""
    for part in _SPEAKER.split(text):
        if _SPEAKER.fullmatch(part):
            yield part
        elif n_words := len(part.split()):
            yield " " + " ".join(drawn.choices(words, k=n_words))


def run_command(file: Path, options: Sequence[str], workspace: Path) -> Cost:
    """Trains the embedded model on the rows of a file, in a process of its own, and returns what it took."""
    settings = {
        "data.training.name": file,
        "data.max_tokens": MAX_TOKENS,
        "data.max_prompt_tokens": MAX_TOKENS // 2,
        "training.max_tokens_at_once": MAX_TOKENS_AT_ONCE,
    }
    configured = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    arguments = [sys.executable, "-m", "harness", "train", "--workspace", str(workspace), *configured, *options]
    started = time.perf_counter()
    process = os.posix_spawn(sys.executable, arguments, os.environ)
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    return Cost(used.ru_maxrss * 1024, seconds, used.ru_utime + used.ru_stime, os.waitstatus_to_exitcode(status))


def _table(costs: Mapping[str, Cost]) -> str:
    rows = [
        (
            name,
            f"{cost.peak_bytes / GIB:.2f} GiB",
            f"{cost.seconds:.0f} s",
            f"{cost.cpu_seconds:.0f} s",
            "within" if cost.holds else "NOT within",
        )
        for name, cost in costs.items()
    ]
    bounds = f"{LARGEST_BYTES / GIB:.0f} GiB and {LONGEST_SECONDS / 60:.0f} minutes"
    return tabulate(rows, ("command", "peak memory", "time", "CPU", bounds), tablefmt="pipe", disable_numparse=True)
