"""The benchmark of the README's first command: what its table says of the jobs, and how blocks are named."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

FOLDER = Path(__file__).parent


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the benchmark's command line with jobs that take what a table of them says."""
    monkeypatch.syspath_prepend(FOLDER)
    quickstart, bench = importlib.import_module("quickstart"), importlib.import_module("bench")
    printed = iter(range(100))

    def run_with(*arguments: str, nf4: float = 120.0, none: float = 100.0, differ: bool = False) -> Result:
        def job(quantization: str, variables: Mapping[str, str]) -> Any:
            slower = 2 if variables else 1
            seconds = slower * (nf4 if quantization == "nf4" else none)
            return quickstart.Job(seconds / 2, seconds, f"table {next(printed) if differ else 0}")

        monkeypatch.setattr(quickstart, "run_job", job)
        return CliRunner().invoke(bench.bench, arguments)

    return run_with


def body(result: Result) -> list[list[str]]:
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_a_row_a_cpu_with_the_ratio_of_cpu_seconds(run: Callable[..., Result]) -> None:
    """As this machine is, and as an older one would compute; the bound is part of the cell."""
    result = run("quickstart", "--repetitions", "2")

    assert result.exit_code == 0
    assert body(result) == [
        ["as it is", "120.0", "100.0", "1.20x (reached)", "60.0", "50.0"],
        ["AVX2", "240.0", "200.0", "1.20x (reached)", "120.0", "100.0"],
    ]


def test_a_ratio_that_is_not_reached_is_shown_and_ends_nothing(run: Callable[..., Result]) -> None:
    """Speed is for people to judge."""
    result = run("quickstart", "--repetitions", "1", "--cpu", "oldest", nf4=131.0)

    assert (result.exit_code, body(result)[0][3]) == (0, "1.31x (not reached)")


def test_numbers_that_differ_between_repetitions_end_it(run: Callable[..., Result]) -> None:
    """The same job on the same machine prints the same table, or something is wrong."""
    result = run("quickstart", "--repetitions", "2", differ=True)

    assert result.exit_code == 1
    assert "Same numbers in every repetition: no" in result.stdout


def test_an_unknown_block_is_refused(run: Callable[..., Result]) -> None:
    """With exit code 2."""
    assert run("quikstart").exit_code == 2
