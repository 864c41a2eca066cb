"""Reads the rows of one file: JSON Lines, JSON, CSV and TSV, each also gzip-compressed, and Parquet."""

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.config.wording import shown
from harness.data.row import DataError

TEXT_SUFFIXES = (".jsonl", ".jsonlines", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*TEXT_SUFFIXES, *(suffix + ".gz" for suffix in TEXT_SUFFIXES), ".parquet")
LARGEST_ROW_BYTES = 64 * 2**20
"""Largest row of a file; a longer one is a mistake, and would be tokenised whole before it is cut."""
LARGEST_FILE_BYTES = 2 * 2**30
"""Largest content, once inflated, of a file that is read whole: a JSON list, or CSV."""
_LARGEST_CELL_CHARACTERS = LARGEST_ROW_BYTES

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
    # readline, because a line of a compressed file may inflate to more than the memory holds.
    for number, line in enumerate(iter(lambda: stream.readline(LARGEST_ROW_BYTES + 1), b""), start=1):
        where = f"line {number}"
        if len(line) > LARGEST_ROW_BYTES:
            raise DataError(f"{path}, {where}: a row of more than {LARGEST_ROW_BYTES // 2**20} MiB; divide it")
        if line.strip():
            yield where, _object(_parsed(line, f"{path}, {where}"), f"{path}, {where}")


def _json(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    content = _whole(path, stream)
    if not content.lstrip().startswith(b"["):  # some datasets call JSON Lines .json
        yield from _json_lines(path, io.BytesIO(content))
        return
    for number, value in enumerate(_parsed(content, str(path)), start=1):
        where = f"row {number}"
        yield where, _object(value, f"{path}, {where}")


def _csv(path: Path, stream: io.BufferedIOBase, delimiter: str = ",") -> NumberedRows:
    text = io.TextIOWrapper(io.BytesIO(_whole(path, stream)), encoding="utf-8-sig", newline="")
    csv.field_size_limit(_LARGEST_CELL_CHARACTERS)
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


def _tsv(path: Path, stream: io.BufferedIOBase) -> NumberedRows:
    return _csv(path, stream, delimiter="\t")


_READERS = {
    ".jsonl": _json_lines, ".jsonlines": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv, ".tsv": _tsv
}  # fmt: skip


def _whole(path: Path, stream: io.BufferedIOBase) -> bytes:
    content = stream.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        raise DataError(f"{path}: holds more than {LARGEST_FILE_BYTES // 2**30} GiB; write it as .jsonl or .parquet")
    return content


def _check_unique(where: str, keys: Sequence[str]) -> None:
    """Checks that no key or column occurs twice, because one of the two values would be lost."""
    twice = next((key for key, n_times in Counter(keys).items() if n_times > 1), None)
    if twice is not None:
        raise DataError(f"{where}: {twice!r} occurs twice; give each value a name of its own")


def _parsed(content: bytes, where: str) -> Any:
    def mapping(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):
            _check_unique(where, [key for key, _ in items])
        return made

    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise DataError(f"{where}: not valid JSON ({error.msg} at {place})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise DataError(f"{where}: not valid JSON (nested too deep)") from None
    except ValueError as error:  # a whole number with more digits than Python converts
        raise DataError(f"{where}: a number with too many digits ({str(error).partition(':')[0]})") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: a row must be a JSON object, got {shown(value)}")
    return value
