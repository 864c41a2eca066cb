"""The same command a second time writes the same report, byte by byte, but for time, name and command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from compared_runs import comparable, first_difference

from harness.commands.report_files import FORMATS
from reports.run_folder import read_run

pytestmark = pytest.mark.slow

QUICK = ("--limit", "8", "-o", "training.max_steps=4", "-o", "data.training.limit=48", "-o", "training.batch_size=4")
OWN = ("report.md", "report.csv", "report.html", "report.json", "report.tex", "generations.jsonl", "examples.jsonl",
       "training.jsonl", "scores.parquet", "run.json")  # fmt: skip
"""Files that are compared whatever else a run folder has."""


def measured(workspace: Path, name: str, threads: str) -> Path:
    """The run folder of the embedded default, with a report in every format."""
    out = workspace.parent / name
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HARNESS_", "OMP_"))}
    for command in (
        ["train-and-eval", "--suite", "alignment", "--workspace", str(workspace), "--out", str(out), *QUICK],
        ["report", str(out), "--format", ",".join(FORMATS), "--figures", "svg"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *command], env=environment | {"HARNESS_THREADS": threads},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of one command in one workspace; the second finds more idle cores."""
    workspace = tmp_path_factory.mktemp("twice") / "workspace"
    return measured(workspace, "run-aaaa", "1"), measured(workspace, "run-bbbb", "2")


def test_the_second_report_is_the_first_byte_by_byte(runs: tuple[Path, Path]) -> None:
    """Every file of the folder, in every format, pictures too."""
    first, second = map(comparable, runs)
    assert set(OWN) <= first.keys() == second.keys()
    assert not first_difference(first, second)


def test_the_second_run_tells_the_checks_of_the_first(runs: tuple[Path, Path]) -> None:
    """How scores were computed, by how many threads, and what was checked, although it computed nothing."""
    first, second = map(read_run, runs)
    assert first.provenance["scoring"] == second.provenance["scoring"]
    assert first.provenance["scoring"]["n_threads"] == 1
    assert first.provenance["scoring"]["checks"]
    assert any("compared with one forward a request" in note for note in second.notes)
    assert not any("reused" in note or "idle" in note for note in second.notes)


def test_no_report_holds_a_path_from_the_root(runs: tuple[Path, Path]) -> None:
    """Neither that of the workspace nor that of the interpreter, in any file of the folder but the configuration."""
    for folder in runs:
        assert not [part for part in read_run(folder).provenance["command"] if "=/" in part or part.startswith("/")]
        for name, content in comparable(folder).items():
            for path in (str(folder.parent), sys.prefix, str(Path(__file__).parents[2])):
                assert path.encode() not in content, name
