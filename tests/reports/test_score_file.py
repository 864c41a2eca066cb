"""scores.parquet: read by columns, and whatever stands in it, one line says what is wrong."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.run_folder import RunFileError, read_run, write_run
from reports.score_file import SCORE_COLUMNS

N = 5
"""Examples of each of two subjects."""


@pytest.fixture
def folder(fakes, tmp_path):
    """A run folder without checksums, as one that was edited by hand may be."""
    rows = fakes.scores([1.0, 2.0, 3.0, 4.0, 5.0], [1, 2, 3, 4, 5])
    write_run(fakes.small_run({(fakes.PERPLEXITY, name): rows for name in ("base", "dpo")}), tmp_path / "run")
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    del document["checksums"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(document))
    return tmp_path / "run"


def _with(table, name, column):
    return table.set_column(table.schema.get_field_index(name), name, column)


def _invalid_utf8():
    places = np.arange(2 * N + 1, dtype=np.int32)
    return pa.StringArray.from_buffers(2 * N, pa.py_buffer(places), pa.py_buffer(b"\xff" * 2 * N))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("total"), 'Field "total" does not exist in schema'),
        (lambda t: t.append_column("group", t.column("group")), 'Field "group" exists 2 times in schema'),
        (lambda t: t.slice(1), r"has 9 rows; run\.json counts 10"),
        (lambda t: pa.concat_tables([t, t]), r"has 20 rows; run\.json counts 10"),
        (lambda t: _with(t, "example_id", pa.nulls(2 * N, pa.string())), "a row without the id or the group"),
        (lambda t: _with(t, "group", pa.nulls(2 * N)), "a row without the id or the group"),
        (lambda t: _with(t, "example_id", pa.array(range(2 * N))), "a row without the id or the group"),
        (lambda t: _with(t, "group", pa.array([b"g"] * 2 * N)), "a row without the id or the group"),
        (lambda t: _with(t, "group", pa.array([["g"]] * 2 * N)), "a row without the id or the group"),
        (lambda t: _with(t, "example_id", _invalid_utf8()), "Invalid UTF8"),
        (lambda t: _with(t, "total", pa.array([1.0, 2.0, None] + [1.0] * 7)), "example e0002 has no total or no count"),
        (lambda t: _with(t, "count", pa.array([1] * 2 * N)), "example e0000 has no total or no count"),
        (lambda t: _with(t, "count", pa.array(["1"] * 2 * N)), "example e0000 has no total or no count"),
        (
            lambda t: _with(t, "subject", pa.array(["base"] * (2 * N - 1) + ["dpo"])),
            r"rows of \['truthfulness', 'perplexity', 'base'\] where run\.json has \[.*'dpo'\]",
        ),
        (lambda t: _with(t, "metric", pa.nulls(2 * N, pa.string())), r"rows of \['truthfulness', None, 'base'\]"),
        (lambda t: _with(t, "metric", pa.array(range(2 * N))), r"rows of \['truthfulness', 0, 'base'\]"),
    ],
)
def test_a_table_that_is_none_of_ours_is_told_in_one_line(folder, change, message):
    """Columns and rows too few or too many, values that are missing or of another kind, and other subjects' rows."""
    table = pq.read_table(folder / "scores.parquet")
    pq.write_table(change(table), folder / "scores.parquet")
    with pytest.raises(RunFileError, match=message) as caught:
        read_run(folder)
    assert str(caught.value).startswith(f"{folder / 'scores.parquet'} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("texts", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_a_table_is_read_however_its_values_are_stored(folder, kind, texts):
    """As earlier releases wrote it, or another tool: what counts is what the values are, a few rows to a group."""
    run = read_run(folder)
    table = pq.read_table(folder / "scores.parquet")
    types = (*[pa.string()] * 3, texts, texts, kind, kind)
    table = table.cast(pa.schema(list(zip(SCORE_COLUMNS, types, strict=True)))) if texts != types[0] else table
    pq.write_table(table.select(SCORE_COLUMNS[::-1]), folder / "scores.parquet", row_group_size=3)
    assert read_run(folder) == run


def test_numbers_that_are_not_finite_are_read_and_make_their_metric_missing(folder):
    """A table may hold them, although none is written with them."""
    table = pq.read_table(folder / "scores.parquet")
    totals = pa.array([float("nan"), *([1.0] * (2 * N - 2)), float("inf")])
    pq.write_table(_with(table, "total", totals), folder / "scores.parquet")
    assert {name: len(metrics) for name, metrics in read_run(folder).not_finite().items()} == {"base": 1, "dpo": 1}


@pytest.mark.parametrize("n_bytes", [0, 3, 100, 1_000])
def test_a_table_that_was_cut_off_is_damaged(folder, n_bytes):
    """Wherever it ends."""
    content = (folder / "scores.parquet").read_bytes()
    (folder / "scores.parquet").write_bytes(content[:n_bytes])
    with pytest.raises(RunFileError, match=r"scores\.parquet is damaged"):
        read_run(folder)


def test_metrics_of_the_same_examples_share_their_ids(folder):
    """So that a run of many metrics and subjects holds them once."""
    one, other = (each.scores for each in read_run(folder).measurements)
    assert one.examples is other.examples
