"""The benchmark of training: a small run of it fills its table, and both sides have the same losses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
DATA_ROOT = Path(os.environ.get("HARNESS_DATA_ROOT", FOLDER.parents[2] / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA_ROOT / "hh-rlhf").is_dir(), reason="the real rows of HARNESS_DATA_ROOT are not there")
def test_a_small_run_compares_both_sides(tmp_path: Path) -> None:
    """A line a workload, with the time of each side, their peaks of memory, and losses that agree."""
    table = tmp_path / "training.md"
    command = [sys.executable, "bench.py", "training", "--quick", "--only", "hh_rlhf,sft", "--out", table]

    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    header, _, *lines = table.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    for line in lines:
        cells = dict(zip((cell.strip() for cell in header.split("|")), line.split("|"), strict=True))
        assert float(cells["losses differ by"]) < 1e-3
        assert float(cells["ratio"].strip().rstrip("x")) > 0
        assert "MiB; TRL" in cells["peak"]
