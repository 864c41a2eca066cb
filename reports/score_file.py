"""scores.parquet: one row an example, metric and subject, written and read as columns, a part at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from reports.errors import UserError, first_line
from reports.records import MetricScores
from reports.scores import ExampleScores, ScoredExamples

SCORE_COLUMNS = ("evaluation", "metric", "subject", "example_id", "group", "total", "count")
_ROWS_AT_A_TIME = 1 << 16


class DamagedScoresError(UserError):
    """What is wrong with the scores of a run, without the name of their file."""


def write_scores(path: Path, measurements: Iterable[MetricScores]) -> None:
    """Write the scores of measurements, one after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, texts = pa.dictionary(pa.int32(), pa.string()), pa.large_string()
    types = (names, names, names, texts, texts, pa.float64(), pa.float64())
    schema = pa.schema(list(zip(SCORE_COLUMNS, types, strict=True)))
    scored = [each for each in measurements if each.scores]
    first = pa.array(np.zeros(max((len(each.scores) for each in scored), default=0), np.int32))  # of a name: the only
    batches = [
        pa.RecordBatch.from_arrays(
            [
                *(pa.DictionaryArray.from_arrays(first[: len(each.scores)], [name]) for name in _names(each)),
                each.scores.examples.ids,
                each.scores.examples.groups,
                pa.array(each.scores.totals),
                pa.array(each.scores.counts),
            ],
            schema=schema,
        )
        for each in scored
    ]
    # Hashes are half as long where they are packed, and packing them at this level costs less than writing the rest.
    pq.write_table(pa.Table.from_batches(batches, schema), path, compression="zstd", compression_level=1)


def read_scores(file: BinaryIO, measurements: Sequence[MetricScores], sizes: Sequence[int]) -> tuple[MetricScores, ...]:
    """Return the measurements with their scores; metrics of the same examples share their ids and groups.

    Args:
        file: The table.
        measurements: Those of run.json, in its order.
        sizes: Rows of each of them in the table.

    Raises:
        DamagedScoresError: It is not what `write_scores` wrote for these measurements.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        for name in SCORE_COLUMNS:
            table.schema_arrow.empty_table().column(name)
        if sum(sizes) != table.metadata.num_rows:
            raise DamagedScoresError(f"has {table.metadata.num_rows} rows; run.json counts {sum(sizes)}")
        rows = _Rows(table.iter_batches(_ROWS_AT_A_TIME, columns=list(SCORE_COLUMNS)))
        seen: list[ScoredExamples] = []
        return tuple(
            replace(each, scores=_scores(rows.take(n), _names(each), seen)) if n else each
            for each, n in zip(measurements, sizes, strict=True)
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DamagedScoresError(f"is damaged: {first_line(error)}") from error


class _Rows:
    """The rows of a table, taken from its start on."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._rest: Any = ()

    def take(self, n: int) -> Any:
        """Return the next n rows as an Arrow table."""
        import pyarrow as pa

        parts = []
        while n:
            while not len(self._rest):
                self._rest = next(self._batches, None)
                if self._rest is None:
                    raise DamagedScoresError("is damaged: it has fewer rows than it says")
            parts.append(self._rest[:n])
            self._rest = self._rest[n:]
            n -= len(parts[-1])
        return pa.Table.from_batches(parts)


def _names(measurement: MetricScores) -> tuple[str, str, str]:
    return measurement.metric.evaluation, measurement.metric.name, measurement.subject


def _scores(rows: Any, names: tuple[str, str, str], seen: list[ScoredExamples]) -> ExampleScores:
    """Return the scores in the rows of a measurement.

    Args:
        rows: An Arrow table.
        names: Evaluation, metric and subject that all of them must have.
        seen: The examples of earlier measurements, which are taken where they are the same, and added to.
    """
    _check_names(rows, names)
    ids, groups = (_texts(rows.column(name)) for name in ("example_id", "group"))
    totals, counts = (_amounts(rows.column(name), ids) for name in ("total", "count"))
    examples = ScoredExamples(ids, groups)
    known = next((each for each in seen if each == examples), None)
    if known is None:
        seen.append(examples)
    return ExampleScores(known or examples, totals, counts)


def _check_names(rows: Any, names: tuple[str, str, str]) -> None:
    columns = [_decoded(rows.column(name)) for name in SCORE_COLUMNS[: len(names)]]
    if any(column.unique().to_pylist() != [name] for column, name in zip(columns, names, strict=True)):
        found = zip(*(column.to_pylist() for column in columns), strict=True)
        other = next(each for each in found if each != names)
        raise DamagedScoresError(f"is damaged: rows of {list(other)} where run.json has {list(names)}")


def _texts(column: Any) -> Any:
    import pyarrow as pa

    column = _decoded(column)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not is_text or column.null_count:
        raise DamagedScoresError("is damaged: a row without the id or the group of its example")
    texts = column.cast(pa.large_string()).combine_chunks()
    texts.validate(full=True)  # that they are UTF-8, which reading them does not look at
    return texts


def _amounts(column: Any, ids: Any) -> Any:
    """Return a column of numbers, one for each of the ids."""
    import pyarrow as pa

    column = _decoded(column)
    is_number = pa.types.is_floating(column.type)
    if not is_number or column.null_count:
        first = column.is_null().to_pylist().index(True) if is_number else 0
        raise DamagedScoresError(f"is damaged: example {ids[first]} has no total or no count")
    return column.cast(pa.float64()).to_numpy()


def _decoded(column: Any) -> Any:
    """Return a column of values, whether they are stored as such or as places in a dictionary of values."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
