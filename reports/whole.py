"""Atomic writes: a file or a folder appears complete under its name, or not at all.

What is written has a hidden name beside its final one until it is complete, and the process that writes it holds a lock
on it. What a killed process left there has nobody's lock: the next write of the same name removes it, and
`leftovers_in` finds it. On a network file system a lock may hold on one machine alone, so the hidden name says which.
"""

import hashlib
import os
import platform
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EISDIR
from importlib import import_module
from pathlib import Path
from typing import Any

fcntl: Any = import_module("fcntl") if os.name == "posix" else None
"""What locks a file; without it nothing is ever taken for a leftover."""
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{4}(?=[0-9a-f]{8}\.))?[0-9a-f]{1,8}\.partial")
_SECONDS_OF_OTHERS = 30 * 86_400.0
"""Age at which what another machine wrote counts as left behind."""


def write_whole(path: Path, content: str | bytes, *, sync: bool = False) -> Path:
    r"""Write a file in place of the one that is there; returns its path.

    Args:
        path: The file; its folder must exist.
        content: Bytes, or text, which is written as UTF-8; a lone surrogate, which UTF-8 cannot hold, becomes \udXXX.
        sync: Whether the content must be on the disk before the rename, so that a power cut cannot lose it.

    Raises:
        OSError: It cannot be written; the file that was there before is unchanged.
    """
    remove_leftovers(path)
    temporary = temporary_sibling(path)
    try:
        with _made_and_held(temporary, Path.touch):  # until it has its name, or another write would remove it
            with temporary.open("wb") as stream:
                stream.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
                if sync:
                    stream.flush()
                    os.fsync(stream.fileno())
            return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder that is renamed to `folder` when the block succeeds, and removed when it fails.

    Its files may be read by whoever may read the folder, though a library makes some for their owner (safetensors).

    Args:
        folder: The name of the complete folder, which must be missing or an empty folder.
        temporary: Where it is filled, on the same file system; a leftover of a killed process there is removed first.
            None is a hidden sibling with a random name.

    Raises:
        OSError: A folder cannot be made or renamed.
    """
    remove_leftovers(folder)
    temporary = temporary or temporary_sibling(folder)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with _made_and_held(temporary, Path.mkdir):
            yield temporary
            _let_read(temporary)
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)
    finally:  # Also on Ctrl-C; nothing is left to remove after the rename.
        shutil.rmtree(temporary, ignore_errors=True)


def _let_read(folder: Path) -> None:
    """Give the files of a folder that was made with the usual mode the usual mode as well; they lose no right."""
    usual = folder.stat().st_mode & 0o666
    for file in folder.rglob("*"):
        mode = file.lstat().st_mode
        if stat.S_ISREG(mode) and mode | usual != mode:
            with suppress(OSError):  # a file system without modes
                file.chmod(mode | usual)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder for nobody else's eyes, and remove it after the block.

    Args:
        path: Its name but for a random part. What killed processes left under this name is removed first.

    Raises:
        OSError: It cannot be made.
    """
    remove_leftovers(path)
    folder = temporary_sibling(path)
    try:
        with _made_and_held(folder, lambda made: made.mkdir(mode=0o700)):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Check that a file can be written, without changing it, before time is spent on its content.

    Raises:
        OSError: It cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "it is a folder", str(path))
    probe = temporary_sibling(path)
    probe.touch()
    probe.unlink()


def temporary_sibling(path: Path) -> Path:
    """Return a hidden name beside a path, so that a rename stays within one file system."""
    return path.parent / f".{path.name}.{_this_machine()}{uuid.uuid4().hex[:8]}.partial"


def leftovers_in(folder: Path, name: str | None = None) -> list[Path]:
    """Return what killed processes left half-written in a folder, sorted.

    Args:
        folder: The folder, which need not exist.
        name: The final name of what they wrote; None is any.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    found = [(path, _TEMPORARY.fullmatch(path.name)) for path in entries]
    named = [path for path, match in found if match and name in (None, match["name"]) and _is_ours(path, match)]
    return [path for path in named if _with_lock(path)]


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of earlier writes of the same path; what cannot be removed stays."""
    for leftover in leftovers_in(path.parent, path.name):
        _with_lock(leftover, remove)


@contextmanager
def in_use(paths: Iterable[Path]) -> Iterator[None]:
    """Hold files or folders within the block, as any number of processes may, so that `remove_unused` leaves them."""
    with ExitStack() as stack:
        for path in paths:
            with suppress(OSError):  # it is not there, or on a file system without locks
                descriptor = os.open(path, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield


def is_unused(path: Path) -> bool:
    """Return whether no process holds a file or folder (`in_use`)."""
    return _with_lock(path)


def remove_unused(path: Path) -> None:
    """Remove a file or folder, unless a process holds it."""
    _with_lock(path, remove)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def _made_and_held(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """Make a file or folder and hold a lock on it within the block; the lock ends with the process, however it ends."""
    make(path)
    if fcntl is None:
        yield
        return
    while True:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_at(path, descriptor):
                break
            os.close(descriptor)
        make(path)  # another process took it for a leftover before it had a lock
    try:
        yield
    finally:
        os.close(descriptor)


def _this_machine() -> str:
    """Four hexadecimal digits that stand for this machine's name."""
    return hashlib.blake2b(platform.node().encode(), digest_size=2).hexdigest()


def _is_ours(path: Path, match: re.Match[str]) -> bool:
    """Whether this machine wrote it, so that a lock on it would be seen, or it is so old that nobody writes it now."""
    if match["machine"] in (None, _this_machine()):
        return True
    try:
        return time.time() - path.stat().st_mtime > _SECONDS_OF_OTHERS
    except OSError:
        return False


def _with_lock(path: Path, use: Callable[[Path], object] = Path.exists) -> bool:
    """Call a function with the path while nobody else can hold it; return whether nobody did."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False  # it is gone, or not ours to open
    try:
        with suppress(OSError):  # somebody holds it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):  # else a third process removed it, and its owner may have made it again
                use(path)
                return True
        return False
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether what a process has open is what the path leads to."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
