"""Checkpoints are complete or not there; the newest one that is as it was written is taken."""

import errno
from pathlib import Path

import pytest

from harness.training.checkpoints import (
    MANIFEST_FILE,
    UnwritableError,
    newest_checkpoint,
    what_is_kept,
    write_checkpoint,
)


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"weights")
    (folder / "state").write_bytes(b"state")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """After steps 2, 10 and 12."""
    for step in (2, 10, 12):
        write_checkpoint(tmp_path, step, fill)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_two_are_kept(checkpoints: Path) -> None:
    """By their number, not by their name or time."""
    said: list[str] = []

    newest = newest_checkpoint(checkpoints, said.append)

    assert names(checkpoints) == ["step-00000010", "step-00000012"]
    assert newest == checkpoints / "step-00000012"
    assert said == ["Training continues from the checkpoint of step 12."]
    assert what_is_kept(checkpoints) == "the checkpoint of step 12 is kept; the next call continues from it"


@pytest.mark.parametrize("name", ["weights", "state", MANIFEST_FILE])
@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_one_gives_way_to_the_one_before(name: str, damage: str, checkpoints: Path) -> None:
    """It is said and removed, and so is the next one, until there is none."""
    said: list[str] = []
    for folder in sorted(checkpoints.iterdir()):
        file = folder / name
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-3])
        assert newest_checkpoint(checkpoints, said.append) in (checkpoints / "step-00000012", None)

    assert [line.partition(" is damaged")[0] for line in said] == [
        "Training continues from the checkpoint of step 12.",
        "The checkpoint of step 12",
        "The checkpoint of step 10",
    ]
    assert names(checkpoints) == []
    assert what_is_kept(checkpoints) == "there is no checkpoint yet; the next call starts from the beginning"


def test_a_half_written_one_is_never_taken(checkpoints: Path) -> None:
    """What was being written when the process died is not seen, and makes way for the next one."""

    def die(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(checkpoints, 14, die)
    assert newest_checkpoint(checkpoints, str) == checkpoints / "step-00000012"

    write_checkpoint(checkpoints, 14, fill)
    assert names(checkpoints) == ["step-00000012", "step-00000014"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"\(No space left on device\)"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed\nmore"), "failed\\)"),
    ],
)
def test_a_full_disk_is_one_line(error: Exception, reason: str, checkpoints: Path) -> None:
    """What was begun is removed, what is kept is named and still there."""

    def fail(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(UnwritableError, match=reason) as caught:
        write_checkpoint(checkpoints, 14, fail)

    assert "free some space, or choose another folder; the checkpoint of step 12 is kept" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(checkpoints) == ["step-00000010", "step-00000012"]


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    """A folder that does not exist holds no checkpoint; it is made for the first."""
    folder = tmp_path / "new"

    assert newest_checkpoint(folder, pytest.fail) is None
    write_checkpoint(folder, 1, fill)
    assert names(folder) == ["step-00000001"]
