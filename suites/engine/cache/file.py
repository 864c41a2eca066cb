"""One SQLite file that any number of processes share: journalled as its place allows, set aside where damaged."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from reports.locks import hold
from suites.engine.cache.journal import NoLogError, is_of_log, log_ahead, why_no_log, without_log
from suites.inputs import SuiteError

CORRUPT = ".corrupt-"
"""What the name of a file that was set aside ends in, before a number; the next one replaces it."""
_BUSY_SECONDS = 30.0
_LOCK_SECONDS = 60.0
_COMPANIONS = ("-wal", "-shm", "-journal")

_Result = TypeVar("_Result")


class CacheNotWritableError(SuiteError):
    """The score cache cannot be used: no permission, no space, no folder, or locked by another process."""


class DamagedFileError(CacheNotWritableError):
    """The file is damaged or no score cache of this version; it is set aside."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a file."""

    version: int
    """Version of tables and encodings; a file of another one is set aside."""
    tables: tuple[str, ...]
    """SQL that makes them."""
    earlier: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Version of before -> its tables, which are among those of now; what such a file lacks is added."""


class CacheFile:
    """A connection to the file at a path, which is another one after the file was damaged and set aside.

    The user sees one line where that happened, and one where the place has no write-ahead log.
    """

    def __init__(self, path: Path, schema: Schema, say: Callable[[str], object]) -> None:
        """Opens the file at `path`, or starts one there; makes parent folders.

        Args:
            path: The SQLite file; its `-wal`, `-shm`, `-journal` and `.lock` files are in the same folder.
            schema: Its tables.
            say: Takes a line for the user.

        Raises:
            CacheNotWritableError: Nothing can be written there.
        """
        self.path, self._schema, self._say = path, schema, say
        self.is_lost = False
        """Whether no file is left to store in, so that an empty one in memory stands for it."""
        self._key_version = 0
        with _locked(path):
            self.connection = _connect_or_begin(path, schema, say)
        self._identity = _identity(path)

    def run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Calls `work`; where the file turns out damaged, again on a new file.

        Raises:
            CacheNotWritableError: It cannot be read or written.
        """
        try:
            with _named_errors(self.path):
                return work(self.connection)
        except DamagedFileError as damage:
            self._begin_anew(damage)
            with _named_errors(self.path):
                return work(self.connection)

    def mark_keys(self, version: int) -> bool:
        """Marks the file as one of keys of a version; whether it was marked otherwise.

        Raises:
            CacheNotWritableError: It cannot be read or written.
        """
        self._key_version = version
        return self.run(lambda connection: _mark(connection, version))

    @property
    def n_bytes(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()

    def _begin_anew(self, damage: DamagedFileError) -> None:
        """Sets the file aside, unless another process did, and opens the one that replaces it."""
        self.connection.close()
        try:
            with _locked(self.path):
                if _identity(self.path) == self._identity:
                    _set_aside(self.path, self._say, damage)
                self.connection = _connect_or_begin(self.path, self._schema, self._say)
                self._identity = _identity(self.path)
                _mark(self.connection, self._key_version)
        except CacheNotWritableError:
            self.connection = sqlite3.connect(":memory:")  # empty, so that the evaluation goes on; nothing is stored
            _create_tables(self.connection, self._schema)
            self.is_lost = True
            raise


def _mark(connection: sqlite3.Connection, version: int) -> bool:
    """Marks the file as one of keys of a version; whether it was marked otherwise."""
    (marked,) = connection.execute("PRAGMA application_id").fetchone()
    if marked == version:
        return False
    with connection:
        connection.execute(f"PRAGMA application_id = {version:d}")
    return True


def _connect_or_begin(path: Path, schema: Schema, say: Callable[[str], object]) -> sqlite3.Connection:
    """Connects to the file at `path`, a new one where there is none or a damaged one. The caller holds the lock."""
    try:
        return _connect(path, schema, say)
    except DamagedFileError as damage:
        _set_aside(path, say, damage)
        return _connect(path, schema, say)


def _connect(path: Path, schema: Schema, say: Callable[[str], object]) -> sqlite3.Connection:
    """Connects to the file, with a write-ahead log where its place can have one."""
    if path.is_dir():
        raise _not_writable(path, "it is a folder")
    with _named_errors(path):
        reason = why_no_log(path)
        if reason is None:
            try:
                return _opened(path, schema, has_log=True)
            except NoLogError as error:
                reason = str(error)
            except sqlite3.OperationalError as error:
                if not is_of_log(error):
                    raise
                reason = str(error)
        connection = _opened(path, schema, has_log=False)
    say(f"{path} can have no write-ahead log ({reason}); it is kept without one, which takes longer to store")
    return connection


def _opened(path: Path, schema: Schema, *, has_log: bool) -> sqlite3.Connection:
    # IMMEDIATE: a transaction that begins as a reader could not wait for another writer.
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level="IMMEDIATE")
    try:
        connection.text_factory = bytes  # damaged text need not be UTF-8
        if not has_log:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # a log of before is read without shared memory
        _prepare(connection, schema, path)
        if has_log:
            log_ahead(connection)
        else:
            without_log(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, schema: Schema, path: Path) -> None:
    """Checks the tables, makes them in an empty file, and adds what one of an earlier version lacks."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    made_by = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    known = {schema.version: schema.tables, **schema.earlier}
    is_new = version == 0 and not made_by
    if not is_new and (version not in known or made_by != {statement.encode() for statement in known[version]}):
        raise DamagedFileError(f"its tables are not those of version {schema.version}")
    if not os.access(path, os.W_OK):
        raise _not_writable(path, "the file is read-only")
    if is_new or version != schema.version:
        _create_tables(connection, schema, made_by)


def _create_tables(connection: sqlite3.Connection, schema: Schema, there: AbstractSet[bytes] = frozenset()) -> None:
    """Makes the missing tables in one transaction, so that a kill leaves the file as it was, or whole."""
    missing = [statement for statement in schema.tables if statement.encode() not in there]
    statements = ("BEGIN IMMEDIATE", *missing, f"PRAGMA user_version = {schema.version}", "COMMIT")
    connection.executescript(";\n".join(statements))


def _set_aside(path: Path, say: Callable[[str], object], damage: DamagedFileError) -> None:
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
        except (OSError, NotImplementedError) as error:  # filelock's Timeout is one; a file system without locks
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
            raise DamagedFileError(str(error)) from error
        raise _not_writable(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise DamagedFileError(str(error)) from error
    except UnicodeDecodeError as error:  # SQLite's own message quotes the damaged text
        raise DamagedFileError("its schema is not readable") from error


def _not_writable(path: Path, reason: str) -> CacheNotWritableError:
    return CacheNotWritableError(
        f"the score cache {path} cannot be used ({reason}): free space there, or choose another workspace"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at the path; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
