"""How a SQLite file survives a kill: by a write-ahead log, or, where its place can have none, by a journal of its own.

A write-ahead log takes memory that all processes of one machine share. Network file systems have none, and one that
pretends to would let two machines write over each other (https://sqlite.org/wal.html). A rollback journal takes locks
of the file alone, which network file systems do have; each transaction waits for the disk.
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

_LOGLESS_CODES = frozenset({
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY,
})  # fmt: skip
"""What SQLite raises where shared memory cannot be had."""
_NETWORK = frozenset({
    "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs",
    "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs", "fuse.beegfs", "fuse.blobfuse2", "fuse.ceph", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.juicefs", "fuse.moosefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
})  # fmt: skip
"""File systems that several machines may have mounted, as the system names them."""


class NoLogError(Exception):
    """The place of a file has no write-ahead log."""


def why_no_log(path: Path) -> str | None:
    """Returns why a file at this path can have no write-ahead log; None where a file beside it had one.

    The caller holds the lock of the path. The file itself is not tried on: for others who have it open it would change
    its mode, and back again.
    """
    network = network_of(path)
    if network is not None:
        return f"its file system is {network}"
    probe = path.with_name(f"{path.name}.probe")
    try:
        _remove(probe)
        with closing(sqlite3.connect(probe)) as connection:
            log_ahead(connection)
    except NoLogError as error:
        return str(error)
    except sqlite3.OperationalError as error:
        return str(error) if is_of_log(error) else None
    finally:
        _remove(probe)
    return None


def is_of_log(error: sqlite3.OperationalError) -> bool:
    """Whether an error may be that of a log without shared memory; another fault of a disk shows again without one."""
    return error.sqlite_errorcode & 0xFF in _LOGLESS_CODES


def network_of(path: Path) -> str | None:
    """Returns the name of the network file system that a path is on; None for a disk of this machine, or unknown."""
    import psutil

    try:
        place, mounts = path.resolve(), psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        return None
    around = [each for each in mounts if place.is_relative_to(each.mountpoint)]
    # Of two mounts at one place the later one is seen.
    nearest = max(reversed(around), key=lambda each: len(Path(each.mountpoint).parts), default=None)
    return nearest.fstype if nearest is not None and nearest.fstype.lower() in _NETWORK else None


def log_ahead(connection: sqlite3.Connection) -> None:
    """Lets a connection write ahead, so that readers go on meanwhile, and proves by a write that it can.

    Some places take the mode, and then fail the first write.

    Raises:
        NoLogError: SQLite keeps another mode.
        sqlite3.OperationalError: The write fails.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode not in ("wal", b"wal"):
        raise NoLogError("SQLite has no shared memory there")
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version:d}")  # written although it is the same


def without_log(connection: sqlite3.Connection) -> None:
    """Takes a connection that was opened for itself alone off a log of before, and lets others use the file again."""
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA locking_mode = NORMAL")
    connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # at which the lock is given up


def _remove(probe: Path) -> None:
    """Removes a file of SQLite, if it is there."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            probe.with_name(probe.name + suffix).unlink()
