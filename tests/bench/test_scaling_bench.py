"""The benchmark of workers on Ray: what its table says of each way, and a small job in all four."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

FOLDER = Path(__file__).parent
SECONDS = (600.0, 610.0, 340.0, 400.0)
"""One process, one worker, two workers, two threads."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the block with jobs that take, and report, what is said."""
    monkeypatch.syspath_prepend(FOLDER)
    scaling, bench = importlib.import_module("scaling"), importlib.import_module("bench")

    def run_with(
        *arguments: str, seconds: Sequence[float] = SECONDS, reports: str = "aaaa", has_ray: bool = True
    ) -> Result:
        places = {way.name: number for number, way in enumerate(scaling.WAYS)}

        def do_job(way: Any, _job: Sequence[str]) -> Any:
            number = places[way.name]
            return scaling.Done(seconds[number], 1.0 + number % 2, reports[number])

        monkeypatch.setattr(scaling, "do_job", do_job)
        monkeypatch.setattr(scaling, "find_spec", lambda _name: object() if has_ray else None)
        return CliRunner().invoke(bench.bench, ["scaling", *arguments])

    return run_with


def body(result: Result) -> list[list[str]]:
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_a_row_a_way_with_its_ratio_and_the_overhead(run: Callable[..., Result]) -> None:
    """Ratios are against one process of one thread; the bounds are part of their cells."""
    result = run()

    assert result.exit_code == 0
    assert body(result) == [
        ["in process, one thread", "600.0", "1.00x", "", "1.0"],
        ["Ray, 1 worker of one thread", "610.0", "0.98x", "10.0 s (below 15 s: reached)", "2.0"],
        ["Ray, 2 workers of one thread each", "340.0", "1.76x (at least 1.7x: reached)", "", "1.0"],
        ["in process, two threads", "400.0", "1.50x", "", "2.0"],
    ]
    assert "report.csv is the same in all of them" in result.stdout


def test_bounds_that_are_not_reached_are_shown_and_end_nothing(run: Callable[..., Result]) -> None:
    """Speed is for people to judge."""
    result = run(seconds=(600.0, 615.0, 400.0, 400.0))

    assert result.exit_code == 0
    assert result.stdout.count("NOT reached") == 2


@pytest.mark.parametrize(("reports", "exit_code"), [("aaab", 0), ("aaba", 1), ("abaa", 1)])
def test_another_report_is_named(run: Callable[..., Result], reports: str, exit_code: int) -> None:
    """On one thread it is an error; two threads may take sums in another order."""
    result = run(reports=reports)

    odd = ["in process, one thread", "Ray, 1", "Ray, 2", "in process, two threads"][reports.index("b")]
    assert result.exit_code == exit_code
    assert f"report.csv is another one than in the first row: {odd}" in result.stdout


def test_without_ray_its_rows_say_so(run: Callable[..., Result]) -> None:
    """The two ways in process are measured all the same."""
    result = run(has_ray=False)

    assert result.exit_code == 0
    assert [row[1] for row in body(result)[:2]] == [
        "600.0",
        "not measured: ray is not installed (pip install -e '.[ray]')",
    ]


def test_what_was_measured_is_kept(run: Callable[..., Result], tmp_path: Path) -> None:
    """A second call with the file prints the same table without doing a job."""
    kept = str(tmp_path / "kept.json")
    first = run("--kept", kept)

    again = run("--kept", kept, seconds=(0.0, 0.0, 0.0, 0.0))

    assert again.stdout == first.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (pip install -e '.[ray]')")
def test_a_small_job_gives_one_report_in_every_way() -> None:
    """Two adapters of two steps, trained and measured in process and on one and two workers."""
    command = [sys.executable, "bench.py", "scaling", "--quick"]

    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| Ray, ") == 2
    assert "NOT" not in done.stdout
