"""Finds the rows of lm-eval's tasks: under the data root where it has them, else where the task says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.locate import locate
from harness.data.make import OverlapQuery, words
from harness.data.overlap import SHORTEST_SEARCHED_WORDS
from harness.data.row import DataError
from harness.models.hub import require_hub
from reports.plain_text import one_line
from suites.lm_eval.faults import told_in_one_line
from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import GROUP_COLUMNS, TaskSet, load_tasks
from suites.lm_eval.seeds import as_lm_eval_begins

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


def load_local_tasks(
    tasks: Iterable[str], *, data_root: Path | None, limit: int | None, seed: int, allow_code: bool = False
) -> TaskSet:
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
        allow_code=allow_code,
    )


def overlap_queries(loaded: TaskSet) -> dict[str, tuple[OverlapQuery, ...]]:
    """Task -> what training rows are searched for: one query for each of its rows, in order, also outside the sample.

    A query has no texts where a row names no question.
    """
    queries = {}
    for name, task in loaded.tasks.items():
        # Rows that are not measured were not tried either.
        with told_in_one_line(f"lm-eval task {one_line(name)}"), as_lm_eval_begins(loaded.random):
            queries[f"lm_eval/{name}"] = _queries(task)
    return queries


def not_checked(queries: Mapping[str, Sequence[OverlapQuery]]) -> list[str]:
    """A line on every task with rows that name no question, whose overlap with training rows is then not known."""
    lines = []
    for task, own in queries.items():
        n_without = sum(not query.texts for query in own)
        if n_without:
            which = "its rows name" if n_without == len(own) else f"{n_without} of its {len(own)} rows name"
            lines.append(f"overlap with {task}: not checked, because {which} no question in words")
    return lines


def _queries(task: Any) -> tuple[OverlapQuery, ...]:
    """The question of each row of a task: the column that is known to hold it, or else what the task asks.

    What a task asks is a prompt with words of its own around the row's ("Question: ... Answer:"), which would hide a
    short question; so the columns that stand in the prompt are searched for instead, where there are any.
    """
    rows = [row if isinstance(row, Mapping) else {} for row in task.eval_docs]
    known = [_question_column(row) for row in rows]
    if all(known):
        return tuple(OverlapQuery((row[column],)) for row, (column,) in zip(rows, known, strict=True))
    asked = [_asked(task, row) for row in task.eval_docs]
    columns = _columns_in(asked, rows)
    return tuple(
        OverlapQuery((row[column[0]],) if column else tuple(row[each] for each in columns if row.get(each)) or texts)
        for row, column, texts in zip(rows, known, asked, strict=True)
    )


def _question_column(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The column that holds the question; empty where no known column does."""
    return tuple(column for column in GROUP_COLUMNS if isinstance(row.get(column), str))[:1]


def _asked(task: Any, row: Any) -> tuple[str, ...]:
    """What a task asks of a row: its prompt, or without one its choices, or the text that it scores.

    Pictures, and the number of a choice, are no text.
    """
    prompt = task.doc_to_text(row)
    if isinstance(prompt, str) and words(prompt):
        return (prompt,)
    choices = task.doc_to_choice(row) if task.config.doc_to_choice is not None else ()
    texts = [each for each in (*choices, task.doc_to_target(row)) if isinstance(each, str)]
    return tuple(each for each in texts if len(words(each)) >= SHORTEST_SEARCHED_WORDS)


def _columns_in(asked: Sequence[tuple[str, ...]], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns whose texts stand in the prompts of most rows, and are their own: a subject's name repeats."""
    found: dict[str, list[str]] = {}
    for texts, row in zip(asked, rows, strict=True):
        prompt = " ".join(words(" ".join(texts)))
        for column, value in row.items():
            text = words(value) if isinstance(value, str) else ()
            if len(text) >= SHORTEST_SEARCHED_WORDS and " ".join(text) in prompt:
                found.setdefault(column, []).append(value)
    return tuple(column for column, values in found.items() if 2 * len(set(values)) > len(rows))


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
