"""Builds a file of rows item by item; a build that is killed at any moment resumes and ends with the same bytes.

While `rows.jsonl` is built, `rows.jsonl.partial` holds a header (all that determines the rows) and one line per item.
In the end the rows become `rows.jsonl`, and the header becomes `rows.jsonl.header`, which identifies a finished file.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import Timeout

from harness.config.wording import shown
from reports.errors import UserError
from reports.json_text import parse_json
from reports.locks import hold
from reports.whole import write_whole

Header = dict[str, Any]
Item = list[dict[str, Any]]
"""The rows made of one item; empty where it is left out."""

_SHOWN_DIFFERENCES = 3


class ResumableFileError(UserError):
    """The file was built from something else, is being built by another process, or cannot be written."""


@dataclass(frozen=True, slots=True)
class FileSummary:
    """Counts and hash of a finished file."""

    n_rows: int
    left_out: int
    """Items that gave no row."""
    sha256: str
    """Hash of the rows as they are on disk, in hexadecimal."""


@contextmanager
def build_lock(path: Path) -> Iterator[None]:
    """Keeps other processes from building the same file within the block; makes its folder if that is missing.

    Raises:
        ResumableFileError: Another process builds it, or nothing can be written there.
    """
    with ExitStack() as stack:
        with _disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(hold(path.with_name(f".{path.name}.lock")))
            except Timeout:
                raise ResumableFileError(
                    f"another process builds {path} now; wait for it or name another file"
                ) from None
        yield


def check_finished(path: Path, header: Header) -> FileSummary:
    """Checks that the finished file at `path` was built from this header, and returns its counts.

    Raises:
        ResumableFileError: It was built from something else, or was changed since.
    """
    try:
        there = parse_json(_sibling(path, "header").read_bytes())
        finished = FileSummary(**there.pop("finished"))
        problem = _differences(there, header)
        if not problem and hashlib.sha256(path.read_bytes()).hexdigest() != finished.sha256:
            problem = "it has changed since it was built"
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        problem = f"{_sibling(path, 'header')} is missing or damaged"
    if problem:
        raise ResumableFileError(
            f"{path} exists, but was built from something else: {problem}; name another file, or use --force"
        )
    return finished


def resume(path: Path, header: Header, *, n_items: int, batch_size: int, force: bool) -> list[Item]:
    """Returns the items that are built already; cuts the partial file to them, or begins it where there is none.

    Only whole batches count, because the rest of a batch would be generated beside other items.

    Args:
        path: The file to build.
        header: All that determines its rows, as JSON can hold it.
        n_items: Items of the whole file.
        batch_size: Items that `append` gets at a time; the last batch may be shorter.
        force: Begin again where the partial file was begun from something else.

    Raises:
        ResumableFileError: The partial file was begun from something else, or cannot be written.
    """
    partial = _sibling(path, "partial")
    with _disk(partial):
        lines = partial.read_bytes().splitlines(keepends=True) if partial.exists() else []
        whole = [*takewhile(lambda line: line is not None, map(_parsed, lines))]
        problem = _differences(whole[0], header) if whole else ""
        if problem and not force:
            raise ResumableFileError(
                f"{partial} was begun from something else: {problem}; finish that, name another file, or use --force"
            )
        if problem or not whole:
            write_whole(partial, _line(header), sync=True)
            return []
        n_whole = len(whole) - 1
        n_kept = n_whole if n_whole == n_items else n_whole // batch_size * batch_size
        os.truncate(partial, sum(map(len, lines[: 1 + n_kept])))
    return whole[1 : 1 + n_kept]


def append(path: Path, batch: Sequence[Item]) -> None:
    """Appends a batch to the partial file and flushes it to the disk.

    Raises:
        ResumableFileError: It cannot be written, such as for lack of space; earlier batches stay.
    """
    partial = _sibling(path, "partial")
    with _disk(partial), partial.open("ab") as stream:
        stream.write(b"".join(map(_line, batch)))
        stream.flush()
        os.fsync(stream.fileno())


def finish(path: Path, header: Header, items: Sequence[Item]) -> FileSummary:
    """Writes header and rows under their final names, then removes the partial file; a kill in between loses nothing.

    Raises:
        ResumableFileError: They cannot be written.
    """
    content = b"".join(_line(row) for item in items for row in item)
    finished = FileSummary(
        n_rows=sum(map(len, items)),
        left_out=sum(not item for item in items),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with _disk(path):
        write_whole(_sibling(path, "header"), _line(header | {"finished": asdict(finished)}), sync=True)
        write_whole(path, content, sync=True)
        _sibling(path, "partial").unlink()
    return finished


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    """The JSON value of a line; None where the line is incomplete."""
    try:
        return parse_json(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _differences(there: Any, now: Header) -> str:
    """The first keys whose values differ, with both values; "" where none does."""
    before, after = dict(_flat(there)), dict(_flat(now))
    keys = [key for key in {**after, **before} if before.get(key) != after.get(key)]
    named = [f"{key} is {shown(before.get(key))} there, {shown(after.get(key))} here" for key in keys]
    more = f" (and {len(named) - _SHOWN_DIFFERENCES} more)" if named[_SHOWN_DIFFERENCES:] else ""
    return "; ".join(named[:_SHOWN_DIFFERENCES]) + more


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value of nested mappings with its dotted key."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _flat(below, f"{key}.{name}" if key else name)
    else:
        yield key or "the header", value


def _sibling(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turns failures to read or write within the block into one line.

    Raises:
        ResumableFileError: The block failed to read or write.
    """
    try:
        yield
    except OSError as error:
        raise ResumableFileError(f"{path} cannot be written ({error.strerror or error}); name another file") from error
