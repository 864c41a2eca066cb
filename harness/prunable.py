"""What no run of a workspace needs: what killed processes left, what is damaged, and adapters that are not used."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout
from tabulate import tabulate

from harness.models.adapter_files.folder import FIXTURE_FILE
from harness.workspace import Workspace
from reports.locks import hold, is_held
from reports.plain_text import one_line
from reports.whole import is_unused, leftovers_in, remove, remove_unused
from suites.engine.cache.file import CORRUPT

SECONDS_A_DAY = 86_400.0
_MEBIBYTE = 2**20
_OLD_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Prunable:
    """A file or folder that can be removed."""

    path: Path
    reason: str
    n_bytes: int
    lock: Path | None = None
    """Lock that whoever uses it holds; None where nobody can."""


def prunable(workspace: Path, *, keep: int | None = None, older_than_days: float | None = None) -> list[Prunable]:
    """Returns what can be removed from a workspace, which need not exist; nothing that a process uses now.

    Args:
        workspace: The workspace.
        keep: Number of adapters to keep, those that were used last; None keeps all.
        older_than_days: Days without use after which an adapter can go; None keeps all. Where both are given, an
            adapter can go that both let go.
    """
    place = Workspace(workspace)
    found = [*left_behind(place)]
    if keep is not None or older_than_days is not None:
        found += _unused_adapters(place, keep or 0, older_than_days or 0.0)
    return found


def left_behind(place: Workspace) -> Iterator[Prunable]:
    """Yields what killed processes left in a workspace, and what was set aside as damaged."""
    parents = (place.folder, place.fixtures, place.merged, place.runs)
    for parent in (*parents, *_folders(place.runs), *_folders(place.fixtures)):
        for path in leftovers_in(parent):
            yield _of(path, "half-written by a process that ended")
    yield from _left_trainings(place)
    for path in _entries(place.merged):  # as earlier versions named them
        if path.name.endswith(_OLD_PARTIAL) and not path.name.startswith("."):
            yield _of(path, "half-written by a process that ended")
    for parent in (place.folder, place.fixtures, place.merged, place.runs):
        for path in _entries(parent):
            if path.name.endswith(".lock") and path.is_file() and not is_held(path):
                yield _of(path, "a lock that no process holds")
    for path in _entries(place.folder):
        if path.name.startswith(f"{place.scores.name}{CORRUPT}"):
            yield _of(path, "a score cache that was damaged, and begun again since")


def _left_trainings(place: Workspace) -> Iterator[Prunable]:
    """Yields trainings that were not finished and adapters that were damaged."""
    for path in _entries(place.fixtures):
        lock = path.with_name(f".{path.stem}.lock")
        if path.suffix == _OLD_PARTIAL and not path.name.startswith(".") and not is_held(lock):
            yield _of(path, "a training that was not finished; the same command would go on from it", lock)
        elif path.suffix == ".damaged" and not is_held(lock):
            yield _of(path, "damaged, and trained again since", lock)


def remove_all(found: Sequence[Prunable]) -> list[Prunable]:
    """Removes files and folders; returns those that are still there, because they are in use or cannot be removed."""
    for each in found:
        try:
            if each.lock is None:
                remove(each.path)
            else:
                with hold(each.lock):
                    remove_unused(each.path)
        except (Timeout, OSError):
            continue
    return [each for each in found if each.path.exists()]


def table(found: Sequence[Prunable], workspace: Path) -> str:
    """A table of what can be removed, with its size and why."""
    rows = [
        (one_line(os.path.relpath(each.path, workspace)), f"{each.n_bytes / _MEBIBYTE:.1f}", each.reason)
        for each in found
    ]
    total = sum(each.n_bytes for each in found) / _MEBIBYTE
    return f"{tabulate(rows, ('in the workspace', 'MiB', 'why'))}\n\n{len(found)} in all, {total:.1f} MiB"


def n_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links are not followed, and a file that vanishes counts 0."""
    inside = () if path.is_symlink() else os.walk(path)
    files = [path, *(Path(folder, name) for folder, _, names in inside for name in names)]
    total = 0
    for file in files:
        with suppress(OSError):
            total += 0 if file.is_dir() and not file.is_symlink() else file.lstat().st_size
    return total


def _unused_adapters(place: Workspace, keep: int, older_than_days: float) -> Iterator[Prunable]:
    """Yields trained adapters that were used longest ago, but for those to keep and those that a command measures."""
    folders = (path for path in _folders(place.fixtures) if not path.name.startswith(".") and not path.suffix)
    adapters = [path for path in folders if (path / FIXTURE_FILE).is_file()]  # what is no adapter is the user's
    by_use = sorted(adapters, key=_last_use, reverse=True)
    for path in by_use[keep:]:
        days = (time.time() - _last_use(path)) / SECONDS_A_DAY
        lock = path.with_name(f".{path.name}.lock")
        if days >= older_than_days and not is_held(lock) and is_unused(path):
            yield _of(path, f"an adapter that was used {days:.0f} days ago; it would be trained again", lock)


def _last_use(path: Path) -> float:
    """When the newest file of a folder was written, or it was reused (which writes its model card again)."""
    times = [0.0]
    for each in (path, *_entries(path)):
        with suppress(OSError):
            times.append(each.stat().st_mtime)
    return max(times)


def _of(path: Path, reason: str, lock: Path | None = None) -> Prunable:
    return Prunable(path, reason, n_bytes(path), lock)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir() and not path.is_symlink()]
