"""A place that cannot be written is refused at once; a disk that fails later ends storing, not the run."""

import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from suites.engine.cache.file import CacheNotWritableError
from suites.engine.cache.score_cache import ScoreCache
from suites.inputs import Request, ResponseScore, SuiteError

ScoresOf = Callable[[int, int], dict[Request, ResponseScore]]
Bits = Callable[[Mapping[Request, ResponseScore]], dict[Request, tuple[list[int], bool]]]


def test_a_full_disk_ends_storing_not_the_run(
    cache: ScoreCache, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits
) -> None:
    """The first unit that finds no room is absent as a whole; one line says so, and what was stored is still found."""
    cache.store(context, scores_of(0, 100))
    cache._file.connection.execute("PRAGMA max_page_count = 8")
    cache.store(context, scores_of(100, 5000))
    cache.store(context, scores_of(5000, 5001))

    assert len(lines) == 1
    assert lines[0].startswith("scores are not cached from here on: ")
    assert "disk is full" in lines[0]
    assert bits(scores_of(0, 100)) == bits(cache.lookup(context, list(scores_of(0, 5001))))


def test_a_lookup_that_fails_finds_nothing(
    cache: ScoreCache, lines: list[str], monkeypatch: pytest.MonkeyPatch, context: str, scores_of: ScoresOf
) -> None:
    """An input error is a line, not the end."""
    cache.store(context, scores_of(0, 10))
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("suites.engine.cache.score_cache._select", fail)
        assert cache.lookup(context, list(scores_of(0, 10))) == {}
    assert len(lines) == 1
    assert "disk I/O error" in lines[0]
    assert len(cache.lookup(context, list(scores_of(0, 10)))) == 10


def test_a_mistake_in_use_is_not_taken_for_damage(
    cache: ScoreCache, path: Path, lines: list[str], context: str, scores_of: ScoresOf
) -> None:
    """Use from another thread, or after closing, raises and leaves the file where it is."""
    raised: list[Exception] = []

    def use() -> None:
        try:
            cache.lookup(context, list(scores_of(0, 1)))
        except sqlite3.ProgrammingError as error:
            raised.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    cache.close()
    use()

    assert len(raised) == 2
    assert lines == []
    assert path.exists()


def test_a_folder_in_its_place_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """A folder is no damaged cache and is left alone."""
    with pytest.raises(CacheNotWritableError, match="it is a folder"):
        ScoreCache.open(tmp_path, lines.append)

    assert tmp_path.is_dir()


def test_a_place_below_a_file_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """Where no folder can be made, one line names the place and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="or choose another workspace") as caught:
        ScoreCache.open(tmp_path / "file" / "scores.sqlite", lines.append)

    assert isinstance(caught.value, CacheNotWritableError)
    assert "\n" not in str(caught.value)


def test_a_read_only_file_is_refused(filled: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written is an error at once and is not set aside."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CacheNotWritableError, match="read-only"):
        ScoreCache.open(filled, lines.append)

    assert filled.exists()
    assert lines == []


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, lines: list[str]) -> None:
    """A link into nowhere is SQLite's to refuse, and becomes the same error."""
    link = tmp_path / "scores.sqlite"
    link.symlink_to(tmp_path / "nowhere" / "scores.sqlite")
    with pytest.raises(CacheNotWritableError, match="unable to open"):
        ScoreCache.open(link, lines.append)
