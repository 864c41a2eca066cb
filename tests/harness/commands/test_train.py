"""`harness train`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_dry_run_trains_nothing(harness: Callable[..., Any], tmp_path: Path) -> None:
    """Rows, steps, weights, time and memory are told of every adapter, and no fixture appears."""
    quick = ("-o", "training.max_steps=2", "-o", "training.batch_size=4", "-o", "data.training.limit=24")
    outcome = harness("train", "--dry-run", "--controls", "sft", "--workspace", tmp_path / "w", *quick)

    assert outcome.exit_code == 0, outcome.err
    assert all(word in outcome.out for word in ("adapter:", "control: sft on chosen:", "steps", "memory"))
    assert not [path for path in (tmp_path / "w" / "fixtures").iterdir() if path.is_dir()]
