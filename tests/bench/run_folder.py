"""Measures a run folder of a million scored examples: `nox -s bench -- run-folder`.

Three subjects on one evaluation of five metrics, with texts of every example: written by one process, then read,
compared and reported in every format by another. Made up, so that no model is needed.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click
from tabulate import tabulate

SUBJECTS = {"base": 0.0, "dpo": -0.02, "control: shuffled pairs": 0.01}
"""Subject -> nats per token that it moved on average."""
FORMATS = "md,csv,json,latex,html"
LARGEST_GIB, MOST_SECONDS, LARGEST_PAGE = 3, 180, 20_000_000
"""What is aimed at, of writing and reporting together, on two cores."""
TELL_PEAK = """import atexit, sys
atexit.register(lambda: print([line for line in open("/proc/self/status") if "VmHWM" in line], file=sys.stderr))
"""
"""Code that tells the largest memory of its own process at the end; getrusage's is inherited from its parent."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one process took."""

    name: str
    cpu_seconds: float
    seconds: float
    peak_mib: float


@click.command("run-folder", help=(__doc__ or "").split("\n", 1)[0])
@click.option("--examples", "n_examples", type=click.IntRange(20), default=1_000_000, show_default=True)
def run_folder(n_examples: int) -> bool:
    """Returns the table and whether everything was written."""
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "run", Path(name) / "out"
        code = f"sys.path.insert(0, {str(Path(__file__).parent)!r}); import run_folder; from pathlib import Path"
        arguments = ("report", str(folder), "--format", FORMATS, "--out", str(out))
        steps = (
            _step("write", f"{code}; run_folder.write({n_examples}, Path({str(folder)!r}))", ()),
            _step("read, compare, report", "from harness.cli import main; main()", arguments),
        )
        page = (out / "report.html").stat().st_size
        sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        holds = {file.suffix for file in out.iterdir()} >= {".md", ".csv", ".json", ".tex", ".html"}
    n_rows = 15 * n_examples
    click.echo(
        f"### A run folder of {n_examples:,} scored examples\n\n"
        f"{len(SUBJECTS)} subjects, one evaluation of five metrics: {n_rows:,} rows of scores.\n\n"
        f"{table(steps, page)}\n\n"
        f"On disk: {', '.join(f'{file} {size / 1e6:,.0f} MB' for file, size in sizes.items())}.\n\n"
        f"Every report is there: {'yes' if holds else 'no'}.\n"
    )
    return holds


def table(steps: Sequence[Step], page_bytes: int) -> str:
    """Returns what each step took, and whether all together stayed within what is aimed at."""
    rows = [(each.name, f"{each.cpu_seconds:.1f}", f"{each.seconds:.1f}", f"{each.peak_mib:,.0f}") for each in steps]
    cpu, seconds = sum(each.cpu_seconds for each in steps), sum(each.seconds for each in steps)
    peak = max(each.peak_mib for each in steps)
    rows.append(
        (
            "together",
            f"{cpu:.1f}",
            f"{seconds:.1f} (at most {MOST_SECONDS}: {_verdict(holds=seconds <= MOST_SECONDS)})",
            f"{peak:,.0f} (at most {LARGEST_GIB * 1024:,}: {_verdict(holds=peak <= LARGEST_GIB * 1024)})",
        )
    )
    size = f"{page_bytes / 1e6:.1f} MB (at most {LARGEST_PAGE / 1e6:.0f}: {_verdict(holds=page_bytes <= LARGEST_PAGE)})"
    header = ("step", "CPU s", "wall s", "peak MiB")
    return f"{tabulate(rows, header, tablefmt='pipe', disable_numparse=True)}\n\nThe page has {size}."


def _verdict(*, holds: bool) -> str:
    return "reached" if holds else "not reached"


def _step(name: str, code: str, arguments: Sequence[str]) -> Step:
    """Runs code in a process of its own."""
    root = Path(__file__).parents[2]
    started, before = perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", TELL_PEAK + code, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"{name}: {done.stderr[-2_000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    peak = int(re.findall(r"VmHWM:\\t *(\d+) kB", done.stderr)[-1]) / 1024
    return Step(name, cpu, perf_counter() - started, peak)


def write(n_examples: int, folder: Path) -> None:
    """Writes the run folder."""
    from reports.run_folder import write_run

    write_run(made_up_run(n_examples), folder)


def made_up_run(n_examples: int):
    """Returns a run with three subjects, half as many groups as examples, and texts that are made when written."""
    import numpy as np

    from reports.example_texts import ExampleTexts
    from reports.records import EvaluationCounts, Metric, MetricScores, Run, Subject
    from reports.scores import ExampleScores, ScoredExamples

    rng = np.random.default_rng(16)
    ids, groups = hex_names(rng, n_examples), hex_names(rng, max(10, n_examples // 2))
    examples = ScoredExamples(ids, groups.take(rng.integers(0, len(groups), n_examples)))
    tokens = rng.integers(8, 200, n_examples).astype(float)
    nats, wrong = rng.normal(2.1, 0.3, n_examples), rng.normal(2.3, 0.4, n_examples)

    def measured() -> Iterator[MetricScores]:
        for subject, moved in SUBJECTS.items():
            own = nats + moved + rng.normal(0, 0.05, n_examples) * (moved != 0)
            for name, unit, totals, counts in (
                ("perplexity", "nats per token", own * tokens, tokens),
                ("perplexity_without_eos", "nats per token", own * (tokens - 1), tokens - 1),
                ("bits_per_byte", "bits per byte", own * (tokens - 1) / np.log(2), 4.2 * tokens),
                ("right_wrong_margin", "nats per token", wrong - own, None),
                ("right_above_wrong", "share of rows", (wrong > own).astype(float), None),
            ):
                display = "exp" if name.startswith("perplexity") else "percent" if counts is None else "mean"
                display = "mean" if name == "right_wrong_margin" else display
                metric = Metric(
                    "truthfulness", name, unit, name.startswith("right"), display, primary=name == "perplexity"
                )
                yield MetricScores(metric, subject, ExampleScores.from_columns(examples, totals, counts))

    base, *others = SUBJECTS
    return Run(
        name="million",
        suite="size",
        created="2026-11-27T00:00:00+00:00",
        headline="",
        suite_fingerprint="0" * 16,
        subjects=(
            Subject(base, "baseline", "base model; adapter off"),
            *(Subject(each, "candidate", "adapter", base, is_control=each.startswith("control")) for each in others),
        ),
        measurements=tuple(measured()),
        counts=(EvaluationCounts("truthfulness", "made up", n_examples, n_examples, examples.n_groups),),
        examples=ExampleTexts(lambda: texts_of_rows(ids)),
    )


def hex_names(rng, n: int):
    """Returns as many names of 16 hexadecimal digits as an Arrow array."""
    import numpy as np
    import pyarrow as pa

    places, names = np.arange(0, 16 * n + 1, 16, dtype=np.int64), rng.bytes(8 * n).hex().encode()
    return pa.LargeStringArray.from_buffers(n, pa.py_buffer(places), pa.py_buffer(names))


def texts_of_rows(ids):
    """Yields a question of 30 words with a right and a wrong answer of 50, one row at a time."""
    from reports.records import ExampleText

    for place in range(len(ids)):
        name = ids[place].as_py()
        asked = f"Question {name}: " + f"what would you say to someone who asks {name[:4]} again? " * 3
        right, wrong = (f"{word} {name[4:8]}, because it was said so before. " * 7 for word in ("Yes", "No"))
        yield ExampleText(name, "truthfulness", asked, {"right": right, "wrong": wrong})
