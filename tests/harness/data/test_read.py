"""Tests of where rows come from: the package, a data root, the hub; and of the choice of a split."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from harness.config.schema import DatasetConfig
from harness.data.read import load_rows
from harness.data.row import DataError
from harness.models import hub
from harness.models.hub import HubUnreachable


@pytest.fixture
def root(write_rows):
    """A data root with a dataset of three splits and one of a single split."""
    for split in ("train", "test", "extra"):
        write_rows(f"o/n/c/{split}.jsonl", [{"split": split}, {"split": split}])
    return write_rows("o/single/odd.jsonl", [{"split": "odd"}]).parents[2]


def test_rows_carry_place_and_source(root):
    """Each row knows its file and line, and the part of the dataset it is of."""
    read = load_rows(DatasetConfig("o/n:c"), ("test",), root)
    assert [row.where for row in read.rows] == [f"{root}/o/n/c/test.jsonl, line {n}" for n in (1, 2)]
    assert {row.source for row in read.rows} == {"c"}
    assert (read.split, set(read.splits)) == ("test", {"train", "test", "extra"})
    assert read.origin == "o/n:c, split test, o/n/c/test.jsonl"
    assert load_rows(DatasetConfig("o/single"), (), root).rows[0].source == "single"


@pytest.mark.parametrize(
    ("split", "wanted", "picked"),
    [(None, ("validation", "test"), "test"), ("extra", ("test",), "extra"), (None, ("train",), "train")],
)
def test_the_split_named_goes_before_the_first_one_wanted(root, split, wanted, picked):
    """A named split is taken, or else the first of those wanted that is there."""
    assert load_rows(DatasetConfig("o/n:c", split=split), wanted, root).split == picked


def test_an_only_split_is_taken_whatever_its_name(root):
    """A dataset of one split needs no choice."""
    read = load_rows(DatasetConfig("o/single"), ("train",), root)
    assert (read.split, read.splits) == ("odd", ("odd",))


def test_a_missing_split_is_an_error_that_lists_the_splits(root):
    """Neither a named split nor a preferred one is replaced silently."""
    with pytest.raises(DataError, match=r"no split dev in data root .*: extra, test, train"):
        load_rows(DatasetConfig("o/n:c", split="dev"), (), root)
    with pytest.raises(DataError, match=r"none of the splits dev .* name one as `split`: extra, test, train"):
        load_rows(DatasetConfig("o/n:c"), ("dev",), root)


def test_a_revision_that_cannot_be_checked_is_said(root):
    """Plain folders do not tell which revision they are of."""
    read = load_rows(DatasetConfig("o/single", revision="abc"), (), root)
    assert read.origin.endswith("(revision abc could not be checked)")


def test_the_snapshot_read_is_said(write_rows):
    """The hub client's folders tell the commit."""
    root = write_rows("datasets--o--n/snapshots/abc/data/test-00000-of-00002.jsonl", [{"x": "1"}]).parents[4]
    write_rows("datasets--o--n/snapshots/abc/data/test-00001-of-00002.jsonl", [{}])
    read = load_rows(DatasetConfig("o/n"), (), root)
    assert read.origin.endswith("snapshots/abc/data/test-00000-of-00002.jsonl and 1 more, revision abc")
    assert len(read.rows) == 2


def test_a_data_root_that_lacks_the_dataset_never_goes_to_the_hub(root, monkeypatch):
    """With a data root the hub is not asked."""
    monkeypatch.setattr("harness.data.read.require_hub", lambda _what: pytest.fail("the hub was asked"))
    with pytest.raises(DataError, match="does not hold o/other"):
        load_rows(DatasetConfig("o/other"), ("train",), root)


def test_embedded_data_comes_from_the_package_alone(root, write_rows):
    """A data root can neither replace nor add embedded data."""
    write_rows("embedded/preferences/train.jsonl", [{"planted": "yes"}])
    read = load_rows(DatasetConfig("embedded/preferences"), ("train",), root)
    assert all("planted" not in row.columns for row in read.rows)
    with pytest.raises(DataError, match="does not hold embedded/nothing"):
        load_rows(DatasetConfig("embedded/nothing"), ("train",), root)


def test_a_broken_line_of_a_data_root_is_an_error_with_file_and_line(root):
    """The error of the file reader is passed on."""
    (root / "o/single/odd.jsonl").write_text('{"a": 1}\n{"a"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"odd\.jsonl, line 2: not valid JSON"):
        load_rows(DatasetConfig("o/single"), (), root)


def test_an_unreachable_hub_is_reported_in_time(monkeypatch):
    """One line within 15 s, which names --data-root and the offline switch."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    started = time.perf_counter()
    with pytest.raises(HubUnreachable) as caught:
        load_rows(DatasetConfig("Anthropic/hh-rlhf:helpful-base"), ("train",), None)
    assert time.perf_counter() - started < 15
    message = str(caught.value)
    assert "Anthropic/hh-rlhf:helpful-base" in message
    assert "--data-root" in message
    assert "HF_HUB_OFFLINE=1" in message
    assert len(message.splitlines()) == 1


@pytest.fixture
def reachable(monkeypatch):
    """A hub that answers, and a record of what `datasets` is asked for."""
    import datasets

    calls = []

    def load_dataset(path, **options):
        calls.append((path, options))
        if path == "o/none":
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'o/none' doesn't exist\non the Hub")
        return {"train": [{"x": "1"}], "test": [{"x": "2"}]}

    monkeypatch.setattr("harness.data.read.require_hub", lambda _what: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


@pytest.mark.parametrize(("folders", "key"), [(False, "name"), (True, "data_dir")])
def test_the_hub_is_asked_for_configuration_and_revision(reachable, folders, key):
    """A configuration goes to `datasets` by its name, or as a folder where the dataset has folders."""
    read = load_rows(DatasetConfig("o/n:c", revision="r"), ("test",), None, folder_configurations=folders)
    assert reachable == [("o/n", {key: "c", "revision": "r"})]
    assert read.origin == "o/n:c, split test, hub, revision r"
    assert [(row.where, row.columns) for row in read.rows] == [("o/n:c, split test, row 1", {"x": "2"})]


def test_what_the_hub_has_not_is_one_line(reachable):
    """The line contains the library's own reason."""
    with pytest.raises(DataError) as caught:
        load_rows(DatasetConfig("o/none"), ("test",), None)
    assert "dataset o/none cannot be read from the hub: Dataset 'o/none' doesn't exist; --data-root" in str(
        caught.value
    )
    assert reachable == [("o/none", {"revision": None})]


def test_offline_a_dataset_in_the_cache_of_datasets_is_read(tmp_path, write_rows):
    """With HF_HUB_OFFLINE=1 what `datasets` prepared before is used, and what it did not is one line."""
    import datasets

    # What preparing o/n leaves in the cache, except for the names of the folder and the file.
    rows = write_rows("rows.jsonl", [{"prompt": "Hello?", "kind": "greeting"}])
    datasets.load_dataset("json", data_files=str(rows), cache_dir=str(tmp_path / "built"))
    (prepared,) = (tmp_path / "built").glob("json/*/*/*/")
    cache = tmp_path / "o___n" / "default" / "0.0.0" / ("0" * 40)
    shutil.copytree(prepared, cache)
    (cache / "json-train.arrow").rename(cache / "n-train.arrow")
    program = (
        "from harness.config.schema import DatasetConfig\n"
        "from harness.data.read import load_rows\n"
        "from reports.errors import UserError\n"
        "read = load_rows(DatasetConfig('o/n'), ('train',), None)\n"
        "print(read.origin, dict(read.rows[0].columns))\n"
        "try:\n    load_rows(DatasetConfig('o/missing'), ('train',), None)\n"
        "except UserError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path), "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "o/n, split train, cache of the hub, revision main {'prompt': 'Hello?', 'kind': 'greeting'}"
    assert "o/missing cannot be read from the hub's cache (HF_HUB_OFFLINE is set)" in second
    assert "--data-root" in second


def test_a_script_on_the_hub_is_one_line_with_a_way_out(monkeypatch, reachable):
    """Datasets that are scripts are not run; the hub's own conversion of their rows has another revision."""
    import datasets

    def refuse(path, **_options):
        raise RuntimeError(f"Dataset scripts are no longer supported, but found {path}.py")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"no longer supported.*revision: refs/convert/parquet may have its rows"):
        load_rows(DatasetConfig("o/n"), ("test",), None)
    assert reachable == []


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".jsonl.gz", ".parquet"])
def test_a_file_is_a_dataset_of_one_split(tmp_path, monkeypatch, root, suffix):
    """A name that ends as a file does is read from this disk, whatever the data root; its rows are of that file."""
    path = write_file(tmp_path / f"my_pairs{suffix}", [{"prompt": "Q", "chosen": "x", "rejected": "y"}])
    monkeypatch.chdir(tmp_path)
    for name in (str(path), f"my_pairs{suffix}", f"./my_pairs{suffix}"):
        read = load_rows(DatasetConfig(name), ("test",), root)
        assert (read.split, read.splits) == ("train", ("train",))
        assert read.origin == f"{name}, split train"
        assert [(dict(row.columns), row.source) for row in read.rows] == [
            ({"prompt": "Q", "chosen": "x", "rejected": "y"}, "my_pairs")
        ]


def test_a_folder_has_the_splits_that_its_files_are_named_by(root, monkeypatch):
    """Paths to folders are read as data roots are, split by file name."""
    monkeypatch.chdir(root)
    read = load_rows(DatasetConfig("./o/n/c"), ("test",), None)
    assert (read.split, set(read.splits), read.rows[0].source) == ("test", {"train", "test", "extra"}, "c")


def test_local_names_that_lead_nowhere(tmp_path):
    """A missing file, an empty folder and a file of another format have different errors."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").touch()
    for name, words in (
        ("none.jsonl", "no such file or folder"),
        ("empty/", "holds no file of rows"),
        ("x.txt", "must end in one of"),
    ):
        with pytest.raises(DataError, match=words):
            load_rows(DatasetConfig(f"{tmp_path}/{name}"), (), None)


def test_a_reading_is_no_part_of_where_rows_are(write_rows):
    """The text after the # decides how rows are read, not which rows."""
    root = write_rows("o/n/test.jsonl", [{"x": "1"}]).parents[2]
    read = load_rows(DatasetConfig("o/n#better"), (), root)
    assert read.origin == "o/n#better, split test, o/n/test.jsonl"


def write_file(path, rows):
    """Writes rows of text in the format of the file's name."""
    import csv
    import gzip
    import json

    import pyarrow as pa
    from pyarrow import parquet

    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
        return path
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8", newline="") as stream:
        if path.suffix == ".csv":
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        elif path.suffix == ".json":
            json.dump(rows, stream)
        else:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_offline_a_dataset_in_the_cache_of_the_hub_is_read(tmp_path):
    """With HF_HUB_OFFLINE=1 downloaded files serve, of the revision wanted, without a data root or `datasets`."""
    repository = tmp_path / "hub/datasets--HuggingFaceH4--ultrafeedback_binarized"
    for commit, text in (("aaa", "old"), ("bbb", "new")):
        files = repository / "snapshots" / commit / "data"
        files.mkdir(parents=True)
        conversations = {
            side: [{"role": "user", "content": "Q"}, {"role": "assistant", "content": f"{text} {side}"}]
            for side in ("chosen", "rejected")
        }
        write_file(files / "train_prefs-00000-of-00001.parquet", [conversations])
        write_file(files / "test_prefs.jsonl", [conversations])
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("bbb", encoding="utf-8")
    program = (
        "import sys\n"
        "from harness.config.schema import DatasetConfig\n"
        "from harness.data.load import load_pairs\n"
        "from reports.errors import UserError\n"
        "name = 'HuggingFaceH4/ultrafeedback_binarized'\n"
        "for revision, purpose in ((None, 'training'), (None, 'measuring'), ('aaa', 'training')):\n"
        "    dataset = DatasetConfig(name, revision=revision)\n"
        "    loaded = load_pairs(dataset, data_root=None, purpose=purpose)\n"
        "    print(loaded.split, loaded.rows[0].chosen, loaded.origin.rpartition(', ')[2], sep='; ')\n"
        "try:\n    load_pairs(DatasetConfig(name, revision='ccc'), data_root=None)\n"
        "except UserError as error:\n    print(error)\n"
        "print('datasets' in sys.modules)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_CACHE", "HF_DATASETS_CACHE")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    newest, measured, older, unknown, used_datasets = done.stdout.splitlines()
    assert newest == "train_prefs; new chosen; revision bbb"
    assert measured == "test_prefs; new chosen; revision bbb"
    assert older == "train_prefs; old chosen; revision aaa"
    assert "no snapshot ccc; snapshots there are: aaa, bbb" in unknown
    assert used_datasets == "False"
