"""`harness doctor`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_the_doctor_says_what_is_wrong(harness: Callable[..., Any], tmp_path: Path) -> None:
    """A data root that is not there is a problem with an advice, and exit code 2."""
    outcome = harness("doctor", "--data-root", tmp_path / "missing", "--workspace", tmp_path / "w")
    assert outcome.exit_code == 2
    assert "data root" in outcome.out
    assert "->" in outcome.out
