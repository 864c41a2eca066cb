"""The score cache: one SQLite file, `ScoreCache.open(path, say).lookup(context, requests)`.

A score is stored under its context (a text that names everything besides the request that determines the number:
weights, adapter, dtype, device, versions, path) and a hash of the request's token ids. SQLite's write-ahead log makes
every `store` whole or absent after a kill and lets several processes share the file.
"""

import hashlib
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np

from reports.locks import hold
from suites.inputs import Request, ResponseScore, SuiteError

VERSION = 1
"""Version of tables and encodings; a file of another version is set aside."""

CORRUPT = ".corrupt-"
"""What the name of a file that was set aside ends in, before a number; the next one replaces it."""
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

_StoredScore = tuple[bytes, bytes, int, int]  # request key, little-endian float32 values, is_greedy, checksum
_Result = TypeVar("_Result")


class CacheNotWritableError(SuiteError):
    """The score cache cannot be used: no permission, no space, no folder, or locked by another process."""


class _DamagedFileError(CacheNotWritableError):
    """The file is damaged or no score cache of this version; it is set aside."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Size of a cache, or of what was removed from it."""

    n_scores: int
    n_contexts: int
    n_bytes: int
    """Bytes on disk, the write-ahead log included."""
    path: Path


class ScoreCache:
    """Scores on disk, used by one thread of a process; any number of processes may open the same file.

    A problem with the file never ends an evaluation: a damaged file is set aside and a new one started; where storing
    fails (disk full), the evaluation goes on without it. The user sees one line in either case.
    """

    def __init__(self, path: Path, say: Callable[[str], object], connection: sqlite3.Connection) -> None:
        """Called by `open` only."""
        self._path = path
        self._say = say
        self._connection = connection
        self._identity = _identity(path)
        self._is_storing = True
        self._n_corrupt = self._key_version = 0

    @classmethod
    def open(cls, path: Path, say: Callable[[str], object]) -> Self:
        """Opens the cache at `path`, or starts one there; makes parent folders.

        Args:
            path: The SQLite file; its `-wal`, `-shm` and `.lock` files are in the same folder.
            say: Takes a line for the user.

        Raises:
            CacheNotWritableError: Nothing can be written there.
        """
        with _locked(path):
            return cls(path, say, _connect_or_begin(path, say))

    @property
    def n_corrupt(self) -> int:
        """Number of rows that lookups ignored for a wrong length or checksum; the next store replaces them."""
        return self._n_corrupt

    def lookup(self, context: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        """Returns scores of those requests that have one in this context, in no particular order."""
        by_key = {_request_key(request): request for request in requests}
        try:
            rows = self._run(lambda connection: _select(connection, context, list(by_key)))
        except CacheNotWritableError as error:
            self._say(f"no cached scores are used here: {error}")
            return {}
        found = {}
        for row in rows:
            request = by_key.get(row[0])  # None: a damaged index gave a row that was not asked for
            if request is not None and (score := _score(context, request, row)) is not None:
                found[request] = score
        self._n_corrupt += len(rows) - len(found)
        return found

    def store(self, context: str, scores: Mapping[Request, ResponseScore]) -> None:
        """Commits scores in one transaction and replaces those that are there already."""
        if not (self._is_storing and scores):
            return
        rows = [_row(context, request, score) for request, score in scores.items()]
        try:
            self._run(lambda connection: _insert(connection, context, rows))
        except CacheNotWritableError as error:
            self._is_storing = False
            self._say(f"scores are not cached from here on: {error}")

    def expect_keys(self, version: int) -> None:
        """Tells the user once if the file holds scores whose keys are of another version, which no lookup finds."""
        self._key_version = version
        with suppress(CacheNotWritableError):  # the next lookup or store reports it
            if n_unreachable := self._run(lambda connection: _mark_keys(connection, version)):
                self._say(
                    f"{n_unreachable:,} scores in {self._path} are of another version of this program and not used "
                    f"again; `harness cache clear` removes them"
                )

    def info(self) -> CacheInfo:
        """Returns the number of scores and contexts and the size of the file.

        Raises:
            CacheNotWritableError: The file cannot be read.
        """
        n_scores, n_contexts = self._run(_counts)
        return CacheInfo(n_scores, n_contexts, _n_bytes(self._path), self._path)

    def clear(self) -> CacheInfo:
        """Removes all scores and frees their space on disk.

        Returns:
            Numbers and bytes that were removed.

        Raises:
            CacheNotWritableError: Nothing can be removed, for example because another process is writing.
        """
        before = _n_bytes(self._path)
        n_scores, n_contexts = self._run(_delete)
        return CacheInfo(n_scores, n_contexts, before - _n_bytes(self._path), self._path)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Calls `work`; where the file turns out damaged, again on a new file."""
        try:
            with _named_errors(self._path):
                return work(self._connection)
        except _DamagedFileError as damage:
            self._begin_anew(damage)
            with _named_errors(self._path):
                return work(self._connection)

    def _begin_anew(self, damage: _DamagedFileError) -> None:
        """Sets the file aside, unless another process did, and opens the one that replaces it."""
        self._connection.close()
        try:
            with _locked(self._path):
                if _identity(self._path) == self._identity:
                    _set_aside(self._path, self._say, damage)
                self._connection = _connect_or_begin(self._path, self._say)
                self._identity = _identity(self._path)
                _mark_keys(self._connection, self._key_version)
        except CacheNotWritableError:
            self._connection = sqlite3.connect(":memory:")  # empty, so that the evaluation goes on; nothing is stored
            _create_tables(self._connection)
            self._is_storing = False
            raise


def _select(connection: sqlite3.Connection, context: str, keys: Sequence[bytes]) -> list[_StoredScore]:
    """Rows of those keys that are in the table."""
    context_id = _context_id(connection, context)
    if context_id is None:
        return []
    rows: list[_StoredScore] = []
    for start in range(0, len(keys), _KEYS_A_QUERY):
        chunk = keys[start : start + _KEYS_A_QUERY]
        rows += connection.execute(
            "SELECT request_key, log_probabilities, is_greedy, checksum FROM scores"  # noqa: S608 - placeholders only
            f" WHERE context_id = ? AND request_key IN ({', '.join('?' * len(chunk))})",
            (context_id, *chunk),
        )
    return rows


def _insert(connection: sqlite3.Connection, context: str, rows: Sequence[_StoredScore]) -> None:
    with connection:  # begins with the first INSERT, commits at the end
        connection.execute("INSERT OR IGNORE INTO contexts (context) VALUES (?)", (context,))
        context_id = _context_id(connection, context)
        connection.executemany(
            "INSERT OR REPLACE INTO scores (context_id, request_key, log_probabilities, is_greedy, checksum)"
            " VALUES (?, ?, ?, ?, ?)",
            ((context_id, *row) for row in rows),
        )


def _delete(connection: sqlite3.Connection) -> tuple[int, int]:
    """Deletes all rows; returns the numbers of scores and contexts."""
    with connection:
        n_scores = connection.execute("DELETE FROM scores").rowcount
        n_contexts = connection.execute("DELETE FROM contexts").rowcount
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return n_scores, n_contexts


def _mark_keys(connection: sqlite3.Connection, version: int) -> int:
    """Marks the file as one of keys of a version; the number of scores in it if it was marked otherwise, else 0."""
    (marked,) = connection.execute("PRAGMA application_id").fetchone()
    if marked == version:
        return 0
    n_scores, _ = _counts(connection)
    with connection:
        connection.execute(f"PRAGMA application_id = {version:d}")
    return n_scores


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


def _row(context: str, request: Request, score: ResponseScore) -> _StoredScore:
    assert score.token_log_probabilities.shape == (len(request.response_ids),)
    key, values = _request_key(request), score.token_log_probabilities.astype("<f4").tobytes()
    return key, values, int(score.is_greedy), _checksum(context, key, values, int(score.is_greedy))


def _score(context: str, request: Request, row: _StoredScore) -> ResponseScore | None:
    """Score in a row; None where the row is not what `_row` made of this request."""
    key, values, is_greedy, checksum = row
    # A damaged page can hold values of other types than were stored.
    if not (isinstance(values, bytes) and isinstance(is_greedy, int)) or len(values) != 4 * len(request.response_ids):
        return None
    if checksum != _checksum(context, key, values, is_greedy):
        return None
    return ResponseScore(np.frombuffer(values, "<f4").astype(np.float32), bool(is_greedy))


def _request_key(request: Request) -> bytes:
    """16 bytes of BLAKE2b over the prompt's length (the boundary) and all token ids, as 64-bit integers."""
    ids = request.prompt_ids + request.response_ids
    packed = struct.pack(f"<{len(ids) + 1}q", len(request.prompt_ids), *ids)
    return hashlib.blake2b(packed, digest_size=16).digest()


def _checksum(context: str, key: bytes, values: bytes, is_greedy: int) -> int:
    """CRC-32 of a whole row: SQLite notices damage to its structure, not to the numbers."""
    return zlib.crc32(values, zlib.crc32(b"%b%d" % (key, is_greedy), zlib.crc32(context.encode())))


def _connect_or_begin(path: Path, say: Callable[[str], object]) -> sqlite3.Connection:
    """Connects to the cache at `path`, a new one where there is none or a damaged one. The caller holds the lock."""
    try:
        return _connect(path)
    except _DamagedFileError as damage:
        _set_aside(path, say, damage)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    if path.is_dir():
        raise _not_writable(path, "it is a folder")
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
    """Checks the tables, or makes them in an empty file, and sets the connection's modes."""
    connection.text_factory = bytes  # damaged text need not be UTF-8
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    made_by = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if version == 0 and not made_by:
        _create_tables(connection)
    elif version != VERSION or made_by != {statement.encode() for statement in _TABLES}:
        raise _DamagedFileError(f"its tables are not those of version {VERSION}")
    if not os.access(path, os.W_OK):
        raise _not_writable(path, "the file is read-only")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _create_tables(connection: sqlite3.Connection) -> None:
    """Makes all tables in one transaction, so that a kill leaves an empty file or a whole cache."""
    statements = ("BEGIN IMMEDIATE", *_TABLES, f"PRAGMA user_version = {VERSION}", "COMMIT")
    connection.executescript(";\n".join(statements))


def _set_aside(path: Path, say: Callable[[str], object], damage: _DamagedFileError) -> None:
    aside = path.with_name(f"{path.name}{CORRUPT}1")
    try:
        for earlier in path.parent.glob(f"{path.name}{CORRUPT}*"):  # one is enough to look at
            earlier.unlink()
        path.replace(aside)
        for suffix in _COMPANIONS:
            companion = path.with_name(path.name + suffix)
            if companion.exists():
                companion.replace(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise _not_writable(path, str(error)) from error
    say(f"the score cache {path} is damaged or foreign ({damage}): set aside as {aside.name}, a new one is started")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time open the file or set it aside; a killed process releases the lock."""
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(path.with_name(f"{path.name}.lock"), seconds=_LOCK_SECONDS))
        except OSError as error:  # filelock's Timeout is one
            raise _not_writable(path, str(error)) from error
        yield


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into damaged file or file that cannot be used; mistakes in calling SQLite pass through."""
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
        f"the score cache {path} cannot be used ({reason}): free space there, choose another workspace, or score "
        f"without a cache (--no-cache)"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at the path; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _n_bytes(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
