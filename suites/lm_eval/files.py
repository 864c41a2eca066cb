"""Task files: the rows that they name on this disk, found from any working folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.plain_text import one_line
from suites.inputs import SuiteError

LOCAL_FORMATS = ("json", "csv", "parquet", "text", "arrow")
"""File formats that `datasets` reads from local files."""


class MissingRowsError(SuiteError):
    """A local file that a task file names does not exist."""


@dataclass(frozen=True, slots=True)
class TaskSource:
    """A task and the source of its rows."""

    task: str
    """Name, or path of a YAML file."""
    data_file: Path | None = None
    """Local rows (JSON lines, also gzipped) in the columns of the task's dataset; None for the task's own rows."""


def with_local_rows(path: Path, data_file: Path | None, scratch: Path) -> tuple[Path, bool]:
    """Returns a task file whose local rows are found from any working folder, and whether its rows are local.

    Args:
        path: The task file.
        data_file: Rows that replace those of the task file; None keeps them.
        scratch: Path for a task file that includes `path` and differs only in its rows.

    Raises:
        MissingRowsError: A local file that the task names does not exist.
    """
    from lm_eval.tasks._yaml_loader import load_yaml  # reads a task file as lm-eval does

    config: dict[str, Any] = load_yaml(path, resolve_func=False)
    if data_file is not None:
        files = {"validation": str(data_file.resolve())}
        splits = {"training_split": None, "validation_split": "validation", "test_split": None, "fewshot_split": None}
        changes = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}, **splits}
        _check_files(str(config["task"]), files)
    else:
        changes = _local_changes(config, path.parent)
    if not changes:
        return path, False
    wrapped = {"include": str(path), "task": config["task"], **changes}
    scratch.write_text(json.dumps(wrapped, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
    return scratch, True


def with_absolute_rows(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the content of a group's file, with the local rows of the tasks in it taken from its folder.

    Raises:
        MissingRowsError: A local file that one of them names does not exist.
    """
    members = config.get("task")
    if not isinstance(members, list):
        return {**config, **_local_changes(config, folder)}
    return {
        **config,
        **_local_changes(config, folder),
        "task": [with_absolute_rows(each, folder) if isinstance(each, Mapping) else each for each in members],
    }


def rows_of(task: Any) -> str:
    """Says where the rows of a task of lm-eval come from: names of local files, or the dataset."""
    options = getattr(task.config, "dataset_kwargs", None) or {}
    if getattr(task.config, "dataset_path", None) in LOCAL_FORMATS and "data_files" in options:
        return ", ".join("/".join(Path(file).parts[-3:]) for file in _flat(options["data_files"]))
    return ":".join(filter(None, (task.DATASET_PATH, task.DATASET_NAME)))


def _local_changes(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What to change in a task's configuration so that its local rows are found; empty where they are not local."""
    options: Any = config.get("dataset_kwargs") or {}
    _check_offline(config, source=[config.get("dataset_path"), options])
    if config.get("dataset_path") not in LOCAL_FORMATS or "data_files" not in options:
        return {}
    files = _absolute(options["data_files"], folder)
    _check_files(str(config.get("task")), files)
    return {"dataset_kwargs": {**options, "data_files": files}}


def _check_files(task: str, files: Any) -> None:
    for file in _flat(files):
        if any(sign in file for sign in ("*", "://")):
            continue
        if not Path(file).is_file():
            raise MissingRowsError(f"lm-eval task {one_line(task)}: there is no file {one_line(file)}")
        if not Path(file).stat().st_size:
            raise MissingRowsError(f"lm-eval task {one_line(task)}: {one_line(file)} has no rows")


def _check_offline(config: Mapping[str, Any], source: Any) -> None:
    """Refuses rows at an address where the user works offline, before a library tries it again and again."""
    from huggingface_hub import is_offline_mode

    addresses = [name for name in _flat(source) if isinstance(name, str) and "://" in name]
    if addresses and is_offline_mode():
        raise MissingRowsError(
            f"lm-eval task {config.get('task')}: its rows are at {addresses[0]}, and HF_HUB_OFFLINE is set; fetch the "
            f"file, and name its place on this disk in the task file"
        )


def _absolute(files: Any, folder: Path) -> Any:
    """`data_files` of any shape (file, list, table by split) with absolute paths, relative ones from this folder."""
    if isinstance(files, Mapping):
        return {split: _absolute(file, folder) for split, file in files.items()}
    if isinstance(files, list):
        return [_absolute(file, folder) for file in files]
    return files if "://" in files else str((folder / files).resolve())


def _flat(files: Any) -> list[str]:
    if isinstance(files, Mapping):
        files = list(files.values())
    return [name for file in files for name in _flat(file)] if isinstance(files, list) else [files]
