"""Finds the rows of lm-eval's tasks: under the data root where it has them, else where the task says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.locate import locate
from harness.data.make import OverlapQuery
from harness.data.row import DataError
from harness.models.hub import require_hub
from suites.lm_eval.files import TaskSource
from suites.lm_eval.tasks import GROUP_COLUMNS, TaskSet, load_tasks

EMBEDDED_TASKS = Path(__file__).parents[1] / "embedded" / "tasks"


@dataclass(frozen=True, slots=True)
class _TaskRows:
    """A dataset that has the rows of a task."""

    dataset: str
    configuration: str
    split: str
    task_file: Path | None = None
    """Task file that reads these columns as the task does; None where they are those of the task's own dataset."""


_MULTIPLE_CHOICE = _TaskRows("truthfulqa/truthful_qa", "multiple_choice", "validation")
_TASK_ROWS = {
    "truthfulqa_mc1": (_MULTIPLE_CHOICE,),
    "truthfulqa_mc2": (_MULTIPLE_CHOICE,),
    "winogrande": (_TaskRows("allenai/winogrande", "winogrande_xl", "validation"),),
    "arc_easy": (
        _TaskRows("allenai/ai2_arc", "ARC-Easy", "test"),
        _TaskRows("mosaicml/arc_easy-icl", "", "test", Path(__file__).with_name("arc_easy_icl.yaml")),
    ),
}
"""Task of lm-eval -> datasets of a data root that hold its rows, best first."""


def load_local_tasks(tasks: Iterable[str], *, data_root: Path | None, limit: int | None, seed: int) -> TaskSet:
    """Loads tasks with their rows; the tasks of `_TASK_ROWS` from the data root where one is given.

    Raises:
        DataError: The data root lacks the rows of a task.
        HubUnreachable: Rows would have to come from the hub, and it does not answer.
        SuiteError: A task is unknown, or its file is broken.
    """
    sources = [_source(task, data_root) for task in tasks]
    return load_tasks(
        sources,
        folders=(EMBEDDED_TASKS,),
        limit=limit,
        seed=seed,
        before_hub=lambda task: require_hub(f"the rows of lm-eval task {task} (not under a --data-root)"),
    )


def overlap_queries(loaded: TaskSet) -> dict[str, tuple[OverlapQuery, ...]]:
    """Task -> what training rows are searched for: the questions of all its rows, also those outside the sample."""
    return {
        f"lm_eval/{name}": tuple(
            OverlapQuery((row[column],)) for row in task.eval_docs for column in _question_column(row)
        )
        for name, task in loaded.tasks.items()
    }


def _question_column(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The column that holds the question; empty where no known column does."""
    return tuple(column for column in GROUP_COLUMNS if isinstance(row.get(column), str))[:1]


def _source(task: str, data_root: Path | None) -> TaskSource:
    """The task, with the file of its rows where the data root is known to have them."""
    if data_root is None or task not in _TASK_ROWS:
        return TaskSource(task)
    place, splits = _located(task, data_root)
    where = f"lm-eval task {task}: {place.dataset}, split {place.split},"
    if place.split not in splits:
        raise DataError(f"{where} is not in {data_root}; its splits are: {', '.join(splits) or 'none'}")
    if len(splits[place.split]) > 1:
        raise DataError(f"{where} must be one file, found {len(splits[place.split])}")
    return TaskSource(str(place.task_file or task), splits[place.split][0])


def _located(task: str, data_root: Path) -> tuple[_TaskRows, Mapping[str, tuple[Path, ...]]]:
    """The first dataset with the task's rows that the data root has, and split -> its files.

    Raises:
        DataError: It has none; the message is about the task's own dataset.
    """
    problems = []
    for place in _TASK_ROWS[task]:
        try:
            return place, locate(data_root, place.dataset, place.configuration, None).files
        except DataError as error:
            problems.append(error)
    raise problems[0]
