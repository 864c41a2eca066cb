"""Finding task files, and giving tasks local rows."""

from pathlib import Path

import pytest

from suites.lm_eval.files import MissingRowsError, with_local_rows
from suites.lm_eval.index import find_entry


def load(path: Path) -> dict[str, object]:
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(path, resolve_func=False)


def test_a_local_file_takes_the_place_of_the_hub(tmp_path: Path) -> None:
    """All but the rows is the task's own; a training split that the file lacks is not asked for."""
    rows = tmp_path / "dev.jsonl"
    rows.write_text("{}\n")
    original = find_entry("winogrande", []).yaml_path

    wrapped, is_local = with_local_rows(original, rows, tmp_path / "wrapped.yaml")

    config, unchanged = load(wrapped), load(original)
    assert is_local
    assert tuple(config.pop(key) for key in ("dataset_path", "dataset_name", "training_split", "validation_split")) == (
        "json",
        None,
        None,
        "validation",
    )
    assert {"data_files": {"validation": str(rows)}} == config.pop("dataset_kwargs")
    assert {key: config[key] for key in unchanged if key in config} == {
        key: unchanged[key] for key in unchanged if key in config
    }
    assert (original, False) == with_local_rows(original, None, tmp_path / "other.yaml")


@pytest.mark.parametrize("files", ["rows.jsonl", "[rows.jsonl]", "{test: rows.jsonl, train: [rows.jsonl]}"])
def test_relative_rows_are_taken_from_the_folder_of_the_task_file(tmp_path: Path, files: str) -> None:
    """Any shape of data_files; addresses stay as they are."""
    (tmp_path / "rows.jsonl").write_text("{}\n")
    task = tmp_path / "task.yaml"
    task.write_text(f"task: mine\ndataset_path: json\ndataset_kwargs: {{data_files: {files}, field: null}}\n")

    wrapped, _ = with_local_rows(task, None, tmp_path / "wrapped.yaml")

    assert str(tmp_path / "rows.jsonl") in str(load(wrapped)["dataset_kwargs"])
    assert "'rows.jsonl'" not in str(load(wrapped)["dataset_kwargs"])
    task.write_text("task: mine\ndataset_path: json\ndataset_kwargs: {data_files: 'https://example.org/rows.jsonl'}\n")
    assert "https://example.org/rows.jsonl" in str(load(with_local_rows(task, None, wrapped)[0])["dataset_kwargs"])


def test_rows_that_are_not_there_are_named(tmp_path: Path) -> None:
    """The task and the path, before anything is loaded."""
    task = tmp_path / "task.yaml"
    task.write_text("task: mine\ndataset_path: json\ndataset_kwargs: {data_files: gone.jsonl}\n")

    with pytest.raises(MissingRowsError, match=r"task mine: there is no file .*gone\.jsonl"):
        with_local_rows(task, None, tmp_path / "wrapped.yaml")
