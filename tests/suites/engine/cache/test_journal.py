"""Where there is no write-ahead log, as on network file systems, the cache works without one, for several processes."""

import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from suites.engine.cache import journal
from suites.engine.cache.journal import network_of
from suites.engine.cache.score_cache import ScoreCache
from suites.inputs import Request, ResponseScore

ScoresOf = Callable[[int, int], dict[Request, ResponseScore]]
Bits = Callable[[Mapping[Request, ResponseScore]], dict[Request, tuple[list[int], bool]]]
Process = Callable[..., subprocess.Popen[str]]


def refuse_shared_memory(path: Path) -> None:
    """Puts a folder where SQLite would map the memory that its processes share."""
    path.with_name(f"{path.name}-shm").mkdir(parents=True)


def mounted(*mounts: tuple[str, str]) -> list[dict[str, str]]:
    """What the system says of mounts, each a folder and the name of its file system."""
    return [{"mountpoint": folder, "fstype": kind} for folder, kind in mounts]


def mode_of(cache: ScoreCache) -> bytes:
    """SQLite's name of the journal."""
    (mode,) = cache._file.connection.execute("PRAGMA journal_mode").fetchone()
    return bytes(mode)


def test_where_there_is_shared_memory_the_log_is_written_ahead(cache: ScoreCache, lines: list[str]) -> None:
    """Readers go on while another process writes; nothing is said."""
    assert mode_of(cache) == b"wal"
    assert lines == []


def test_nothing_is_left_of_the_proof(filled: Path) -> None:
    """A file beside the cache is written ahead and removed, also one that a killed process left."""
    filled.with_name(f"{filled.name}.probe").write_text("left behind")
    assert journal.why_no_log(filled) is None
    assert not list(filled.parent.glob("*.probe*"))


def test_a_log_that_fails_its_first_write_is_done_without(
    path: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits
) -> None:
    """One line says so; scores are stored and found, also by the next process."""
    refuse_shared_memory(path)
    for first in (0, 100):
        with ScoreCache.open(path, lines.append) as cache:
            assert mode_of(cache) == b"truncate"
            cache.store(context, scores_of(first, first + 100))
    with ScoreCache.open(path, lines.append) as cache:
        assert bits(cache.lookup(context, list(scores_of(0, 200)))) == bits(scores_of(0, 200))

    assert len(lines) == 3
    assert lines[0].startswith(f"{path} can have no write-ahead log (")


def test_a_place_whose_sqlite_takes_no_log_is_done_without(
    path: Path, lines: list[str], context: str, scores_of: ScoresOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite then keeps its mode without an error."""
    connect = sqlite3.connect

    def connect_without_shared_memory(place: Path, **options: Any) -> sqlite3.Connection:
        return connect(f"file:{place}?vfs=unix-none", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", connect_without_shared_memory)
    with ScoreCache.open(path, lines.append) as cache:
        cache.store(context, scores_of(0, 10))
        assert len(cache.lookup(context, list(scores_of(0, 10)))) == 10
        assert mode_of(cache) == b"truncate"
    assert len(lines) == 1


def test_an_error_that_is_not_of_the_log_is_told_as_before(
    path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full is full without a log too, and a lock of another process is waited for once."""

    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr("suites.engine.cache.file.log_ahead", fail)
    with pytest.raises(Exception, match="database or disk is full"):
        ScoreCache.open(path, lines.append)
    assert lines == []


def test_what_a_killed_process_left_in_a_log_is_read_without_shared_memory(
    path: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits, process: Process
) -> None:
    """A workspace that moves to a network file system keeps its scores, those of the log too."""
    writer = process("cache.store(context, scores_of(0, 100))\nprint('stored', flush=True); sys.stdin.read()", path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "stored\n"
    writer.kill()
    writer.communicate()
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    path.with_name(f"{path.name}-shm").unlink()
    refuse_shared_memory(path)

    with ScoreCache.open(path, lines.append) as cache:
        assert bits(cache.lookup(context, list(scores_of(0, 100)))) == bits(scores_of(0, 100))
        assert mode_of(cache) == b"truncate"
    assert len(lines) == 1


def test_two_processes_write_at_once_without_a_log(
    path: Path, lines: list[str], context: str, scores_of: ScoresOf, bits: Bits, process: Process
) -> None:
    """Each waits for the other's transaction, and all units are kept."""
    body = (
        "first = int(sys.argv[2])\n"
        "for start in range(first, first + 200, 10): cache.store(context, scores_of(start, start + 10))"
    )
    mounted = "from suites.engine.cache import journal; journal.network_of = lambda path: 'nfs4'"
    writers = [process(body, path, first, before=mounted) for first in (0, 200)]
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert (writer.returncode, out, err.count("\n")) == (0, "", 1), err

    with ScoreCache.open(path, lines.append) as cache:
        assert bits(cache.lookup(context, list(scores_of(0, 400)))) == bits(scores_of(0, 400))


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "gpfs", "cifs", "fuse.sshfs"])
def test_a_network_file_system_gets_no_log_even_if_it_would_take_one(
    kind: str, path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shared memory is that of one machine, and two would write over each other."""
    mounts = mounted(("/", "ext4"), (str(path.parents[1]), kind))
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [SimpleNamespace(**mount) for mount in mounts])
    with ScoreCache.open(path, lines.append) as cache:
        assert mode_of(cache) == b"truncate"
    (line,) = lines
    assert line.startswith(f"{path} can have no write-ahead log (its file system is {kind}); it is kept without one")


def test_the_nearest_mount_counts_and_of_two_at_one_place_the_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local disk below a network mount is local; a system that tells nothing is taken for local."""
    mounts = mounted(("/", "ext4"), ("/net", "ext4"), ("/net", "nfs4"), ("/net/scratch", "xfs"), ("/network", "nfs"))
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [SimpleNamespace(**mount) for mount in mounts])
    assert network_of(Path("/net/ws/scores.sqlite")) == "nfs4"
    assert network_of(Path("/net/scratch/scores.sqlite")) is None
    assert network_of(Path("/networks/scores.sqlite")) is None

    def refuse(**_: object) -> None:
        raise OSError("no /proc here")

    monkeypatch.setattr(psutil, "disk_partitions", refuse)
    assert journal.network_of(Path("/net/ws")) is None
