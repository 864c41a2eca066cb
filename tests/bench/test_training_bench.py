"""The benchmark of training: a small run of it fills its table, both sides have the same losses, results are kept."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent
DATA_ROOT = Path(os.environ.get("HARNESS_DATA_ROOT", FOLDER.parents[2] / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA_ROOT / "hh-rlhf").is_dir(), reason="the real rows of HARNESS_DATA_ROOT are not there")
def test_a_small_run_compares_both_sides(tmp_path: Path) -> None:
    """A line for each row, with time and peak memory of each side; what is kept is not measured again."""
    table, kept = tmp_path / "training.md", tmp_path / "kept.json"
    rows = "hh_rlhf,sft,memory,nf4,gpu_hh_rlhf"
    command = [sys.executable, "bench.py", "training", "--quick", "--rows", rows, "--kept", kept, "--out", table]

    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    header, _, *lines = table.read_text(encoding="utf-8").splitlines()
    names = [cell.strip() for cell in header.split("|")]
    dpo, sft, memory, nf4, gpu = (dict(zip(names, line.split("|"), strict=True)) for line in lines)
    for cells in (dpo, sft):
        assert float(cells["losses differ by"]) < 1e-3
    for cells in (dpo, sft, memory, nf4):
        assert float(cells["ratio"].strip().rstrip("x")) > 0
        assert re.search(r"\d s, [\d,]+ MiB", cells["packs"])
        assert re.search(r"\d s, [\d,]+ MiB", cells["against"])
    assert "AVX2" in nf4["row"]
    if not torch.cuda.is_available():
        assert "no GPU" in gpu["ratio"]
    before = kept.read_text(encoding="utf-8")
    again = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout
    assert kept.read_text(encoding="utf-8") == before
