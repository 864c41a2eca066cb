"""A file of rows ends with the same bytes wherever its building was cut, and is never mixed with another one."""

import errno
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.made.resumable_file import (
    Item,
    ResumableFileError,
    append,
    build_lock,
    check_finished,
    finish,
    resume,
)

HEADER = {"spec": {"task": "Review {subject}.", "subjects": ["a", "b"]}, "seed": 1}
OTHER = {"spec": {"task": "Praise {subject}.", "subjects": ["a", "b"]}, "seed": 2}
BATCH = 3


def made(n_items: int) -> list[Item]:
    """Items of no, one or two rows, with text that JSON has to escape."""
    return [[{"n": n, "text": 'l\u00f6\n\u2028 "x"', "row": row} for row in range(n % 3)] for n in range(n_items)]


def build(path: Path, n_items: int, n_batches: int | None = None) -> int:
    """Goes on with a file, for so many batches or to its end; gives the number of items that were there."""
    items = made(n_items)
    built = resume(path, HEADER, n_items=n_items, batch_size=BATCH, force=False)
    assert built == items[: len(built)]
    starts = [*range(len(built), n_items, BATCH)]
    for start in starts[:n_batches]:
        append(path, items[start : start + BATCH])
    if n_batches is None:
        finish(path, HEADER, items)
    return len(built)


def partial_of(path: Path) -> Path:
    """Where what is unfinished lies."""
    return path.with_name(f"{path.name}.partial")


@settings(max_examples=40)
@given(n_items=st.integers(1, 11), data=st.data())
def test_a_build_that_is_cut_anywhere_ends_with_the_same_bytes(n_items: int, data: st.DataObject) -> None:
    """The partial file is cut at any byte, or ends in what was never written whole; nothing of that reaches the end."""
    with TemporaryDirectory() as folder:
        whole, cut = Path(folder, "whole.jsonl"), Path(folder, "cut.jsonl")
        build(whole, n_items)

        build(cut, n_items, n_batches=data.draw(st.integers(0, 4)))
        content = partial_of(cut).read_bytes()
        n_bytes = data.draw(st.integers(0, len(content)))
        torn = data.draw(st.sampled_from([b"", b"[{", b"[{\n", b"\0\0\0", b'[{"n": 1, "tex\xc3']))
        partial_of(cut).write_bytes(content[:n_bytes] + torn)
        n_kept = build(cut, n_items)

        assert whole.read_bytes() == cut.read_bytes()
        assert whole.with_name("whole.jsonl.header").read_bytes() == cut.with_name("cut.jsonl.header").read_bytes()
        assert n_kept % BATCH == 0 or n_kept == n_items
        assert sorted(file.name for file in Path(folder).iterdir() if file.name.startswith("cut")) == [
            "cut.jsonl",
            "cut.jsonl.header",
        ]


def test_only_whole_batches_are_kept(tmp_path: Path) -> None:
    """Five items of seven in batches of three: the first three stay, the two of a torn batch go."""
    path = tmp_path / "rows.jsonl"
    build(path, 7, n_batches=2)
    lines = partial_of(path).read_bytes().splitlines(keepends=True)
    partial_of(path).write_bytes(b"".join(lines[:6]))

    assert build(path, 7) == 3
    assert [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] == [
        row for item in made(7) for row in item
    ]


def test_a_partial_file_of_something_else_is_refused_with_what_differs(tmp_path: Path) -> None:
    """The message names keys and both values; force begins anew; what was there stays until then."""
    path = tmp_path / "rows.jsonl"
    build(path, 7, n_batches=1)
    before = partial_of(path).read_bytes()

    with pytest.raises(
        ResumableFileError, match=r"spec.task is \"Review \{subject\}.\" there, \"Praise .* here; seed is 1"
    ):
        resume(path, OTHER, n_items=7, batch_size=BATCH, force=False)
    assert partial_of(path).read_bytes() == before
    assert resume(path, OTHER, n_items=7, batch_size=BATCH, force=True) == []
    assert resume(path, OTHER, n_items=7, batch_size=BATCH, force=False) == []


@pytest.mark.parametrize("content", [b"{}\n", b"7\n", b'["rows"]\n'])
def test_a_foreign_file_in_the_place_of_the_partial_one_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever its first line is, it is no header of ours."""
    path = tmp_path / "rows.jsonl"
    partial_of(path).write_bytes(content)

    with pytest.raises(ResumableFileError, match="was begun from something else"):
        build(path, 7)


def test_a_finished_file_is_known_again_by_its_header(tmp_path: Path) -> None:
    """Equal headers give its counts; another header, changed rows, or a damaged or missing header are refused."""
    path = tmp_path / "rows.jsonl"
    build(path, 7)
    header_file = path.with_name("rows.jsonl.header")
    record = header_file.read_bytes()

    finished = check_finished(path, HEADER)
    assert (finished.n_rows, finished.left_out) == (6, 3)

    with pytest.raises(
        ResumableFileError, match=r"exists, but was built from something else: spec.task is .*; seed is 1 there, 2 here"
    ):
        check_finished(path, OTHER)
    for damaged in (b"", b"[]", b'{"finished": {}}', b'{"finished": {"n_rows": 1}}', record[:-5]):
        header_file.write_bytes(damaged)
        with pytest.raises(ResumableFileError, match=r"rows\.jsonl\.header is missing or damaged"):
            check_finished(path, HEADER)
    header_file.write_bytes(record)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n")
    with pytest.raises(ResumableFileError, match="it has changed since it was built"):
        check_finished(path, HEADER)
    header_file.unlink()
    with pytest.raises(ResumableFileError, match="is missing or damaged"):
        check_finished(path, HEADER)


def test_many_differences_are_counted(tmp_path: Path) -> None:
    """Three are shown, the others are a number."""
    path = tmp_path / "rows.jsonl"
    build(path, 1)

    with pytest.raises(ResumableFileError, match=r"a is null there, 1 here; .*\(and 2 more\)"):
        check_finished(path, {"a": 1, "b": 2} | OTHER | {"spec": {"task": "Praise {subject}.", "subjects": []}})


def test_a_full_disk_is_one_line_and_loses_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was on the disk before is there for the next call."""
    path = tmp_path / "rows.jsonl"
    build(path, 7, n_batches=1)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(
            ResumableFileError, match=r"rows\.jsonl\.partial cannot be written \(No space left on device\)"
        ):
            append(path, made(7)[3:6])
    partial_of(path).write_bytes(partial_of(path).read_bytes()[:-4])

    assert build(path, 7) == 3


def test_one_process_at_a_time_builds_a_file(tmp_path: Path) -> None:
    """A second one is refused at once; afterwards the file is free; its folder is made."""
    path = tmp_path / "new" / "rows.jsonl"
    with build_lock(path):
        lock: Any = FileLock(tmp_path / "new" / ".rows.jsonl.lock")
        assert not _free(lock)
        with pytest.raises(ResumableFileError, match=r"another process builds .*rows\.jsonl now"), build_lock(path):
            pass
    assert _free(lock)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file where a folder is needed is one line."""
    (tmp_path / "file").touch()

    with pytest.raises(ResumableFileError, match="cannot be written"), build_lock(tmp_path / "file" / "rows.jsonl"):
        pass


def _free(lock: Any) -> bool:
    from filelock import Timeout

    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False
