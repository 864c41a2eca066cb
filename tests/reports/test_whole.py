"""Atomic writes of files and folders."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from reports import whole
from reports.whole import (
    check_writable,
    leftovers_in,
    remove_leftovers,
    remove_unused,
    scratch_folder,
    temporary_sibling,
    whole_folder,
    write_whole,
)


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


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_of_a_folder_may_be_read_by_whoever_may_read_the_folder(tmp_path: Path, mask: int, mode: int) -> None:
    """Safetensors makes weights for their owner alone, beside which a colleague could read all the rest."""
    before = os.umask(mask)
    try:
        with whole_folder(tmp_path / "adapter") as temporary:
            (temporary / "nested").mkdir()
            for name in ("config.json", "nested/weights.safetensors"):
                (temporary / name).touch()
            (temporary / "nested/weights.safetensors").chmod(0o600)
    finally:
        os.umask(before)
    files = [file for file in (tmp_path / "adapter").rglob("*") if file.is_file()]
    assert [file.stat().st_mode & 0o777 for file in files] == [mode, mode]


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


KILLED = (
    "import os, sys\nfrom pathlib import Path\nfrom reports.whole import scratch_folder, whole_folder, write_whole\n"
    "path = Path(sys.argv[1])\n"
    "if sys.argv[2] == 'scratch':\n"
    "    with scratch_folder(path):\n"
    "        os.kill(os.getpid(), 9)\n"
    "if sys.argv[2] == 'folder':\n"
    "    with whole_folder(path) as temporary:\n"
    "        (temporary / 'weights').write_text('x' * 1000)\n"
    "        os.kill(os.getpid(), 9)\n"
    "Path.replace = lambda *_: os.kill(os.getpid(), 9)\n"
    "write_whole(path, 'half')\n"
)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_left_is_cleared_by_the_next_write(tmp_path: Path, what: str) -> None:
    """However often it is killed, the next write of the same name leaves that name alone."""
    path = tmp_path / "run"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(path), what], check=False)
        (leftover,) = leftovers_in(tmp_path)
        assert leftover.name.startswith(".run.")
    other = tmp_path / ".other.0123abcd.partial"
    other.touch()

    with whole_folder(path) if what == "folder" else nullcontext():
        if what == "file":
            write_whole(path, "whole")
    assert {each.name for each in tmp_path.iterdir()} == {"run", other.name}
    assert leftovers_in(tmp_path, "other") == [other]


def test_a_scratch_folder_is_removed_also_where_its_process_was_killed(tmp_path: Path) -> None:
    """By the next one of its name; one that is in use stays, and nobody else may look into it."""
    path = tmp_path / "units"
    subprocess.run([sys.executable, "-c", KILLED, str(path), "scratch"], check=False)
    (leftover,) = leftovers_in(tmp_path)

    with scratch_folder(path) as first, scratch_folder(path) as second:
        assert not leftover.exists()
        assert {*tmp_path.iterdir()} == {first, second}
        assert {each.stat().st_mode & 0o777 for each in (first, second)} == {0o700}
    assert not [*tmp_path.iterdir()]


def test_what_another_machine_writes_is_left_alone(tmp_path: Path) -> None:
    """For a month: on a network file system its lock may not be seen here."""
    here, other = temporary_sibling(tmp_path / "run"), tmp_path / ".run.0123456789ab.partial"
    assert re.fullmatch(r"\.run\.[0-9a-f]{12}\.partial", here.name)
    assert other.name[:9] != here.name[:9]
    for folder in (here, other):
        folder.mkdir()
    assert leftovers_in(tmp_path) == [here]

    month = time.time() - 31 * 86_400
    os.utime(other, (month, month))
    assert leftovers_in(tmp_path) == sorted([here, other])


def test_what_another_process_writes_now_is_no_leftover(tmp_path: Path) -> None:
    """Two writers of one name do not take each other's half-written files away."""
    with whole_folder(tmp_path / "run") as first:
        assert leftovers_in(tmp_path) == []
        write_whole(tmp_path / "run.md", "text")
        with whole_folder(tmp_path / "run") as second:
            assert first.is_dir()
            assert second.is_dir()
        (tmp_path / "run").rmdir()
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("write", [scratch_folder, whole_folder])
def test_a_folder_that_is_taken_for_a_leftover_before_it_is_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    """Another process may look for leftovers between the making of a folder and the lock on it."""
    make, made = Path.mkdir, list[Path]()

    def make_and_lose(path: Path, *arguments: Any, **options: Any) -> None:
        make(path, *arguments, **options)
        if path != tmp_path:
            made.append(path)
            if len(made) == 1:
                remove_leftovers(tmp_path / "units")

    monkeypatch.setattr(Path, "mkdir", make_and_lose)
    with write(tmp_path / "units") as folder:
        assert folder.is_dir()
        assert made == [folder, folder]
        assert not leftovers_in(tmp_path)


def test_a_file_that_is_about_to_get_its_name_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may write the same file between the end of its content and its rename."""
    rename = Path.replace

    def remove_and_rename(path: Path, target: Path) -> Path:
        remove_leftovers(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", remove_and_rename)

    assert write_whole(tmp_path / "report.md", "text").read_text() == "text"


def test_a_folder_that_was_made_again_is_not_removed_by_who_opened_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is that of a folder which a third process has removed since."""
    leftover = temporary_sibling(tmp_path / "units")
    leftover.mkdir()
    lock, n_made_again = whole.fcntl.flock, 0

    def make_again_and_lock(descriptor: int, kind: int) -> None:
        nonlocal n_made_again
        if not n_made_again:
            leftover.rmdir()
            leftover.mkdir()
        n_made_again += 1
        lock(descriptor, kind)

    monkeypatch.setattr(whole.fcntl, "flock", make_again_and_lock)
    remove_unused(leftover)

    assert n_made_again == 1
    assert leftover.is_dir()


def test_a_file_is_tried_without_a_change(tmp_path: Path) -> None:
    """A folder in its place is an error; what is there stays."""
    file = tmp_path / "gates.yaml"
    file.write_text("before")
    check_writable(file)
    assert file.read_text() == "before"
    assert [*tmp_path.iterdir()] == [file]
    with pytest.raises(OSError, match="it is a folder"):
        check_writable(tmp_path)
