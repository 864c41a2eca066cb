"""Finds the file of an lm-eval task and points a task to local rows."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reports.paths import expanded
from suites.inputs import SuiteError

LOCAL_FORMATS = ("json", "csv", "parquet", "text", "arrow")
"""File formats that `datasets` reads from local files."""
_NAME = re.compile(rb"^task:[ \t]*['\"]?([\w.+-]+)", re.MULTILINE)
_COLLECTION = re.compile(rb"^(?:group|tag):((?:[ \t]*[\w.+-]+)|(?:\s*\n\s*- [\w.+-]+)+)", re.MULTILINE)


class UnknownTaskError(SuiteError):
    """A name is neither a task of lm-eval nor a task file."""


class MissingRowsError(SuiteError):
    """A local file that a task file names does not exist."""


@dataclass(frozen=True, slots=True)
class TaskSource:
    """A task and the source of its rows."""

    task: str
    """Name, or path of a YAML file."""
    data_file: Path | None = None
    """Local rows (JSON lines, also gzipped) in the columns of the task's dataset; None for the task's own rows."""


def find_task(name: str, folders: Sequence[Path]) -> Path | None:
    """Returns the file of a task; None for a group or tag of lm-eval, which has many.

    Args:
        name: Name, or path of a YAML file.
        folders: Folders of task files, searched before lm-eval's own.

    Raises:
        UnknownTaskError: Names tasks of similar spelling, or the file that does not exist.
    """
    if name.endswith((".yaml", ".yml")):
        path = expanded(name).resolve()
        if not path.is_file():
            raise UnknownTaskError(f"there is no lm-eval task file {name}")
        return path
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    library = Path(spec.origin).parent / "tasks"
    # Most tasks are in a folder that their name begins with; reading all of lm-eval's thousands of files takes seconds.
    for folder in (*folders, library / name.partition("_")[0], library):
        if name in _tasks_in(folder):
            return _tasks_in(folder)[name]
    if name in _collections_in(library):
        return None
    known = [task for folder in (*folders, library) for task in _tasks_in(folder)]
    alike = ", ".join(get_close_matches(name, known, n=3))
    raise UnknownTaskError(
        f"lm-eval knows no task {name!r}{f' (did you mean {alike}?)' if alike else ''}; give a name or a YAML file"
    )


def with_local_rows(path: Path, data_file: Path | None, scratch: Path) -> tuple[Path, str | None]:
    """Returns a task file whose local rows are found from any working folder.

    Args:
        path: The task file.
        data_file: Rows that replace those of the task file; None keeps them.
        scratch: Path for a task file that includes `path` and differs only in its rows.

    Returns:
        The task file to load, and a name for its local rows; None where they are not local.

    Raises:
        MissingRowsError: A local file that the task names does not exist.
    """
    from lm_eval.tasks._yaml_loader import load_yaml  # reads a task file as lm-eval does

    config: dict[str, Any] = load_yaml(path, resolve_func=False)
    options: dict[str, Any] = config.get("dataset_kwargs") or {}
    _check_offline(config, source=[] if data_file is not None else [config.get("dataset_path"), options])
    changes: dict[str, Any]
    if data_file is not None:
        files: Any = {"validation": str(data_file.resolve())}
        splits = {"training_split": None, "validation_split": "validation", "test_split": None, "fewshot_split": None}
        changes = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}, **splits}
    elif config.get("dataset_path") in LOCAL_FORMATS and "data_files" in options:
        files = _absolute(options["data_files"], path.parent)
        changes = {"dataset_kwargs": {**options, "data_files": files}}
    else:
        return path, None
    for file in _flat(files):
        if not any(sign in file for sign in ("*", "://")) and not Path(file).is_file():
            raise MissingRowsError(f"lm-eval task {config['task']}: there is no file {file}")
    wrapped = {"include": str(path), "task": config["task"], **changes}
    scratch.write_text(json.dumps(wrapped, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
    return scratch, ", ".join("/".join(Path(file).parts[-3:]) for file in _flat(files))


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


@cache
def _tasks_in(folder: Path) -> dict[str, Path]:
    """Task name -> file, for all task files in a folder and its subfolders."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.yaml")):
        for name in _NAME.findall(path.read_bytes()):
            found.setdefault(name.decode(), path)
    return found


@cache
def _collections_in(folder: Path) -> frozenset[str]:
    """Names of all groups and tags in a folder and its subfolders."""
    lines = (match for path in folder.rglob("*.yaml") for match in _COLLECTION.findall(path.read_bytes()))
    return frozenset(name for line in lines for name in re.findall(r"[\w.+-]{2,}", line.decode()))
