"""Locks between processes: each is a file that is there only while a process holds it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

WITHOUT_END = -1.0
"""Seconds to wait, for one who waits until the lock is free."""


@contextmanager
def hold(path: Path, *, seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock at a path within the block; it is free again when the process ends, however it ends.

    Args:
        path: The lock file; its folder must exist.
        seconds: How long to wait for another process.

    Raises:
        filelock.Timeout: Another process holds it.
        OSError: It cannot be written.
    """
    lock = FileLock(path)
    lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock at a path."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # not ours to open
        return True
