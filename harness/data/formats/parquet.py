"""Reads the rows of a Parquet file, in which a text or a number stands once for all the rows that have it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.config.limits import LARGEST_FILE, LARGEST_ROW, MEBIBYTE, MOST_VALUES, TOO_LARGE
from harness.data.row import DataError
from reports.errors import first_line
from reports.json_text import problem_of_keys

_BATCH_ROWS = 256
"""Rows that are taken from a file at a time."""
_BATCH_BYTES = 32 * MEBIBYTE
"""Bytes that they may have together; otherwise rows are taken one by one."""
_VALUE_BYTES = 32
"""Bytes that a value counts for beside its text: what Python takes for the smallest, with its place in a list."""
_LARGEST_ROW = LARGEST_ROW + MOST_VALUES * _VALUE_BYTES


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the place of each row and its columns.

    What the rows expand to is counted before Python's values are made of it.

    Raises:
        DataError: The file is broken, too large once it is expanded, has two columns of one name, of which one would be
            lost, or holds values that Python has not.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(path)
        _check_declared(path, metadata)
        if problem := problem_of_keys(metadata.schema.to_arrow_schema().names):
            raise DataError(f"{path}: {problem}")
        leaves = [metadata.schema.column(index) for index in range(metadata.num_columns)]
        texts = [
            leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"
        ]  # each once, until they are counted
        with parquet.ParquetFile(path, metadata=metadata, read_dictionary=texts) as file:
            number = n_bytes = 0
            for batch in file.iter_batches(_BATCH_ROWS):
                for part in _parts(path, batch, number):
                    n_bytes += _n_bytes(part)
                    _check_size(path, n_bytes)
                    names = part.schema.names
                    columns = [_values(path, name, column) for name, column in zip(names, part.columns, strict=True)]
                    for values in zip(*columns, strict=True):
                        number += 1
                        yield f"row {number}", dict(zip(names, values, strict=True))
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a valid Parquet file ({first_line(error)})") from None


def _check_declared(path: Path, metadata: Any) -> None:
    """Checks the size that the file itself names, before any of it is read."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(metadata.num_columns)]
    _check_size(path, sum(chunk.total_uncompressed_size for chunk in chunks))
    _check_size(path, sum(chunk.num_values for chunk in chunks) * _VALUE_BYTES)


def _check_size(path: Path, n_bytes: int) -> None:
    if n_bytes > LARGEST_FILE:
        raise DataError(f"{path}: holds more than {LARGEST_FILE // MEBIBYTE:,} MiB; split it")


def _parts(path: Path, batch: Any, n_before: int) -> Iterator[Any]:
    """Yields the rows of a batch: together, or one by one where they are large."""
    if _n_bytes(batch) <= _BATCH_BYTES:
        yield batch
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        if _n_bytes(row) > _LARGEST_ROW:
            raise DataError(f"{path}, row {n_before + index + 1}: {TOO_LARGE}")
        yield row


def _n_bytes(batch: Any) -> int:
    return sum(map(_n_bytes_of_column, batch.columns))


def _n_bytes_of_column(column: Any) -> int:
    """Bytes that the values of a column of Arrow take at least as Python's, a repeated text as often as it is there."""
    import pyarrow as pa
    from pyarrow import compute, types

    kind = column.type
    n_bytes = _VALUE_BYTES * len(column)
    if isinstance(column, pa.ExtensionArray):
        return _n_bytes_of_column(column.storage)
    if types.is_dictionary(kind):
        return n_bytes + (compute.sum(_lengths(column.dictionary).take(column.indices)).as_py() or 0)
    if types.is_map(kind):
        first, n_items = column.offsets[0].as_py(), column.offsets[-1].as_py() - column.offsets[0].as_py()
        return n_bytes + sum(_n_bytes_of_column(each.slice(first, n_items)) for each in (column.keys, column.items))
    if types.is_nested(kind) and not types.is_union(kind):
        below = column.flatten()
        return n_bytes + sum(map(_n_bytes_of_column, below if isinstance(below, list) else [below]))
    return n_bytes + (compute.sum(_lengths(column)).as_py() or 0)


def _lengths(column: Any) -> Any:
    """The bytes of each value beside `_VALUE_BYTES`: those of texts; 0 for all others."""
    import pyarrow as pa
    from pyarrow import compute, types

    kind = column.type
    if types.is_string_view(kind) or types.is_binary_view(kind):
        column = column.cast(pa.large_binary())
    elif not (
        types.is_large_string(kind) or types.is_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    ):
        return pa.array([0] * len(column))
    return compute.cast(compute.binary_length(column), pa.int64())


def _values(path: Path, name: str, column: Any) -> list[Any]:
    """The values of a column of Arrow, which holds dates, time zones and bytes that Python does not."""
    from pyarrow import types

    try:
        decoded = column.dictionary_decode() if types.is_dictionary(column.type) else column  # many times as fast
        values: list[Any] = decoded.to_pylist()
    except (ValueError, OverflowError, LookupError) as error:
        raise DataError(
            f"{path}: column {name!r} holds values that cannot be read ({first_line(error)}); "
            f"leave it out or write it as text"
        ) from None
    return values
