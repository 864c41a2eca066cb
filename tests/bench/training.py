"""Compares training in packs with TRL's own batches, alternating in one process: `nox -s bench -- training`.

    nox -s bench -- training --rows hh_rlhf,sweep --kept training.json   # what is in the file is not measured again
    nox -s bench -- training --model ../smollm2      # a model folder in place of random weights
    nox -s bench -- training --quick                 # tiny models and one step, a smoke test

Measured is everything from encoded rows to the saved adapter, the check of packs and the reference included. Each side
gets its best micro-batch. Both sides run TRL's trainers; only the forward differs. Seconds are those of the CPU where
nothing else computes, and those on the clock on a GPU.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch
from kept import Kept
from quickstart import CPUS
from rows import all_texts
from tabulate import tabulate
from training_lines import Line, Settings, computed_by, memory_line, nf4_line, speed_line
from trainings import WORKLOADS, Workload

DATA_ROOT = Path(__file__).parents[3] / "shared" / "data"
STEPS = 2
WITHOUT_FAST_BF16 = CPUS["AVX2"]
"""Variables that make torch compute as a CPU without AVX512 does."""


@click.command("training", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--rows", "named", multiple=True, help="Some of the table's; may be repeated (default: all).")
@click.option(
    "--model", "folder", type=click.Path(path_type=Path, exists=True), help="Folder in place of the Llama shape."
)
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=STEPS, show_default=True, help="Of 8 rows, on a CPU.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--quick", is_flag=True, help="Tiny models, one step, one repetition.")
@click.option("--data-root", type=click.Path(path_type=Path), envvar="HARNESS_DATA_ROOT", default=DATA_ROOT)
@click.option("--kept", "kept_file", type=click.Path(path_type=Path), help="File of what was measured already.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File that the table is written to.")
def training(
    named: Sequence[str], threads: int, quick: bool, kept_file: Path | None, out: Path | None, **options: Any
) -> bool:
    """Prints a line for every row; returns whether both sides had the same losses."""
    names = list(dict.fromkeys(name for part in named for name in part.split(",")))
    unknown = set(names) - {workload.name for workload in WORKLOADS}
    if unknown:
        raise click.BadParameter(f"no row {', '.join(sorted(unknown))}")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    chosen = [replace(each, shape="tiny") if quick else each for each in WORKLOADS if not names or each.name in names]
    with tempfile.TemporaryDirectory() as scratch:
        kept = Kept(kept_file or Path(scratch) / "kept.json")
        texts = tuple(all_texts(options["data_root"], 40 if quick else None))
        settings = Settings(kept, texts, is_quick=quick, **options)
        if quick:
            settings = replace(settings, repetitions=1, steps=1)
        lines = []
        for workload in chosen:
            lines.append(line_of(workload, settings))
            click.echo(f"{workload.name}: {lines[-1].cells}", err=True)
    report = tabulate([line.cells for line in lines], headers="keys", tablefmt="github", disable_numparse=True) + "\n"
    click.echo(report)
    if out is not None:
        out.write_text(report, encoding="utf-8")
    return all(line.agrees for line in lines)


def line_of(workload: Workload, settings: Settings) -> Line:
    """Measure one row, in a process of its own where another CPU is to be imitated."""
    if workload.device == "cuda" and not torch.cuda.is_available():
        return Line({"row": workload.title, "ratio": "not measured: there is no GPU here"})
    description = (
        f"line {workload.name}, {settings.folder or 'random weights'}, {settings.repetitions} x {settings.steps}, "
        f"{computed_by()}, {'quick' if settings.is_quick else 'whole'}"
    )

    def measure() -> dict[str, object]:
        if workload.kind == "nf4" and not WITHOUT_FAST_BF16.items() <= os.environ.items():
            _measure_elsewhere(workload, settings)
            return dict(settings.kept.all()[description])
        lines = {"speed": speed_line, "memory": memory_line, "nf4": nf4_line}
        return asdict(lines[workload.kind](workload, settings))

    return Line(**settings.kept.take(description, measure))


def _measure_elsewhere(workload: Workload, settings: Settings) -> None:
    """Measures a row as a CPU without fast bf16 would, into the same file."""
    options = ["--rows", workload.name, "--kept", str(settings.kept.file), "--data-root", str(settings.data_root)]
    options += ["--repetitions", str(settings.repetitions), "--steps", str(settings.steps)]
    options += ["--threads", str(torch.get_num_threads())]
    options += ["--model", str(settings.folder)] if settings.folder else []
    options += ["--quick"] if settings.is_quick else []
    command = [sys.executable, str(Path(__file__).with_name("bench.py")), "training", *options]
    subprocess.run(command, env=os.environ | WITHOUT_FAST_BF16, check=True, stdout=subprocess.DEVNULL)
