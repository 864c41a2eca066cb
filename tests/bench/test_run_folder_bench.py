"""The benchmark of a large run folder: what its table says, and that a small one is written and reported."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

FOLDER = Path(__file__).parent


@pytest.fixture
def run_folder(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the benchmark."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("run_folder")


@pytest.mark.parametrize(
    ("seconds", "peak", "page", "verdict"),
    [(100.0, 3_072, 20_000_000, "reached"), (100.1, 3_073, 20_000_001, "not reached")],
)
def test_time_memory_and_size_stand_beside_what_is_aimed_at(
    run_folder: Any, seconds: float, peak: float, page: int, verdict: str
) -> None:
    """Seconds are those of both steps, memory is that of the larger one."""
    steps = [run_folder.Step("write", 30, 80.0, 500), run_folder.Step("report", 40, seconds, peak)]
    lines = run_folder.table(steps, page).splitlines()
    together = [cell.strip() for cell in lines[4].split("|")[1:-1]]
    assert together == [
        "together", "70.0", f"{80 + seconds:.1f} (at most 180: {verdict})", f"{peak:,} (at most 3,072: {verdict})",
    ]  # fmt: skip
    assert lines[-1] == f"The page has {page / 1e6:.1f} MB (at most 20: {verdict})."


def test_a_made_up_run_is_the_same_every_time_and_makes_its_texts_when_asked(run_folder: Any) -> None:
    """Three subjects on five metrics, all of them over the same examples."""
    run = run_folder.made_up_run(40)
    assert len(run.measurements) == 15
    assert {len(each.scores) for each in run.measurements} == {40}
    assert len({id(each.scores.examples) for each in run.measurements}) == 1
    assert run == run_folder.made_up_run(40)
    assert [text.example_id for text in run.examples] == run.measurements[0].scores.examples.ids.to_pylist()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the largest memory from")
def test_a_small_one_is_written_and_reported(run_folder: Any) -> None:
    """Each step in a process of its own, and every report is there."""
    done = CliRunner().invoke(run_folder.run_folder, ["--examples", "200"])
    assert done.exit_code == 0, done.output
    assert "3,000 rows of scores" in done.output
    assert "Every report is there: yes." in done.output
