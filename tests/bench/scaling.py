"""Measures what workers on Ray save of a job's time: `nox -s bench -- scaling`.

    nox -s bench -- scaling --kept scaling.json      # a way that is in the file is not measured again
    nox -s bench -- scaling --quick                  # two adapters of two steps, a smoke test

One job, a sweep of eight adapters of the embedded model that are trained and measured by all of `alignment`, is done in
four ways, each by the command that a user types, in a process and a workspace of its own. Everything counts, from the
start of Python to the last report. The reports of the ways with one thread must be equal, or it exits with 1.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click
import psutil
from kept import Kept
from tabulate import tabulate

ALONE, ONE_WORKER, TWO_WORKERS, TWO_THREADS = (
    "in process, one thread",
    "Ray, 1 worker of one thread",
    "Ray, 2 workers of one thread each",
    "in process, two threads",
)
JOB = (
    *("--suite", "alignment", "--sweep", "training.learning_rate=2e-4,5e-4,1e-3,2e-3", "--seeds", "2"),
    *("-o", "training.epochs=16"),
)
"""Of the embedded default, trained five times as long: over 10 minutes on one thread of an AMD EPYC (Zen 4)."""
QUICK_JOB = (
    *("--suite", "smoke", "--limit", "8", "--sweep", "training.learning_rate=5e-4,1e-3"),
    *("-o", "training.max_steps=2", "-o", "training.batch_size=4"),
)
AT_LEAST = 1.7
"""Ratio of the time of one process with one thread to that of two workers."""
LONGEST_OVERHEAD = 15.0
"""Seconds that one worker on Ray takes more than one process."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way of doing the job."""

    name: str
    n_threads: int = 1
    n_workers: int = 0
    """Workers on Ray; 0 is without Ray."""

    @property
    def options(self) -> tuple[str, ...]:
        """What the command line says beside the job."""
        return ("--on", "ray", "--workers", str(self.n_workers)) if self.n_workers else ()


WAYS = (Way(ALONE), Way(ONE_WORKER, n_workers=1), Way(TWO_WORKERS, n_workers=2), Way(TWO_THREADS, n_threads=2))


@dataclass(frozen=True, slots=True)
class Done:
    """The job, done in one way."""

    seconds: float
    """On the clock."""
    n_busy: float
    """Cores of the machine that were busy meanwhile, on average, other programs' work included."""
    report: str
    """Hash of its report.csv."""


@click.command("scaling", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--quick", is_flag=True, help="Two adapters of two steps, a few rows.")
@click.option("--kept", "kept_file", type=click.Path(path_type=Path), help="File of what was measured already.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File that the table is written to.")
def scaling(quick: bool, kept_file: Path | None, out: Path | None) -> bool:
    """Prints the time of every way; returns whether those with one thread gave the same report."""
    from harness.models.provenance import processor_name

    job, done = QUICK_JOB if quick else JOB, dict[str, Done]()
    has_ray = find_spec("ray") is not None
    with tempfile.TemporaryDirectory() as scratch:
        kept = Kept(kept_file or Path(scratch) / "kept.json")
        for way in WAYS:
            if way.n_workers and not has_ray:
                continue
            description = f"{way.name}: {' '.join(job)}"
            done[way.name] = Done(**kept.take(description, partial(_measured, way, job)))
            click.echo(f"{way.name}: {done[way.name].seconds:.1f} s", err=True)
    report = (
        f"### A sweep on Ray\n\n{processor_name()}, {os.cpu_count()} cores; "
        f"`harness train-and-eval {' '.join(job)}`, once in each way.\n\n"
        f"{table(done, is_quick=quick)}\n\n{line_on_reports(done)}\n"
    )
    click.echo(report)
    if out is not None:
        out.write_text(report, encoding="utf-8")
    return len({each.report for name, each in done.items() if name != TWO_THREADS}) == 1


def _measured(way: Way, job: Sequence[str]) -> dict[str, object]:
    return asdict(do_job(way, job))


def do_job(way: Way, job: Sequence[str]) -> Done:
    """Does the job in an empty workspace, in a process of its own.

    Raises:
        subprocess.CalledProcessError: it did not end with exit code 0; what it says is on stderr.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "RAY_"))}
    environment |= {"HARNESS_THREADS": str(way.n_threads), "OMP_NUM_THREADS": str(way.n_threads)}
    libraries = "import torch, transformers, trl, peft, lm_eval"  # into the page cache, for whoever comes first
    subprocess.run([sys.executable, "-c", libraries], env=environment, check=True, stderr=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "harness", "train-and-eval", *job, *way.options, "--out", str(run)]
        before, started = psutil.cpu_times(), time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds, after = time.perf_counter() - started, psutil.cpu_times()
        report = hashlib.sha256((run / "report.csv").read_bytes()).hexdigest()
    n_busy = sum(getattr(after, kind) - getattr(before, kind) for kind in ("user", "nice", "system")) / seconds
    return Done(seconds, n_busy, report)


def table(done: Mapping[str, Done], *, is_quick: bool) -> str:
    """A row for every way; a few rows and steps reach no bar, so a quick job is held to none."""
    rows = []
    for way in WAYS:
        each = done.get(way.name)
        if each is None:
            rows.append((way.name, "not measured: ray is not installed (pip install -e '.[ray]')"))
            continue
        alone = done[ALONE].seconds
        ratio, overhead = f"{alone / each.seconds:.2f}x", ""
        if way.name == TWO_WORKERS and not is_quick:
            ratio += f" (at least {AT_LEAST}x: {_verdict(alone / each.seconds >= AT_LEAST)})"
        if way.name == ONE_WORKER:
            overhead = f"{each.seconds - alone:.1f} s"
            if not is_quick:
                within = _verdict(each.seconds - alone < LONGEST_OVERHEAD)
                overhead += f" (below {LONGEST_OVERHEAD:.0f} s: {within})"
        rows.append((way.name, f"{each.seconds:.1f}", ratio, overhead, f"{each.n_busy:.1f}"))
    header = ("way", "time (s)", "as fast as one thread", "overhead of Ray", "cores busy")
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)


def line_on_reports(done: Mapping[str, Done]) -> str:
    """Whose report.csv is another one than that of one process with one thread."""
    others = [name for name, each in done.items() if each.report != done[ALONE].report]
    if not others:
        return "report.csv is the same in all of them, byte by byte."
    return f"report.csv is another one than in the first row: {'; '.join(others)}."


def _verdict(holds: bool) -> str:
    return "reached" if holds else "NOT reached"
