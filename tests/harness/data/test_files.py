"""Tests of reading one file: every format gives the same rows, and every error names the place."""

import codecs
import csv
import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from harness.data.files import SUFFIXES, read_file
from harness.data.row import DataError

ROWS = [
    {"question": "Is it, really?", "answer": "1"},
    {"question": 'Say "no"\nor yes', "answer": "02"},
    {"question": "naïve\u2028\x85 …", "answer": ""},
]


def write(path, rows):
    """Writes the rows in the format of the file's name."""
    suffix = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
    if suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        return path
    with (gzip.open if suffix.endswith(".gz") else open)(path, "wt", encoding="utf-8", newline="") as stream:
        if ".csv" in suffix or ".tsv" in suffix:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if ".tsv" in suffix else ",")
            writer.writeheader()
            writer.writerows(rows)
        elif ".jsonl" in suffix or ".ndjson" in suffix:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows)
        else:
            json.dump(rows, stream, indent=1)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    """Values come back as they were written; an answer "1" stays text even in CSV."""
    path = write(tmp_path / f"rows{suffix}", ROWS)
    assert [row for _, row in read_file(path)] == ROWS


def test_lines_are_counted_as_an_editor_does(tmp_path):
    """Blank lines count, and the separators inside a text do not."""
    path = write(tmp_path / "rows.jsonl", ROWS)
    assert [where for where, _ in read_file(path)] == ["line 1", "line 3", "line 5"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([9 * 10**15], pa.timestamp("ms")),
        pa.array([2**30], pa.int32()).cast(pa.date32()),
        pa.array([0], pa.timestamp("s", tz="Mars/Olympus")),
        pa.array([b"\xff\xfe"]).view(pa.string()),
    ],
    ids=["a time after 9999", "a day after 9999", "an unknown time zone", "no UTF-8"],
)
def test_values_of_parquet_that_python_lacks_are_named(tmp_path, values):
    """One line with the column, not an error of a library."""
    parquet.write_table(pa.table({"prompt": ["Is it?"], "at": values}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="column 'at' holds values that cannot be read"):
        list(read_file(tmp_path / "rows.parquet"))


def test_a_column_of_parquet_stands_once(tmp_path):
    """The last of two columns of one name would win."""
    table = pa.Table.from_arrays([pa.array(["yes"]), pa.array(["no"])], names=["chosen", "chosen"])
    parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="'chosen' occurs twice"):
        list(read_file(tmp_path / "rows.parquet"))


def test_json_lines_under_the_name_json(tmp_path):
    """Some datasets call JSON Lines .json."""
    path = tmp_path / "rows.json"
    path.write_text('{"a": 1}\n{"a": 2}\n', encoding="utf-8")
    assert [row for _, row in read_file(path)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.json.gz"])
@pytest.mark.parametrize(
    "content", ['[{"a": 1}, {"a": 2}]', ' [\n{"a": 1},\n{"a": 2}]', '{"a": 1}\n{"a": 2}\n', '\n{"a": 1}\n{"a": 2}']
)
def test_a_byte_order_mark_is_no_character_of_the_file(tmp_path, name, content):
    """Editors on Windows write one; lists and lines of JSON are told apart behind it."""
    if name == "x.jsonl" and "[" in content:
        content = content.strip(" [],\n").replace(",", "\n")
    packed = codecs.BOM_UTF8 + content.encode()
    (tmp_path / name).write_bytes(gzip.compress(packed) if name.endswith(".gz") else packed)
    assert [row for _, row in read_file(tmp_path / name)] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b'{"a": 1}\n\n{"a": }\n', "x.jsonl, line 3: not valid JSON (Expecting value at column 7)"),
        ("x.jsonl", b'{"a": 1}\n[1]\n', "x.jsonl, line 2: a row must be a JSON object, got [1]"),
        ("x.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', "x.jsonl, line 2: not UTF-8"),
        ("x.json", b'[{"a": 1},\n 3]', "x.json, row 2: a row must be a JSON object, got 3"),
        ("x.json", b'[{"a": 1},\n {]', "x.json: not valid JSON"),
        ("x.json", b"[" * 100_000, "nested deeper than 64 levels"),
        ("x.csv", b"a,b\n1,2\n3\n", "x.csv, line 3: must have 2 values, one a column, got 1"),
        ("x.csv", b"a,b\n1,2,3\n", "x.csv, line 2: must have 2 values"),
        ("x.csv", b'a,b\n1,"2"x\n', "not valid CSV"),
        ("x.csv", b"a,b\n1,\xe9\n", "not valid CSV"),
        ("x.jsonl.gz", b'{"a": 1}\n', "x.jsonl.gz: not a whole gzip file"),
        ("x.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "x.jsonl.gz: not a whole gzip file"),
        ("x.parquet", b"PAR1", "x.parquet: not a valid Parquet file"),
        ("x.txt", b"a", "must end in one of .jsonl, .jsonlines, .ndjson, .json"),
        ("x.csv", b"a,b,a\n1,2,3\n", "x.csv, its first line: 'a' occurs twice"),
        ("x.tsv", b"a\ta\n1\t2\n", "x.tsv, its first line: 'a' occurs twice"),
        ("x.csv", b'"a\n', "x.csv, "),
        ("x.jsonl", b'{"a": 1, "b": 2, "a": 3}\n', "x.jsonl, line 1: 'a' occurs twice"),
        ("x.json", b'[{"a": {"c": 1, "c": 2}}]', "x.json: 'c' occurs twice"),
        ("x.jsonl", b'{"a": ' + b"9" * 5000 + b"}\n", "x.jsonl, line 1: a number with too many digits"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(tmp_path, name, content, words):
    """File, line and what is wrong."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_file(path))
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_error_of_a_library_is_one_line(tmp_path, monkeypatch):
    """Arrow tells of a damaged page in several."""

    def damaged(*_):
        raise OSError("Couldn't deserialize thrift\nDeserializing page header failed.\n")

    path = write(tmp_path / "rows.parquet", ROWS)
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", damaged)
    with pytest.raises(DataError) as caught:
        list(read_file(path))
    assert str(caught.value) == f"{path}: cannot be read (Couldn't deserialize thrift)"


def test_a_damaged_page_of_parquet_is_one_line(tmp_path):
    """Whatever a library says on several."""
    table = pa.table({"prompt": [f"Is it {number}?" for number in range(999)]})
    parquet.write_table(table, tmp_path / "rows.parquet", compression="none")
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    content[4:24] = b"\xff" * 20
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.parquet: cannot be read") as caught:
        list(read_file(tmp_path / "rows.parquet"))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder(tmp_path):
    """A path that is not a file has its own error."""
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("x.jsonl", "folder.jsonl"):
        with pytest.raises(DataError, match="no such file"):
            list(read_file(tmp_path / name))
