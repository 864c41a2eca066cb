"""`harness train`, and what it and the whole job would take."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.measuring import dry_run as dry_run_of_measuring
from harness.training import dry_run


def test_a_dry_run_trains_nothing(
    harness: Callable[..., Any], llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, steps, weights, time and memory are told of every adapter, and no fixture appears."""
    small = ("--suite", "smoke", "-o", f"model.name={llama_folder}", "-o", "data.training.limit=24")
    quick = ("-o", "training.max_steps=2", "-o", "training.batch_size=4")
    monkeypatch.setattr(dry_run, "_MOST_STEPS", 2)  # one of them timed
    outcome = harness("train", "--dry-run", "--controls", "sft", "--workspace", tmp_path / "w", *small, *quick)

    assert outcome.exit_code == 0, outcome.err
    assert all(word in outcome.out for word in ("adapter:", "control: sft on chosen:", "steps", "memory"))
    assert not [path for path in (tmp_path / "w" / "fixtures").iterdir() if path.is_dir()]


def test_a_dry_run_of_the_whole_job_tells_both_halves_and_writes_nothing(
    harness: Callable[..., Any], llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every candidate is counted, those that are merged and those with weights of their own too; nothing is left."""
    small = ("--suite", "smoke", "-o", f"model.name={llama_folder}", "-o", "data.training.limit=24", "--limit", "4")
    quick = ("-o", "training.max_steps=2", "-o", "training.batch_size=4", "--seeds", "2", "-o", "merged=float16")
    monkeypatch.setattr(dry_run, "_MOST_STEPS", 2)
    monkeypatch.setattr(dry_run_of_measuring, "PROBE_SECONDS", 0.0)
    outcome = harness("train-and-eval", "--dry-run", "--workspace", tmp_path / "w", *small, *quick)

    assert outcome.exit_code == 0, outcome.err
    training, measuring = outcome.out.split("\nMeasuring:\n")
    assert training.startswith("Training:\n")
    assert re.search(r"^  rows +\d+, [\d,]+ tokens, the longest sequence \d+$", training, re.MULTILINE)
    assert re.search(r"^  memory +fits: ", training, re.MULTILINE)
    assert "all 2 adapters: about" in training
    (subjects,) = re.findall(r"^subjects +(.*)$", measuring, re.MULTILINE)
    expected = ("baseline", "adapter, seed 42", "adapter, seed 43", "adapter, seed 43 merged, float16")
    assert all(name in subjects for name in expected)
    assert re.search(r"^time +about .* tokens/s", measuring, re.MULTILINE)
    assert re.search(r"^memory +fits: ", measuring, re.MULTILINE)
    assert not [path for path in (tmp_path / "w").rglob("*") if path.is_file() and path.name != "scores.sqlite"]
