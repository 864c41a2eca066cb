"""Files that are there as a whole or not at all."""

from pathlib import Path

import pytest

from reports.whole import write_whole


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at the end of a write costs neither the file before nor a stray one."""
    file = write_whole(tmp_path / "report.md", "before")

    def fill_up(_self: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fill_up)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "after")
    assert file.read_text() == "before"
    assert [*tmp_path.iterdir()] == [file]
