"""`harness train`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
