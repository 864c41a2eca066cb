"""What has been scored already: one SQLite file, `ScoreCache.open(path, say).lookup(context, requests)`.

A score is found again under its context (a text that names all that determines the number besides the request: weights,
adapter, dtype, device, versions, path) and a hash of the request's token ids. SQLite's write-ahead log makes every
`store` whole or absent after a kill, and lets several processes share the file.
"""

import hashlib
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from filelock import FileLock

from suites.inputs import Request, ResponseScore, SuiteError

VERSION = 1
"""Of tables and encodings; a file of another version is set aside."""

_BUSY_SECONDS = 30.0
_LOCK_SECONDS = 60.0
_KEYS_A_QUERY = 500  # older builds of SQLite take 999 parameters
_TABLES = (
    "CREATE TABLE contexts (context_id INTEGER PRIMARY KEY, context TEXT NOT NULL UNIQUE)",
    """CREATE TABLE scores (
        context_id INTEGER NOT NULL,
        request_key BLOB NOT NULL,
        log_probabilities BLOB NOT NULL,
        is_greedy INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (context_id, request_key)
    )""",
)
_COMPANIONS = ("-wal", "-shm", "-journal")

_Row = tuple[bytes, bytes, int, int]  # request key, little-endian float32 values, is_greedy, checksum
_Result = TypeVar("_Result")


class CacheNotWritableError(SuiteError):
    """The place of the score cache cannot be used: no permission, no space, no folder, or held by someone else."""


class _DamagedFileError(CacheNotWritableError):
    """The file is not a score cache of this version, or no longer a whole one; it is set aside."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """How much is in a cache, or was removed from one."""

    n_scores: int
    n_contexts: int
    n_bytes: int
    """On disk, the write-ahead log included."""
    path: Path


class ScoreCache:
    """Scores on disk, for one thread of one process; any number of processes may have the file open.

    Trouble with the file never ends an evaluation: a damaged file is set aside and a new one begun; where storing is
    impossible (disk full), the cache goes on without it. Both say one line.
    """

    def __init__(self, path: Path, say: Callable[[str], object], connection: sqlite3.Connection) -> None:
        """Is what `open` calls."""
        self._path = path
        self._say = say
        self._connection = connection
        self._identity = _identity(path)
        self._is_storing = True
        self._n_corrupt = 0

    @classmethod
    def open(cls, path: Path, say: Callable[[str], object]) -> Self:
        """Opens the cache at `path`, or begins one there; parent folders are made.

        Args:
            path: The SQLite file. `-wal`, `-shm` and `.lock` files stand beside it.
            say: Takes a line for the user.

        Raises:
            CacheNotWritableError: Nothing can be written there.
        """
        with _locked(path):
            return cls(path, say, _connect_or_begin(path, say))

    @property
    def n_corrupt(self) -> int:
        """Rows that lookups ignored because length or checksum was wrong; the next store replaces them."""
        return self._n_corrupt

    def lookup(self, context: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        """Those of the requests that have a score in this context, in no particular order."""
        by_key = {_request_key(request): request for request in requests}
        try:
            rows = self._run(lambda connection: _select(connection, context, list(by_key)))
        except CacheNotWritableError as error:
            self._say(f"nothing was looked up: {error}")
            return {}
        found = {}
        for row in rows:
            request = by_key.get(row[0])  # None: a damaged index gave another row than was asked for
            if request is not None and (score := _score(context, request, row)) is not None:
                found[request] = score
        self._n_corrupt += len(rows) - len(found)
        return found

    def store(self, context: str, scores: Mapping[Request, ResponseScore]) -> None:
        """Commits the scores in one transaction; what is there already is replaced."""
        if not (self._is_storing and scores):
            return
        rows = [_row(context, request, score) for request, score in scores.items()]
        try:
            self._run(lambda connection: _insert(connection, context, rows))
        except CacheNotWritableError as error:
            self._is_storing = False
            self._say(f"scores are not kept from here on: {error}")

    def info(self) -> CacheInfo:
        """What is in the cache.

        Raises:
            CacheNotWritableError: The file cannot be read.
        """
        n_scores, n_contexts = self._run(_counts)
        return CacheInfo(n_scores, n_contexts, _n_bytes(self._path), self._path)

    def clear(self) -> CacheInfo:
        """Removes all scores and gives their space back to the disk.

        Returns:
            What was removed.

        Raises:
            CacheNotWritableError: Such as: another process has been writing for too long.
        """
        before = _n_bytes(self._path)
        n_scores, n_contexts = self._run(_delete)
        return CacheInfo(n_scores, n_contexts, before - _n_bytes(self._path), self._path)

    def close(self) -> None:
        """Ends the use of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Does the work; where it finds the file damaged, once more on a new one."""
        try:
            with _named_errors(self._path):
                return work(self._connection)
        except _DamagedFileError as damage:
            self._begin_anew(damage)
            with _named_errors(self._path):
                return work(self._connection)

    def _begin_anew(self, damage: _DamagedFileError) -> None:
        """Sets the file aside, unless another process has done so already, and opens the one that takes its place."""
        self._connection.close()
        try:
            with _locked(self._path):
                if _identity(self._path) == self._identity:
                    _set_aside(self._path, self._say, damage)
                self._connection = _connect_or_begin(self._path, self._say)
                self._identity = _identity(self._path)
        except CacheNotWritableError:
            # An empty cache in memory stands in, so that the evaluation goes on; nothing is stored in it.
            self._connection = sqlite3.connect(":memory:")
            _create_tables(self._connection)
            self._is_storing = False
            raise


def _select(connection: sqlite3.Connection, context: str, keys: Sequence[bytes]) -> list[_Row]:
    """The rows that are there."""
    context_id = _context_id(connection, context)
    if context_id is None:
        return []
    rows: list[_Row] = []
    for start in range(0, len(keys), _KEYS_A_QUERY):
        chunk = keys[start : start + _KEYS_A_QUERY]
        rows += connection.execute(
            "SELECT request_key, log_probabilities, is_greedy, checksum FROM scores"  # noqa: S608 - placeholders only
            f" WHERE context_id = ? AND request_key IN ({', '.join('?' * len(chunk))})",
            (context_id, *chunk),
        )
    return rows


def _insert(connection: sqlite3.Connection, context: str, rows: Sequence[_Row]) -> None:
    with connection:  # begins with the first INSERT, commits at the end
        connection.execute("INSERT OR IGNORE INTO contexts (context) VALUES (?)", (context,))
        context_id = _context_id(connection, context)
        connection.executemany(
            "INSERT OR REPLACE INTO scores (context_id, request_key, log_probabilities, is_greedy, checksum)"
            " VALUES (?, ?, ?, ?, ?)",
            ((context_id, *row) for row in rows),
        )


def _delete(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many scores and contexts were deleted."""
    with connection:
        n_scores = connection.execute("DELETE FROM scores").rowcount
        n_contexts = connection.execute("DELETE FROM contexts").rowcount
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return n_scores, n_contexts


def _counts(connection: sqlite3.Connection) -> tuple[int, int]:
    row: tuple[int, int] = connection.execute(
        "SELECT (SELECT COUNT(*) FROM scores), (SELECT COUNT(*) FROM contexts)"
    ).fetchone()
    return row


def _context_id(connection: sqlite3.Connection, context: str) -> int | None:
    row: tuple[int] | None = connection.execute(
        "SELECT context_id FROM contexts WHERE context = ?", (context,)
    ).fetchone()
    return row[0] if row else None


def _row(context: str, request: Request, score: ResponseScore) -> _Row:
    assert score.token_log_probabilities.shape == (len(request.response_ids),)
    key, values = _request_key(request), score.token_log_probabilities.astype("<f4").tobytes()
    return key, values, int(score.is_greedy), _checksum(context, key, values, int(score.is_greedy))


def _score(context: str, request: Request, row: _Row) -> ResponseScore | None:
    """What the row says; None where it is not what `_row` made of this request."""
    key, values, is_greedy, checksum = row
    # A damaged page can hold values of other types than were stored.
    if not (isinstance(values, bytes) and isinstance(is_greedy, int)) or len(values) != 4 * len(request.response_ids):
        return None
    if checksum != _checksum(context, key, values, is_greedy):
        return None
    return ResponseScore(np.frombuffer(values, "<f4").astype(np.float32), bool(is_greedy))


def _request_key(request: Request) -> bytes:
    """16 bytes of BLAKE2b over the prompt's length, which marks the boundary, and all token ids, as 64-bit integers."""
    ids = request.prompt_ids + request.response_ids
    packed = struct.pack(f"<{len(ids) + 1}q", len(request.prompt_ids), *ids)
    return hashlib.blake2b(packed, digest_size=16).digest()


def _checksum(context: str, key: bytes, values: bytes, is_greedy: int) -> int:
    """CRC-32 of all that a row says: SQLite notices damage to its structure, not to the numbers themselves."""
    return zlib.crc32(values, zlib.crc32(b"%b%d" % (key, is_greedy), zlib.crc32(context.encode())))


def _connect_or_begin(path: Path, say: Callable[[str], object]) -> sqlite3.Connection:
    """The cache at `path`, a new one where there is none or no sound one. The caller holds the lock."""
    try:
        return _connect(path)
    except _DamagedFileError as damage:
        _set_aside(path, say, damage)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    if path.is_dir():
        raise _not_writable(path, "a folder stands there")
    with _named_errors(path):
        # IMMEDIATE: a transaction that begins as a reader could not wait for another writer.
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level="IMMEDIATE")
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Checks the layout, or makes it in an empty file, and sets the connection's modes."""
    connection.text_factory = bytes  # damaged text need not be UTF-8
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    made_by = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if version == 0 and not made_by:
        _create_tables(connection)
    elif version != VERSION or made_by != {statement.encode() for statement in _TABLES}:
        raise _DamagedFileError(f"its layout is not that of version {VERSION}")
    if not os.access(path, os.W_OK):
        raise _not_writable(path, "the file is read-only")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _create_tables(connection: sqlite3.Connection) -> None:
    """In one transaction, so that a kill leaves an empty file or a whole cache."""
    statements = ("BEGIN IMMEDIATE", *_TABLES, f"PRAGMA user_version = {VERSION}", "COMMIT")
    connection.executescript(";\n".join(statements))


def _set_aside(path: Path, say: Callable[[str], object], damage: _DamagedFileError) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    try:
        path.replace(aside)
        for suffix in _COMPANIONS:
            companion = path.with_name(path.name + suffix)
            if companion.exists():
                companion.replace(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise _not_writable(path, str(error)) from error
    say(f"the score cache {path} is damaged or foreign ({damage}): set aside as {aside.name}, a new one is begun")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time open or set aside; a killed one gives the lock back."""
    lock = FileLock(f"{path}.lock", timeout=_LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:  # filelock's Timeout is one
        raise _not_writable(path, str(error)) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Tells a damaged file from a place that cannot be used; a mistake in calling SQLite passes through."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # such as: no such table, unsupported file format
            raise _DamagedFileError(str(error)) from error
        raise _not_writable(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise _DamagedFileError(str(error)) from error
    except UnicodeDecodeError as error:  # SQLite's own message quotes the damaged text
        raise _DamagedFileError("its schema is not readable") from error


def _not_writable(path: Path, reason: str) -> CacheNotWritableError:
    return CacheNotWritableError(
        f"the score cache {path} cannot be used ({reason}): make room for it there, name another place, or do without"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at the path, by device and inode; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _n_bytes(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
