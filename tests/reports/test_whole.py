"""Atomic writes of files and folders."""

from pathlib import Path

import pytest

from reports.whole import whole_folder, write_whole


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let a method of `Path` fail as on a full disk."""

    def fail(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, method, fail)


@pytest.mark.parametrize("sync", [False, True])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sync: bool
) -> None:
    """A disk that is full at the end of a write costs neither the file before nor a stray one."""
    file = write_whole(tmp_path / "report.md", "before")
    fill_the_disk(monkeypatch, "replace")
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"after", sync=sync)
    assert file.read_text() == "before"
    assert [*tmp_path.iterdir()] == [file]


def test_a_folder_appears_under_its_name_when_it_is_complete(tmp_path: Path) -> None:
    """Nothing has the folder's name while it is filled; an empty folder of that name is replaced."""
    folder = tmp_path / "run"
    folder.mkdir()
    with whole_folder(folder) as temporary:
        (temporary / "run.json").write_text("{}")
        assert not [*folder.iterdir()]
    assert [file.name for file in folder.iterdir()] == ["run.json"]
    assert [*tmp_path.iterdir()] == [folder]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_folder_that_fails_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    """A full disk or Ctrl-C while a folder is filled removes what was written of it."""

    def fill(temporary: Path) -> None:
        (temporary / "run.json").write_text("{}")
        raise failure

    with pytest.raises(failure), whole_folder(tmp_path / "run") as temporary:
        fill(temporary)
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_process_left_is_not_part_of_the_folder(tmp_path: Path) -> None:
    """A named temporary folder is emptied first, and a folder that holds something is never replaced."""
    temporary = tmp_path / "run.partial"
    temporary.mkdir()
    (temporary / "leftover").write_text("")
    with whole_folder(tmp_path / "run", temporary):
        (temporary / "run.json").write_text("{}")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["run.json"]
    with pytest.raises(OSError, match="not empty"), whole_folder(tmp_path / "run", temporary):
        pass
    assert (tmp_path / "run" / "run.json").exists()
