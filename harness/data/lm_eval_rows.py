"""Where the rows of lm-eval's tasks are: under the data root where it has them, else where the task says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.locate import locate
from harness.data.make import OverlapQuery
from harness.data.row import DataError
from harness.models.hub import require_hub
from suites.lm_eval.files import TaskSource
from suites.lm_eval.tasks import GROUP_COLUMNS, LoadedTasks, load_tasks

EMBEDDED_TASKS = Path(__file__).parents[1] / "embedded" / "tasks"


@dataclass(frozen=True, slots=True)
class _Place:
    """A dataset that has the rows of a task."""

    dataset: str
    configuration: str
    split: str
    task_file: Path | None = None
    """Reads them as the task does, where its columns are not those of the task's own dataset."""


_MULTIPLE_CHOICE = _Place("truthfulqa/truthful_qa", "multiple_choice", "validation")
_PLACES = {
    "truthfulqa_mc1": (_MULTIPLE_CHOICE,),
    "truthfulqa_mc2": (_MULTIPLE_CHOICE,),
    "winogrande": (_Place("allenai/winogrande", "winogrande_xl", "validation"),),
    "arc_easy": (
        _Place("allenai/ai2_arc", "ARC-Easy", "test"),
        _Place("mosaicml/arc_easy-icl", "", "test", Path(__file__).with_name("arc_easy_icl.yaml")),
    ),
}
"""Task of lm-eval -> where a data root may have what it measures, the best first."""


def load_local_tasks(tasks: Iterable[str], *, data_root: Path | None, limit: int | None, seed: int) -> LoadedTasks:
    """The tasks with their rows; those of `_PLACES` from the data root where there is one.

    Raises:
        DataError: the data root lacks a task's rows.
        HubUnreachable: rows would have to come from the hub, and it does not answer.
        SuiteError: an unknown task, or a broken task file.
    """
    sources = [_source(task, data_root) for task in tasks]
    return load_tasks(
        sources,
        folders=(EMBEDDED_TASKS,),
        limit=limit,
        seed=seed,
        before_hub=lambda task: require_hub(f"the rows of lm-eval task {task} (not under a --data-root)"),
    )


def overlap_queries(loaded: LoadedTasks) -> dict[str, tuple[OverlapQuery, ...]]:
    """Task -> what training rows are searched for: the questions of all its rows, also those outside the sample."""
    return {
        f"lm_eval/{name}": tuple(
            OverlapQuery((row[column],)) for row in task.eval_docs for column in _question_column(row)
        )
        for name, task in loaded.tasks.items()
    }


def _question_column(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The column that holds the question, none where no known one does."""
    return tuple(column for column in GROUP_COLUMNS if isinstance(row.get(column), str))[:1]


def _source(task: str, data_root: Path | None) -> TaskSource:
    """The task, with its rows under the data root where it is known what they are called there."""
    if data_root is None or task not in _PLACES:
        return TaskSource(task)
    place, splits = _located(task, data_root)
    where = f"lm-eval task {task}: {place.dataset}, split {place.split},"
    if place.split not in splits:
        raise DataError(f"{where} is not in {data_root}; splits there are: {', '.join(splits) or 'none'}")
    if len(splits[place.split]) > 1:
        raise DataError(f"{where} must be one file, got {len(splits[place.split])}")
    return TaskSource(str(place.task_file or task), splits[place.split][0])


def _located(task: str, data_root: Path) -> tuple[_Place, Mapping[str, tuple[Path, ...]]]:
    """The first place that the data root has, and the files of its splits.

    Raises:
        DataError: it has none; about the task's own dataset.
    """
    problems = []
    for place in _PLACES[task]:
        try:
            return place, locate(data_root, place.dataset, place.configuration, None).files
        except DataError as error:
            problems.append(error)
    raise problems[0]
