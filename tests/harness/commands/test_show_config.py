"""`harness show-config`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_show_config_prints_what_config_reads(harness: Callable[..., Any], tmp_path: Path) -> None:
    """The printed YAML, given back with --config, prints itself."""
    shown = harness("show-config", "-o", "training.learning_rate=5e-6").out
    (tmp_path / "mine.yaml").write_text(shown)

    assert shown == harness("show-config", "--config", tmp_path / "mine.yaml").out
    assert "5.0e-06" in shown or "5e-06" in shown
