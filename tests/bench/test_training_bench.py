"""The benchmark of training: a small run of it fills its table, both sides have the same losses, results are kept."""

import importlib
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from harness.training.recipe import EncodedRows

FOLDER = Path(__file__).parent
DATA_ROOT = Path(os.environ.get("HARNESS_DATA_ROOT", FOLDER.parents[2] / "shared" / "data"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the benchmark's command line with steps and trainings that take so many seconds by rows at a time."""
    monkeypatch.syspath_prepend(FOLDER)
    training, lines, bench = map(importlib.import_module, ("training", "training_lines", "bench"))

    def run_with(*arguments: str, **seconds: Mapping[int, float]) -> Result:
        def train_all(*asked: Any) -> Any:
            *_, engine, micro, _n_steps = asked
            return lines.Cost(seconds[engine][micro], 0.0, 0.0, (1.0,))

        def one_step(train: Callable[[], Any], _device: str, longest: float) -> Any:
            time = train().cpu_seconds
            return lines.Step(1000.0 * time, time) if time <= longest else lines.Step(problem="too long")

        loaded = SimpleNamespace(fingerprint="0" * 12, quantization="none", device="cpu")
        monkeypatch.setattr(training, "all_texts", lambda *_: [])
        monkeypatch.setattr(lines, "load", lambda *_: loaded)
        monkeypatch.setattr(lines, "encode", lambda *_: EncodedRows([]))
        monkeypatch.setattr(lines, "train_all", train_all)
        monkeypatch.setattr(lines, "one_step", one_step)
        return CliRunner().invoke(bench.bench, ["training", *arguments])

    return run_with


def cells(result: Result) -> list[dict[str, str]]:
    """The table's rows by the names of its columns."""
    header, _, *rows = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")]
    return [{name.strip(): cell.strip() for name, cell in zip(header, row, strict=True)} for row in rows]


def test_each_side_trains_at_its_best_rows_at_a_time(run: Callable[..., Result]) -> None:
    """Found by a step each; memory is compared at TRL's, of a step that took packs longer than their best."""
    trl, packed = {1: 20.0, 2: 10.0, 4: 30.0, 8: 9.5}, {1: 4.0, 2: 5.0, 4: math.inf, 8: 6.0}
    speed, memory = cells(run("--rows", "hh_rlhf,memory", trl=trl, packed=packed))
    assert "1 rows at a time" in speed["packs"]
    assert "8 rows at a time" in speed["against"]
    assert speed["ratio"].startswith("2.38x (at least 1.9x: reached")
    assert speed["packs' first step with the check, by rows at a time"].endswith("8: too long")
    assert memory["ratio"].startswith("0.63x (at most 1x: reached")


def test_a_file_of_another_packed_step_is_measured_anew(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As is one of another CPU; what was kept by this one is not."""
    arguments = ("--rows", "hh_rlhf", "--kept", str(tmp_path / "kept.json"))
    trl, slower = dict.fromkeys((1, 2, 4, 8), 10.0), dict.fromkeys((1, 2, 4, 8), 5.0)
    faster = dict.fromkeys(slower, 2.0)
    assert cells(run(*arguments, trl=trl, packed=slower))[0]["ratio"].startswith("2.00x")
    assert cells(run(*arguments, trl=trl, packed=faster))[0]["ratio"].startswith("2.00x")
    lines = importlib.import_module("training_lines")
    monkeypatch.setattr(lines, "PACKED_STEP_VERSION", 0)
    assert cells(run(*arguments, trl=trl, packed=faster))[0]["ratio"].startswith("5.00x")
    monkeypatch.setattr(lines, "processor_name", lambda: "another")
    assert cells(run(*arguments, trl=trl, packed=slower))[0]["ratio"].startswith("2.00x")


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
    for row in (dpo, sft):
        assert float(row["losses differ by"]) < 1e-3
    for row in (dpo, sft, memory, nf4):
        assert float(row["ratio"].strip().rstrip("x")) > 0
        assert re.search(r"\d s, [\d,]+ MiB", row["packs"])
        assert re.search(r"\d s, [\d,]+ MiB", row["against"])
    assert "AVX2" in nf4["row"]
    if not torch.cuda.is_available():
        assert "no GPU" in gpu["ratio"]
    before = kept.read_text(encoding="utf-8")
    again = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout
    assert kept.read_text(encoding="utf-8") == before
