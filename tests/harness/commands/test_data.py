"""`harness data`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_rows_are_shown_as_they_are_trained_on(harness: Callable[..., Any], tmp_path: Path) -> None:
    """A file of one's own is inspected by its name, with boundary and token counts."""
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}\n')
    outcome = harness("data", "inspect", "./mine.jsonl", "--rows", "1")

    assert outcome.exit_code == 0, outcome.err
    assert "Because." in outcome.out
    assert "tokens" in outcome.out
