"""`harness calibrate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_calibration_proposes_gates_that_check_takes(harness: Callable[..., Any], tmp_path: Path) -> None:
    """`harness calibrate` repeats an experiment with N seeds and writes a file of gates, ready to use.

    The old `harness check --calibrate N` prints the same, with a line that names the new command.
    """
    recipe = (
        "--suite", "smoke", "--workspace", tmp_path / "w", "-o", "training.max_steps=2", "-o", "training.batch_size=4",
        "-o", "data.training.limit=24",
    )  # fmt: skip
    outcome = harness("calibrate", "--seeds", "3", "--gates", tmp_path / "gates.yaml", *recipe)
    assert outcome.exit_code == 0, outcome.err
    (run,) = (tmp_path / "w" / "runs").iterdir()
    checked = harness("check", run, "--against", run, "--gates", tmp_path / "gates.yaml")
    assert checked.exit_code == 0, checked.err + checked.out
    assert "truthfulness" in checked.out

    old = harness("check", "--calibrate", "3", *recipe)
    assert old.exit_code == 0, old.err
    assert old.out == (tmp_path / "gates.yaml").read_text()
    assert "is now `harness calibrate --seeds 3`" in old.err


def test_a_file_of_gates_that_cannot_be_written_is_told_before_training(
    harness: Callable[..., Any], tmp_path: Path
) -> None:
    """Nothing is loaded for it."""
    refused = harness("calibrate", "--gates", tmp_path, "--workspace", tmp_path / "w")
    assert (refused.exit_code, refused.err) == (2, f"error: --gates: cannot write {tmp_path} (it is a folder)\n")
    assert not (tmp_path / "w").exists()
