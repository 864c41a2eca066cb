"""Measures the README's first command: `nox -s bench -- quickstart`.

The default job from an empty workspace, quantised and not, as this machine is and as an older CPU would run it. CPU
seconds are those of the whole process, imports included.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from tabulate import tabulate

CPUS: Mapping[str, Mapping[str, str]] = {
    "as it is": {},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "oldest": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
}
"""Name -> variables that make torch compute as such a CPU would."""
QUANTIZATIONS = ("nf4", "none")
AT_MOST = 1.3
"""Ratio of CPU seconds with NF4 to those without quantisation."""


@dataclass(frozen=True, slots=True)
class Job:
    """Time and output of one run of the command."""

    wall_seconds: float
    cpu_seconds: float
    table: str
    """Printed text without the path of the report."""


@click.command("quickstart", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--cpu", "cpus", multiple=True, type=click.Choice([*CPUS]), help="Default: as it is, and AVX2.")
@click.option("--repetitions", type=click.IntRange(1), default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File that the table is written to.")
def quickstart(cpus: Sequence[str], repetitions: int, out: Path | None) -> bool:
    """Returns the table and whether all repetitions on a machine printed the same numbers."""
    from harness.models.provenance import processor_name

    rows, holds = [], True
    for cpu in cpus or ("as it is", "AVX2"):
        jobs: dict[str, list[Job]] = {name: [] for name in QUANTIZATIONS}
        for number in range(repetitions):
            for name in QUANTIZATIONS:  # in turn, so that a busy neighbour meets both
                jobs[name].append(run_job(name, CPUS[cpu]))
                last = jobs[name][-1]
                click.echo(f"{cpu}, {name}, {number + 1}: {last.cpu_seconds:.1f} CPU seconds", err=True)
        holds &= all(len({job.table for job in each}) == 1 for each in jobs.values())
        rows.append(_row(cpu, jobs))
    header = ("CPU", "NF4 (CPU s)", "unquantised (CPU s)", f"ratio, at most {AT_MOST}", "NF4 (wall s)", "unquantised")
    table = tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
    report = (
        f"### The default job\n\n{processor_name()}, {os.cpu_count()} cores; the median of {repetitions}, in turn.\n\n"
        f"{table}\n\nSame numbers in every repetition: {'yes' if holds else 'no'}.\n"
    )
    click.echo(report)
    if out is not None:
        out.write_text(report, encoding="utf-8")
    return holds


def run_job(quantization: str, variables: Mapping[str, str]) -> Job:
    """Runs the command in an empty folder, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness", "train-and-eval", "--suite", "alignment"]
        if quantization != "nf4":
            command += ["-o", f"model.quantization={quantization}"]
        before, started = os.times(), time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=environment | variables, check=True, stdout=subprocess.PIPE, text=True
        )
        seconds, after = time.perf_counter() - started, os.times()
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    table = "\n".join(done.stdout.splitlines()[:-2])  # the last two say where the reports are
    return Job(seconds, cpu_seconds, table)


def _row(cpu: str, jobs: Mapping[str, Sequence[Job]]) -> tuple[str, ...]:
    cpu_seconds, wall_seconds = (
        [median(getattr(job, name) for job in jobs[each]) for each in QUANTIZATIONS]
        for name in ("cpu_seconds", "wall_seconds")
    )
    ratio = cpu_seconds[0] / cpu_seconds[1]
    verdict = "reached" if ratio <= AT_MOST else "not reached"
    return (
        cpu,
        *(f"{seconds:.1f}" for seconds in cpu_seconds),
        f"{ratio:.2f}x ({verdict})",
        *(f"{seconds:.1f}" for seconds in wall_seconds),
    )
