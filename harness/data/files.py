"""Reads the rows of one file: JSON Lines, JSON, CSV and TSV, each also gzip-compressed, and Parquet."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.config.limits import LARGEST_FILE, LARGEST_ROW, LARGEST_WHOLE_FILE, MEBIBYTE, TOO_LARGE
from harness.config.wording import shown
from harness.data.formats.parquet import read_parquet
from harness.data.row import DataError
from reports.errors import first_line
from reports.json_text import JsonError, parse_json, problem_of_keys, unique_keys

TEXT_SUFFIXES = (".jsonl", ".jsonlines", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*TEXT_SUFFIXES, *(suffix + ".gz" for suffix in TEXT_SUFFIXES), ".parquet")
_READ_BYTES = 2**20
NumberedRows = Iterator[tuple[str, dict[str, Any]]]
"""The place of each row in its file, such as "line 3", and its columns."""


def format_of(path: Path) -> str | None:
    """The suffix of `SUFFIXES` that a file's name ends in, in any case of letters; None where it ends in none."""
    name = path.name.casefold()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def stem_of(path: Path) -> str:
    """The name of a file without the suffix of its format."""
    return path.name[: len(path.name) - len(format_of(path) or "")]


def read_file(path: Path) -> NumberedRows:
    """Yields the rows of a file in order; blank lines are skipped. All values of a CSV file are text.

    Raises:
        DataError: The file is missing, unreadable, of another format, or broken; the message names file and line.
    """
    suffix = format_of(path)
    if suffix is None:
        raise DataError(f"{path}: must end in one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    bare = suffix.removesuffix(".gz")
    try:
        if suffix == ".parquet":
            yield from read_parquet(path)
        else:
            with gzip.open(path) if suffix.endswith(".gz") else path.open("rb") as stream:
                bounded = io.BufferedReader(_BoundedStream(stream, path, _LARGEST[bare]), _READ_BYTES)
                yield from _READERS[bare](path, bounded)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from None


class _BoundedStream(io.RawIOBase):
    """Bytes of a file, up to a largest number."""

    def __init__(self, stream: io.BufferedIOBase, path: Path, largest: int) -> None:
        self._stream, self._path, self._largest, self._n_read = stream, path, largest, 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; returns the number of bytes.

        Raises:
            DataError: The file has more bytes than that.
        """
        content = self._stream.read(len(buffer))
        self._n_read += len(content)
        if self._n_read > self._largest:
            advice = "" if self._largest == LARGEST_FILE else ", or write its rows as lines of a .jsonl file"
            raise DataError(f"{self._path}: holds more than {self._largest // MEBIBYTE:,} MiB; split it{advice}")
        buffer[: len(content)] = content
        return len(content)


def _json_lines(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    # readline, because a line of a compressed file may inflate to more than the memory holds.
    for number, line in enumerate(iter(lambda: stream.readline(LARGEST_ROW + 1), b""), start=1):
        where = f"line {number}"
        if len(line) > LARGEST_ROW:
            raise DataError(f"{path}, {where}: {TOO_LARGE}")
        if line.removeprefix(codecs.BOM_UTF8).strip():
            yield where, _object(_parsed(line, f"{path}, {where}"), f"{path}, {where}")


def _json(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    content = stream.read().removeprefix(codecs.BOM_UTF8)
    if not content.lstrip().startswith(b"["):  # some datasets call JSON Lines .json
        yield from _json_lines(path, io.BytesIO(content))
        return
    for number, value in enumerate(_parsed(content, str(path)), start=1):
        where = f"row {number}"
        yield where, _object(value, f"{path}, {where}")


def _csv(path: Path, stream: io.BufferedIOBase, delimiter: str = ",") -> NumberedRows:
    text = io.TextIOWrapper(io.BytesIO(stream.read()), encoding="utf-8-sig", newline="")
    csv.field_size_limit(LARGEST_ROW)
    reader = csv.DictReader(text, strict=True, delimiter=delimiter)
    try:
        _check_unique(f"{path}, its first line", reader.fieldnames or ())
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row or None in row.values():
                given = len([value for value in row.values() if value is not None])
                columns = reader.fieldnames or ()
                raise DataError(f"{path}, {where}: must have {len(columns)} values, one a column, got {given}")
            yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        place = f"after line {reader.line_num}" if reader.line_num else "in its first line"
        raise DataError(f"{path}, {place}: not valid CSV ({error})") from None


def _tsv(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    return _csv(path, stream, delimiter="\t")


_LARGEST = {
    suffix: LARGEST_WHOLE_FILE if suffix in (".json", ".csv", ".tsv") else LARGEST_FILE for suffix in TEXT_SUFFIXES
}
_READERS = {
    ".jsonl": _json_lines, ".jsonlines": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _tsv
}  # fmt: skip


def _check_unique(where: str, keys: Sequence[str]) -> None:
    """Checks that no column occurs twice, because one of the two values would be lost."""
    if problem := problem_of_keys(keys):
        raise DataError(f"{where}: {problem}")


def _parsed(content: bytes, where: str) -> Any:
    try:
        return parse_json(content, unique_keys)
    except JsonError as error:
        raise DataError(f"{where}: {error}") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a row must be a JSON object, got {shown(value)}")
    return value
