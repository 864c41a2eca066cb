"""`lm-eval validate` by the rules of a suite: each file of the user's own is read, and its code is judged."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import filter as matching
from os import pathsep
from pathlib import Path
from typing import Any

from reports.paths import expanded
from reports.plain_text import one_line
from suites.lm_eval.faults import TaskLoadError, told_in_one_line
from suites.lm_eval.index import entries, find_entry, library


def validate_tasks(names: Sequence[str], include_path: str | None) -> None:
    """Checks that tasks exist, and that those which are not lm-eval's own name no code that is not allowed.

    lm-eval itself checks that the names exist. Call this within `task_code`.

    Args:
        names: Names of tasks, groups or tags, patterns of names, or YAML files.
        include_path: A folder of task files, or several with a colon between them.

    Raises:
        TaskCodeError: A file brings code that is not allowed.
        UnknownTaskError: A name is neither a task of lm-eval nor one of these folders.
        TaskLoadError: A file or a folder is missing or broken.
    """
    folders = tuple(_folders(include_path))
    for name in names:
        with told_in_one_line(f"lm-eval task {one_line(name)}"):
            for path in _files_of(name, folders):
                _check_file(path, folders, seen=set())


def _folders(include_path: str | None) -> Iterator[Path]:
    whole = [include_path] if include_path else []
    for each in whole if whole and expanded(whole[0]).is_dir() else (include_path or "").split(pathsep):
        if each and not expanded(each).is_dir():
            raise TaskLoadError(f"--include_path {one_line(each)} is no folder")
        if each:
            yield expanded(each).resolve()


def _files_of(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    """The files outside of lm-eval that a name stands for."""
    if name.endswith((".yaml", ".yml")):
        yield expanded(name)
        return
    found = [entries(folder)[each] for folder in (*folders, library()) for each in matching(entries(folder), name)]
    for entry in found or [find_entry(name, folders)]:
        if entry.yaml_path is not None and not entry.yaml_path.resolve().is_relative_to(library()):
            yield entry.yaml_path


def _check_file(path: Path, folders: Sequence[Path], *, seen: set[Path]) -> None:
    """Reads a task file with its functions, looks up its metrics, and does so for what it lists."""
    from lm_eval.tasks._yaml_loader import load_yaml  # reads a task file as lm-eval does

    if path.resolve() in seen:
        return
    seen.add(path.resolve())
    if not path.is_file():
        raise TaskLoadError(f"{one_line(str(path))}: no such file")
    config: Any = load_yaml(path, resolve_func=True)
    if not isinstance(config, Mapping):
        raise TaskLoadError(f"{one_line(str(path))}: a task file is a mapping")
    _check_metrics(config)
    members = config.get("task")
    for each in members if isinstance(members, list) else ():
        if isinstance(each, Mapping):
            _check_metrics(each)
        for inner in _files_of(each, folders) if isinstance(each, str) else ():
            _check_file(inner, folders, seen=seen)


def _check_metrics(config: Mapping[str, Any]) -> None:
    """Looks up the metrics of a task as lm-eval does when it makes one."""
    from lm_eval.api import task as lm_eval_task

    metrics = config.get("metric_list")
    if config.get("process_results") is not None or not isinstance(metrics, list):
        return
    for each in metrics:
        if isinstance(each, Mapping) and isinstance(each.get("metric"), str):
            lm_eval_task.get_metric(each["metric"], each.get("hf_evaluate") is True)
