"""Rows and files that would fill the memory are one line, and cost neither time nor memory."""

import gzip
import json
import resource
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from harness.config.limits import LARGEST_ROW, problem_of_row
from harness.config.schema import DatasetConfig
from harness.data import files
from harness.data.files import read_file
from harness.data.formats import parquet as parquet_rows
from harness.data.read import load_rows
from harness.data.row import DataError

MEBIBYTE = 2**20


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_line_that_inflates_without_end_is_refused_early(tmp_path: Path) -> None:
    """A gzip file of a few MiB with a line of 2 GiB: found after 8 MiB of it."""
    file = tmp_path / "bomb.jsonl.gz"
    packed = zlib.compressobj(level=1, wbits=31)
    head = packed.compress(b" " * 4 * MEBIBYTE) + packed.flush(zlib.Z_FULL_FLUSH)
    again = packed.compress(b" " * 4 * MEBIBYTE) + packed.flush(zlib.Z_FULL_FLUSH)
    file.write_bytes(head + again * 511)  # after a full flush equal bytes are packed equally; nobody reads to the end
    before = peak_bytes()
    with pytest.raises(DataError, match=r"bomb\.jsonl\.gz, line 1: a row must be smaller than 8 MiB"):
        list(read_file(file))
    assert peak_bytes() - before < 256 * MEBIBYTE


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".jsonl.gz"])
def test_a_file_has_a_largest_size_once_it_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Whatever its format; the message says what to do."""
    monkeypatch.setattr(files, "_LARGEST", dict.fromkeys(files._LARGEST, MEBIBYTE))
    file = tmp_path / f"rows{suffix}"
    text = "x" * 500
    content = "a,b\n" + f"1,{text}\n" * 4096 if suffix == ".csv" else f'{{"a": "{text}"}}\n' * 4096
    with gzip.open(file, "wt") if suffix.endswith(".gz") else file.open("w") as stream:
        stream.write(content)
    with pytest.raises(DataError, match="holds more than 1 MiB; split it"):
        list(read_file(file))


REPEATED = pa.DictionaryArray.from_arrays(pa.array([0] * 700, pa.int32()), pa.array(["x" * 7000]))


@pytest.mark.parametrize(
    "column",
    [
        REPEATED,
        REPEATED.dictionary_decode(),
        pa.FixedSizeListArray.from_arrays(REPEATED, 7),
        pa.array([[{"content": "x" * 7000}] * 7] * 100),
        pa.array([[("key", "x" * 7000)] * 7] * 100, pa.map_(pa.string(), pa.string())),
        pa.array([[None] * 7000] * 100),
    ],
    ids=["a dictionary", "texts", "lists", "structures", "maps", "nulls"],
)
def test_what_a_parquet_file_expands_to_has_a_largest_size(
    column: pa.Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that stands there once counts as often as rows have it, at any depth."""
    file = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"prompt": column}), file, compression="zstd")
    assert file.stat().st_size < 20_000
    n_rows = len(list(read_file(file)))
    assert n_rows == len(column)
    monkeypatch.setattr(parquet_rows, "LARGEST_FILE", 4 * MEBIBYTE)
    with pytest.raises(DataError, match=r"rows\.parquet: holds more than 4 MiB; split it"):
        list(read_file(file))
    monkeypatch.setattr(parquet_rows, "_BATCH_BYTES", 1)
    monkeypatch.setattr(parquet_rows, "LARGEST_FILE", 2**32)
    assert len(list(read_file(file))) == n_rows
    monkeypatch.setattr(parquet_rows, "_LARGEST_ROW", 1000)
    with pytest.raises(DataError, match=r"rows\.parquet, row 1: a row must be smaller than 8 MiB"):
        list(read_file(file))


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_a_row_has_a_largest_size_wherever_it_comes_from(tmp_path: Path, form: str) -> None:
    """Before anything is tokenised: in every format, and also where the size is that of many small texts."""
    row = {"prompt": "a", "chosen": "b" * LARGEST_ROW, "rejected": "c"}
    file = tmp_path / f"rows.{form}"
    if form == "parquet":
        parquet.write_table(pa.Table.from_pylist([row]), file)
    elif form == "csv":
        file.write_text("prompt,chosen\n" + f"a,{'b' * 1000}\n")
        row = {"prompt": "a", "chosen": ["b" * 1000] * 9000}
        assert problem_of_row(row) is not None
        return
    else:
        file.write_text(json.dumps(row if form == "jsonl" else [row]) + "\n")
    with pytest.raises(DataError, match="a row must be smaller than 8 MiB"):
        load_rows(DatasetConfig(str(file)), ("train",), None)


@pytest.mark.parametrize("depth", [100, 3000, 50_000])
def test_a_row_is_nested_only_so_deep(tmp_path: Path, depth: int) -> None:
    """Found where the file is read, whatever the parser itself can do."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": ' + "[" * depth + "]" * depth + "}\n")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1: nested deeper than 64 levels"):
        load_rows(DatasetConfig(str(file)), ("train",), None)


def test_ordinary_rows_are_within_the_limits() -> None:
    """A long conversation, and lists of numbers."""
    assert problem_of_row({"messages": [{"role": "user", "content": "x" * 1000}] * 500, "scores": [0.5] * 9999}) is None
