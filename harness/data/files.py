"""Reads the rows of one file: JSON Lines, JSON and CSV, each also gzip-compressed, and Parquet."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.config.wording import shown
from harness.data.row import DataError

TEXT_SUFFIXES = (".jsonl", ".json", ".csv")
SUFFIXES = (*TEXT_SUFFIXES, *(suffix + ".gz" for suffix in TEXT_SUFFIXES), ".parquet")

NumberedRows = Iterator[tuple[str, dict[str, Any]]]
"""The place of each row in its file, such as "line 3", and its columns."""


def format_of(path: Path) -> str | None:
    """The suffix of `SUFFIXES` that a file's name ends in; None where it ends in none."""
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)


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
    try:
        if suffix == ".parquet":
            yield from _parquet(path)
        else:
            with gzip.open(path) if suffix.endswith(".gz") else path.open("rb") as stream:
                yield from _READERS[suffix.removesuffix(".gz")](path, stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _json_lines(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            where = f"line {number}"
            yield where, _object(_parsed(line, f"{path}, {where}"), f"{path}, {where}")


def _json(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    content = stream.read()
    if not content.lstrip().startswith(b"["):  # some datasets call JSON Lines .json
        yield from _json_lines(path, io.BytesIO(content))
        return
    for number, value in enumerate(_parsed(content, str(path)), start=1):
        where = f"row {number}"
        yield where, _object(value, f"{path}, {where}")


def _csv(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    reader = csv.DictReader(io.TextIOWrapper(io.BytesIO(stream.read()), encoding="utf-8-sig", newline=""), strict=True)
    try:
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row or None in row.values():
                given = len([value for value in row.values() if value is not None])
                columns = reader.fieldnames or ()
                raise DataError(f"{path}, {where}: must have {len(columns)} values, one a column, got {given}")
            yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}, after line {reader.line_num}: not valid CSV ({error})") from None


def _parquet(path: Path) -> NumberedRows:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a valid Parquet file ({str(error).splitlines()[0]})") from None


_READERS = {".jsonl": _json_lines, ".json": _json, ".csv": _csv}


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise DataError(f"{where}: not valid JSON ({error.msg} at {place})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise DataError(f"{where}: not valid JSON (nested too deep)") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a row must be a JSON object, got {shown(value)}")
    return value
