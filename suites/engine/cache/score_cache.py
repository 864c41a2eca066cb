"""The score cache: one SQLite file, `ScoreCache.open(path, say).lookup(context, requests)`.

A score is stored under its context (a text that names everything besides the request that determines the number:
weights, adapter, dtype, device, versions, path) and a hash of the request's token ids. Beside the scores lies what else
was dear to compute, each under a key that its maker makes (`suites/engine/cache/kept.py`). Every `store` is whole or
absent after a kill, and several processes share the file.
"""

import hashlib
import sqlite3
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from suites.engine.cache.file import CacheFile, CacheNotWritableError, Schema
from suites.inputs import Request, ResponseScore

VERSION = 2
"""Version of tables and encodings; what one of version 1 lacks is added, and a file of another version is set aside."""

_KEYS_A_QUERY = 500  # older builds of SQLite take 999 parameters
_SCORES = (
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
_RESULTS = "CREATE TABLE results (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL)"
_SCHEMA = Schema(VERSION, (*_SCORES, _RESULTS), earlier={1: _SCORES})

_StoredScore = tuple[bytes, bytes, int, int]  # request key, little-endian float32 values, is_greedy, checksum


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """Size of a cache, or of what was removed from it."""

    n_scores: int
    n_contexts: int
    n_results: int
    """Answers, divergences and checks of paths."""
    n_bytes: int
    """Bytes on disk, the write-ahead log included."""
    path: Path


class ScoreCache:
    """Scores on disk, used by one thread of a process; any number of processes may open the same file.

    A problem with the file never ends an evaluation: a damaged file is set aside and a new one started; where storing
    fails (disk full), the evaluation goes on without it. The user sees one line in either case.
    """

    def __init__(self, file: CacheFile, say: Callable[[str], object]) -> None:
        """Called by `open` only."""
        self._file = file
        self._say = say
        self._is_storing = True
        self._n_corrupt = 0

    @classmethod
    def open(cls, path: Path, say: Callable[[str], object]) -> Self:
        """Opens the cache at `path`, or starts one there; makes parent folders.

        Args:
            path: The SQLite file; its `-wal`, `-shm`, `-journal` and `.lock` files are in the same folder.
            say: Takes a line for the user.

        Raises:
            CacheNotWritableError: Nothing can be written there.
        """
        return cls(CacheFile(path, _SCHEMA, say), say)

    @property
    def n_corrupt(self) -> int:
        """Number of rows that lookups ignored for a wrong length or checksum; the next store replaces them."""
        return self._n_corrupt

    def lookup(self, context: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        """Returns scores of those requests that have one in this context, in no particular order."""
        by_key = {request_key(request): request for request in requests}
        try:
            rows = self._file.run(lambda connection: _select(connection, context, list(by_key)))
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
        rows = [_row(context, request, score) for request, score in scores.items()] if self._is_storing else []
        if rows:
            self._store(lambda connection: _insert(connection, context, rows))

    def lookup_result(self, key: bytes) -> bytes | None:
        """Returns what was stored under a key, None where there is nothing, or nothing as it was stored."""
        try:
            row = self._file.run(lambda connection: _select_result(connection, key))
        except CacheNotWritableError as error:
            self._say(f"no cached results are used here: {error}")
            return None
        if row is None:
            return None
        value, checksum = row
        if isinstance(value, bytes) and checksum == zlib.crc32(value, zlib.crc32(key)):
            return value
        self._n_corrupt += 1
        return None

    def store_result(self, key: bytes, value: bytes) -> None:
        """Commits a result, in place of one that is there already."""
        row = (key, value, zlib.crc32(value, zlib.crc32(key)))
        if self._is_storing:
            self._store(lambda connection: _insert_result(connection, row))

    def expect_keys(self, version: int) -> None:
        """Tells the user once if the file holds scores whose keys are of another version, which no lookup finds."""
        with suppress(CacheNotWritableError):  # the next lookup or store reports it
            if self._file.mark_keys(version) and (n_unreachable := self._file.run(_counts)[0]):
                self._say(
                    f"{n_unreachable:,} scores in {self._file.path} are of another version of this program and not "
                    f"used again; `harness cache clear` removes them"
                )

    def info(self) -> CacheInfo:
        """Returns the number of scores, contexts and results, and the size of the file.

        Raises:
            CacheNotWritableError: The file cannot be read.
        """
        return CacheInfo(*self._file.run(_counts), self._file.n_bytes, self._file.path)

    def clear(self) -> CacheInfo:
        """Removes all scores and results, and frees their space on disk.

        Returns:
            Numbers and bytes that were removed.

        Raises:
            CacheNotWritableError: Nothing can be removed, for example because another process is writing.
        """
        before = self._file.n_bytes
        removed = self._file.run(_delete)
        return CacheInfo(*removed, before - self._file.n_bytes, self._file.path)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _store(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Stores by `work`; where that fails, nothing more is stored, and a line says so."""
        if self._file.is_lost:
            return
        try:
            self._file.run(work)
        except CacheNotWritableError as error:
            self._is_storing = False
            self._say(f"scores are not cached from here on: {error}")


def request_key(request: Request) -> bytes:
    """Returns 16 bytes of BLAKE2b over the prompt's length (the boundary) and all token ids, as 64-bit integers."""
    ids = request.prompt_ids + request.response_ids
    packed = struct.pack(f"<{len(ids) + 1}q", len(request.prompt_ids), *ids)
    return hashlib.blake2b(packed, digest_size=16).digest()


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


def _select_result(connection: sqlite3.Connection, key: bytes) -> tuple[object, object] | None:
    row: tuple[object, object] | None = connection.execute(
        "SELECT value, checksum FROM results WHERE key = ?", (key,)
    ).fetchone()
    return row


def _insert_result(connection: sqlite3.Connection, row: tuple[bytes, bytes, int]) -> None:
    with connection:
        connection.execute("INSERT OR REPLACE INTO results (key, value, checksum) VALUES (?, ?, ?)", row)


def _delete(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Deletes all rows; returns the numbers of scores, contexts and results."""
    with connection:
        n_scores = connection.execute("DELETE FROM scores").rowcount
        n_contexts = connection.execute("DELETE FROM contexts").rowcount
        n_results = connection.execute("DELETE FROM results").rowcount
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return n_scores, n_contexts, n_results


def _counts(connection: sqlite3.Connection) -> tuple[int, int, int]:
    row: tuple[int, int, int] = connection.execute(
        "SELECT (SELECT COUNT(*) FROM scores), (SELECT COUNT(*) FROM contexts), (SELECT COUNT(*) FROM results)"
    ).fetchone()
    return row


def _context_id(connection: sqlite3.Connection, context: str) -> int | None:
    row: tuple[int] | None = connection.execute(
        "SELECT context_id FROM contexts WHERE context = ?", (context,)
    ).fetchone()
    return row[0] if row else None


def _row(context: str, request: Request, score: ResponseScore) -> _StoredScore:
    assert score.token_log_probabilities.shape == (len(request.response_ids),)
    key, values = request_key(request), score.token_log_probabilities.astype("<f4").tobytes()
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


def _checksum(context: str, key: bytes, values: bytes, is_greedy: int) -> int:
    """CRC-32 of a whole row: SQLite notices damage to its structure, not to the numbers."""
    return zlib.crc32(values, zlib.crc32(b"%b%d" % (key, is_greedy), zlib.crc32(context.encode())))
