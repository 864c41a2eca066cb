"""Measures what keeping freed memory saves and costs on a CPU: `nox -s bench -- allocator`.

    nox -s bench -- allocator --model ../smollm2     # two steps of smollm2-135m-ultrafeedback on rows of the data root

`harness train` is run as a user runs it, in a process and a workspace of its own, with glibc's parameters set and
without, in turn. CPU seconds, those of them in the kernel, page faults and peak memory are those of the whole process.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from tabulate import tabulate

DATA_ROOT = Path(__file__).parents[3] / "shared" / "data"
EMBEDDED = ("-o", "training.max_steps=30")
WITHOUT = "import harness.allocator as it; it.keep_freed_memory = bool; from harness.__main__ import main; main()"
"""The command line with the one call replaced that sets the parameters."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training took."""

    cpu_seconds: float
    kernel_seconds: float
    """Of them in the system."""
    n_faults: int
    """Pages that the system had to find and clear."""
    peak_bytes: int


@click.command("allocator", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--model", "folder", type=click.Path(path_type=Path, exists=True), help="Folder of SmolLM2-135M.")
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=2, show_default=True, help="Of the model of --model.")
@click.option("--data-root", type=click.Path(path_type=Path), envvar="HARNESS_DATA_ROOT", default=DATA_ROOT)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File that the table is written to.")
def allocator(folder: Path | None, repetitions: int, steps: int, data_root: Path, out: Path | None) -> bool:
    """Prints both ways and their ratio; there are no numbers that must be equal."""
    options = EMBEDDED if folder is None else of_model(folder.absolute(), steps, data_root)
    turns = [tuple(train(options, keeps=keeps) for keeps in (True, False)) for _ in range(repetitions)]
    kept, given_back = ([each[side] for each in turns] for side in (0, 1))
    report = f"### Freed memory\n\n`harness train {' '.join(options)}`, {repetitions} times each\n\n"
    report += f"{table(kept, given_back)}\n"
    click.echo(report)
    if out is not None:
        out.write_text(report, encoding="utf-8")
    return True


def of_model(folder: Path, steps: int, data_root: Path) -> tuple[str, ...]:
    """Options that train a model of a folder for some steps."""
    settings = {"model.name": folder, "training.max_steps": steps, "data.selection_limit": 8}
    configured = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    return ("--preset", "smollm2-135m-ultrafeedback", "--data-root", str(data_root.absolute()), *configured)


def train(options: Sequence[str], *, keeps: bool) -> Cost:
    """Trains in a process of its own, with freed memory kept or given back, and returns what it took.

    Raises:
        click.ClickException: It did not end with exit code 0; what it says is on stderr.
    """
    start = ["-m", "harness"] if keeps else ["-c", WITHOUT]
    with tempfile.TemporaryDirectory() as folder:
        arguments = [sys.executable, *start, "train", "--workspace", str(folder), *options]
        _, status, used = os.wait4(os.posix_spawn(sys.executable, arguments, os.environ), 0)
    if status:
        raise click.ClickException(f"a training ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_stime, used.ru_minflt, used.ru_maxrss * 1024)


def table(kept: Sequence[Cost], given_back: Sequence[Cost]) -> str:
    """A row for each way, of medians, and the ratio of CPU seconds turn by turn."""
    ratio = median(theirs.cpu_seconds / own.cpu_seconds for own, theirs in zip(kept, given_back, strict=True))
    rows = [
        (
            name,
            f"{median(each.cpu_seconds for each in costs):.1f}",
            f"{median(each.kernel_seconds for each in costs):.1f}",
            f"{median(each.n_faults for each in costs) / 1e6:.2f} M",
            f"{median(each.peak_bytes for each in costs) / MIB:,.0f} MiB",
            fast,
        )
        for name, costs, fast in (("kept", kept, f"{ratio:.2f}x"), ("given back", given_back, "1.00x"))
    ]
    header = ("freed memory", "CPU (s)", "in the kernel (s)", "page faults", "peak memory", "as fast")
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
