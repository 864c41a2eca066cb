"""Atomic writes: a file or a folder appears complete under its name, or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, sync: bool = False) -> Path:
    r"""Write a file in place of the one that is there; returns its path.

    Args:
        path: The file; its folder must exist.
        content: Bytes, or text, which is written as UTF-8; a lone surrogate, which UTF-8 cannot hold, becomes \udXXX.
        sync: Whether the content must be on the disk before the rename, so that a power cut cannot lose it.

    Raises:
        OSError: It cannot be written; the file that was there before is unchanged.
    """
    temporary = temporary_sibling(path)
    try:
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

    Args:
        folder: The name of the complete folder, which must be missing or an empty folder.
        temporary: Where it is filled, on the same file system; a leftover of a killed process there is removed first.
            None is a hidden sibling with a random name.

    Raises:
        OSError: A folder cannot be made or renamed.
    """
    temporary = temporary or temporary_sibling(folder)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:  # Also on Ctrl-C; nothing is left to remove after the rename.
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_sibling(path: Path) -> Path:
    """Return a hidden name beside a path, so that a rename stays within one file system."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
