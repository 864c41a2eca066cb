"""Tests of finding files below a data root: an index, folders of the hub client, plain folders."""

import pytest

from harness.data.locate import locate
from harness.data.row import DataError
from reports.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def place(tmp_path):
    """Puts empty files below a data root and returns the root."""

    def put(*names, folder="root"):
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / folder

    return put


def files(located, root):
    """Split -> file names relative to the root."""
    return {split: [str(path.relative_to(root)) for path in paths] for split, paths in located.files.items()}


def test_the_index_names_files_by_configuration_and_split(place):
    """`datasets.yaml` is looked up under name and configuration."""
    root = place("a/x.jsonl", "a/y.jsonl")
    (root / "datasets.yaml").write_text("o/n:c:\n  train: a/x.jsonl\n  test: a/y.jsonl\n", encoding="utf-8")
    assert files(locate(root, "o/n", "c", None), root) == {"train": ["a/x.jsonl"], "test": ["a/y.jsonl"]}


def test_without_a_configuration_the_index_gives_all_that_are_folders(place):
    """As on the hub, a dataset whose configurations are folders is all of them; others have to name one."""
    root = place("a/x.jsonl", "b/x.jsonl", "b/y.jsonl")
    (root / "datasets.yaml").write_text("o/n:a: {train: a/x.jsonl}\no/n:b: {train: b/x.jsonl, test: b/y.jsonl}\n")
    located = locate(root, "o/n", "", None, folder_configurations=True)
    assert files(located, root) == {"train": ["a/x.jsonl", "b/x.jsonl"], "test": ["b/y.jsonl"]}
    with pytest.raises(DataError, match="does not hold o/n"):
        locate(root, "o/n", "", None)


@pytest.mark.parametrize(
    ("names", "configuration", "expected"),
    [
        (
            ["data/train_prefs-00000-of-00001.parquet", "data/test_prefs-00000-of-00001-b42a775f407cee45.parquet"],
            "",
            {"train_prefs": 1, "test_prefs": 1},
        ),
        (["c/train-00000-of-00002.parquet", "c/train-00001-of-00002.parquet"], "c", {"train": 2}),
        (["c/validation-00000-of-00001.parquet", "other/validation-00000-of-00001.parquet"], "c", {"validation": 1}),
        (["c/test.jsonl.gz", "c/train.jsonl.gz", "red/attempts.jsonl.gz"], "c", {"test": 1, "train": 1}),
        (["data/Alpaca-7B/test.jsonl", "data/Alpaca2-7B/test.jsonl"], "alpaca-7b", {"test": 1}),
        (["data/Alpaca-7B/test.jsonl", "data/Alpaca2-7B/test.jsonl"], "", {"test": 2}),
        (
            ["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"],
            "",
            {"train": 2, "test": 1},
        ),
        (["c/train/0000.parquet", "d/train/0000.parquet"], "c", {"train": 1}),
        (["c.jsonl", "d.jsonl"], "c", {"train": 1}),
        (["train.csv", "README.md", ".gitattributes", "dataset_infos.txt"], "", {"train": 1}),
    ],
)
@pytest.mark.parametrize(
    "folder", ["o/n", f"datasets--o--n/snapshots/{COMMIT}", f"hub/datasets--o--n/snapshots/{COMMIT}"]
)
def test_layouts_of_the_hub(place, folder, names, configuration, expected):
    """Files are found by split in the usual layouts, in the client's folders and in plain ones."""
    root = place(*(f"{folder}/{name}" for name in names))
    located = locate(root, "o/n", configuration, None)
    assert {split: len(paths) for split, paths in located.files.items()} == expected
    assert located.revision == (COMMIT if "snapshots" in folder else None)


def test_a_split_that_lacks_a_file_is_not_read(place):
    """A download that was broken off must not pass for the whole."""
    root = place("o/n/train-00000-of-00003.parquet", "o/n/train-00002-of-00003.parquet", "o/n/test.parquet")
    with pytest.raises(DataError, match="split train has 2 of its 3 files"):
        locate(root, "o/n", "", None)


def test_the_snapshot_is_the_one_named_or_what_main_points_at(place):
    """Of several snapshots a commit, a branch, or refs/main decides; without any it is an error."""
    root = place(*(f"datasets--o--n/snapshots/{commit}/train.jsonl" for commit in ("aaa", "bbb")))
    with pytest.raises(DataError, match="several snapshots and no refs/main"):
        locate(root, "o/n", "", None)
    assert locate(root, "o/n", "", "aaa").revision == "aaa"
    (root / "datasets--o--n/refs").mkdir()
    (root / "datasets--o--n/refs/main").write_text("bbb", encoding="utf-8")
    assert locate(root, "o/n", "", None).revision == "bbb"
    assert locate(root, "o/n", "", "main").revision == "bbb"
    with pytest.raises(DataError, match="no snapshot ccc; snapshots there are: aaa, bbb"):
        locate(root, "o/n", "", "ccc")


def test_links_into_the_clients_blobs_are_followed(place):
    """The client keeps contents in blobs/ and links to them."""
    root = place("datasets--o--n/blobs/123")
    snapshot = root / "datasets--o--n/snapshots/aaa"
    snapshot.mkdir(parents=True)
    (snapshot / "train.jsonl").symlink_to("../../blobs/123")
    assert locate(root, "o/n", "", None).files["train"][0].is_file()


def test_a_missing_dataset_is_an_error_that_lists_the_datasets(place):
    """The error lists names of the index and of the client's folders, and the nearest one."""
    root = place("a/x.jsonl", "datasets--p--q/snapshots/aaa/train.jsonl")
    (root / "datasets.yaml").write_text("o/nn:\n  train: a/x.jsonl\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        locate(root, "o/n", "", None)
    assert "does not hold o/n (did you mean o/nn?); it holds: o/nn, p/q" in str(caught.value)


def test_a_long_list_is_cut(place):
    """Only the first few names are listed."""
    root = place("x.jsonl")
    (root / "datasets.yaml").write_text("".join(f"a/{n}: {{t: x.jsonl}}\n" for n in range(10, 30)), encoding="utf-8")
    with pytest.raises(DataError, match=r"a/17 and 12 more$"):
        locate(root, "zzz", "", None)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("o/n: {train: ../secret.jsonl}", "must lie inside"),
        ("o/n: {train: /etc/passwd}", "must lie inside"),
        ("o/n: x.jsonl", "must be a mapping of splits to files"),
        ("o/n: {train: [x.jsonl]}", "must be a mapping of splits to files"),
        ("- o/n", "a mapping of keys to values is needed"),
        ("o/n: [", "not valid YAML"),
    ],
)
def test_a_wrong_index(place, index, words):
    """Paths that leave the folder and shapes that are none are errors that name the index."""
    root = place("x.jsonl")
    (root / "datasets.yaml").write_text(index, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        locate(root, "o/n", "", None)
    assert words in str(caught.value)
    assert "datasets.yaml" in str(caught.value)


def test_a_missing_or_empty_data_root(tmp_path):
    """A missing folder and an empty one have different errors."""
    with pytest.raises(DataError, match="no such folder"):
        locate(tmp_path / "nope", "o/n", "", None)
    with pytest.raises(DataError, match="it holds: no dataset"):
        locate(tmp_path, "o/n", "", None)
