"""Loads lm-eval's tasks with their rows, and tries them, before anything is computed."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reports.paths import expanded
from reports.plain_text import one_line
from suites.inputs import content_id
from suites.lm_eval.faults import TaskLoadError, told_in_one_line
from suites.lm_eval.files import TaskSource, rows_of, with_absolute_rows, with_local_rows
from suites.lm_eval.index import UnknownTaskError, entry_or_none, find_entry
from suites.lm_eval.rehearsal import rehearse, rehearse_group
from suites.lm_eval.seeds import RandomState, as_lm_eval_begins, few_shot_seed
from suites.lm_eval.task_code import task_code

GROUP_COLUMNS = ("passage", "question", "sentence", "query")
"""Columns that make a row's group, the first that it has; Winogrande's twins are found by their qID instead."""


@dataclass(frozen=True, slots=True)
class TaskSet:
    """Tasks with their rows, ready for any number of subjects."""

    tasks: Mapping[str, Any]
    """Name -> lm-eval's task."""
    sampled: Mapping[str, list[int]]
    """Name -> indices of the rows to measure, in lm-eval's order; empty where all rows are measured."""
    rows_from: Mapping[str, str]
    """Name -> source of its rows."""
    groups: Mapping[str, Any] = field(default_factory=dict)
    """Name -> lm-eval's group, also of those within another one."""
    random: RandomState | None = field(default=None, compare=False)
    """Where lm-eval's global generators stand when the tasks are loaded."""
    n_seen: Mapping[str, int] = field(default_factory=dict)
    """Name -> number of rows that are not measured because they were trained on."""


def load_tasks(
    sources: Sequence[TaskSource],
    *,
    folders: Sequence[Path] = (),
    limit: int | None = None,
    seed: int = 0,
    before_hub: Callable[[str], object] | None = None,
    allow_code: bool = False,
) -> TaskSet:
    """Finds the tasks, reads their rows and tries each row, once for all subjects.

    Shots are drawn by lm-eval's own seed, so that they are those of lm-eval.

    Args:
        sources: Tasks; a group or tag of lm-eval stands for all of its tasks.
        folders: Folders of task files that are known by name, searched before lm-eval's own.
        limit: Largest number of rows of each task, a seeded sample of whole groups; None for all rows.
        seed: Seed of that sample.
        before_hub: Called with a task's name before its rows are read from the hub, so that the caller can refuse.
        allow_code: Whether task files that are not part of a program may bring code.

    Raises:
        TaskCodeError: A task file brings code that is not allowed.
        UnknownTaskError: A task does not exist; names tasks of similar spelling.
        MissingRowsError: A local file of rows does not exist.
        TaskLoadError: A file is broken, a package is missing, or the hub is out of reach.
    """
    tasks: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    with as_lm_eval_begins() as state, task_code(is_allowed=allow_code, trusted=folders):
        for source in sources:
            with told_in_one_line(f"lm-eval task {one_line(source.task)}"):
                loaded = _load(source, folders, before_hub)
                for name, task in loaded["tasks"].items():
                    _check_same(name, tasks.setdefault(name, task), task)
                groups |= loaded["groups"]
        come_to = state()
    sampled: dict[str, list[int]] = {}
    for name, task in tasks.items():
        with told_in_one_line(f"lm-eval task {one_line(name)}"), as_lm_eval_begins(come_to):
            _prepare(task)
            if limit is not None:
                sampled[name] = sample_by_group([group_of(row) for row in task.eval_docs], limit, seed)
    found = TaskSet(tasks, sampled, {name: rows_of(task) for name, task in tasks.items()}, groups, come_to)
    _rehearse(found)
    return found


def try_with_model(
    loaded: TaskSet, tokenizer: Any, max_positions: int | None, *, chat_template: bool, system_prompt: str | None
) -> None:
    """Finds what would fail with a model, before anything is trained or computed.

    Args:
        loaded: The tasks.
        tokenizer: The model's tokenizer.
        max_positions: Largest number of tokens that the model takes; None for any.
        chat_template: Whether prompts are rendered with the tokenizer's chat template.
        system_prompt: System instruction before every prompt.

    Raises:
        ContextTooLongError: An answer of the task's length leaves no room for a question.
        TaskLoadError: The chat template cannot render a task's prompts.
    """
    from suites.lm_eval.model import room_for_context

    for name, task in loaded.tasks.items():
        if max_positions is not None and task.OUTPUT_TYPE == "generate_until":
            room_for_context(task.config.generation_kwargs or {}, max_positions, f"lm-eval task {one_line(name)}")
        if chat_template:
            with told_in_one_line(f"lm-eval task {one_line(name)}"), as_lm_eval_begins(loaded.random):
                task.set_fewshot_seed(few_shot_seed())
                rehearse(name, task, loaded.sampled.get(name), tokenizer=tokenizer, system_prompt=system_prompt)


def without_rows(loaded: TaskSet, seen: Mapping[str, AbstractSet[int]]) -> TaskSet:
    """Returns the tasks without rows that were trained on.

    Args:
        loaded: The tasks.
        seen: Name of a task -> positions of those rows.

    Raises:
        TaskLoadError: No row of a task is left.
    """
    sampled, n_seen = dict(loaded.sampled), dict(loaded.n_seen)
    for name, rows in seen.items():
        if name not in loaded.tasks or not rows:
            continue
        before = loaded.sampled.get(name) or range(len(loaded.tasks[name].eval_docs))
        sampled[name] = [index for index in before if index not in rows]
        if not sampled[name]:
            raise TaskLoadError(f"lm-eval task {name}: every row to measure was trained on; leave the task out")
        n_seen[name] = len(before) - len(sampled[name])
    return replace(loaded, sampled=sampled, n_seen=n_seen)


def group_of(row: Any) -> str:
    """Returns a row's group: Winogrande's twins, else an equal passage, question or sentence, else the row alone."""
    if not isinstance(row, Mapping):
        return content_id(repr(row))
    if "qID" in row:
        return content_id(str(row["qID"]).rpartition("-")[0])
    return content_id(next((str(row[column]) for column in GROUP_COLUMNS if column in row), repr(row)))


def sample_by_group(groups: Sequence[str], limit: int, seed: int) -> list[int]:
    """Returns a seeded sample of whole groups, as indices of rows: at most `limit` rows, but at least one group.

    `harness.data.splits.sample_by_group` takes the groups of other datasets in another order; both orders are kept so
    that the same seed still measures the rows of earlier runs.
    """
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, no secret
    taken: set[str] = set()
    n_rows = 0
    for group in order:
        if taken and n_rows + sizes[group] > limit:
            break
        taken.add(group)
        n_rows += sizes[group]
    return [index for index, group in enumerate(groups) if group in taken]


class _Members(dict[str, Any]):
    """Name -> lm-eval's entry, looked up when a group or tag asks for it, with its local rows found."""

    def __init__(self, folders: Sequence[Path], scratch: Path, before_hub: Callable[[str], object] | None) -> None:
        super().__init__()
        self._folders = folders
        self._scratch = scratch
        self._before_hub = before_hub
        self._n_wrapped = 0
        self._near: Mapping[str, Any] = {}

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self._found(name) is not None)

    def __missing__(self, name: str) -> Any:
        entry = self._found(name)
        if entry is None:
            raise KeyError(name)
        self[name] = self.ready(entry)
        return self[name]

    def beside(self, folder: Path) -> None:
        """Adds the tasks of the files in a folder, which a group in it can name."""
        from lm_eval.tasks._index import TaskIndex
        from lm_eval.tasks._yaml_loader import load_yaml
        from yaml import YAMLError

        found: dict[str, Any] = {}
        for path in sorted(folder.glob("*.yaml")):
            try:
                TaskIndex.process_cfg(load_yaml(path, resolve_func=False), path, found)
            except (OSError, TypeError, ValueError, RecursionError, YAMLError):  # no task, as lm-eval has it
                continue
        self._near = found

    def ready(self, entry: Any, data_file: Path | None = None) -> Any:
        """The entry, with a file in which its local rows are found; the caller hears where they are on the hub."""
        from lm_eval.tasks._index import Kind

        if entry.yaml_path is None or entry.kind is Kind.GROUP:
            return entry
        self._n_wrapped += 1
        file, is_local = with_local_rows(entry.yaml_path, data_file, self._scratch / f"{self._n_wrapped}.yaml")
        if not is_local and self._before_hub is not None:
            self._before_hub(entry.name)
            self._before_hub = None  # which asks for nothing else
        return replace(entry, yaml_path=file)

    def _found(self, name: str) -> Any:
        return self._near.get(name) or entry_or_none(name, self._folders)


def _load(source: TaskSource, folders: Sequence[Path], before_hub: Callable[[str], object] | None) -> dict[str, Any]:
    """Loads one source: lm-eval's tasks, several for a group or tag, and its groups, each by name."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._factory import TaskFactory

    from suites.lm_eval.model import quiet

    with TemporaryDirectory() as scratch, quiet(), _no_dataset_bars():
        members = _Members(folders, Path(scratch), before_hub)
        if source.task.endswith((".yaml", ".yml")):
            entry = _entry_of_file(expanded(source.task).resolve(), source, members)
        else:
            entry = members.ready(find_entry(source.task, folders), source.data_file)
        built = TaskFactory().build(entry, registry=members)
        # Without lm-eval's own folder, because reading all of its files takes seconds.
        manager = TaskManager(include_defaults=False)
        loaded: dict[str, Any] = manager.load(built if isinstance(built, list) else [built])
    if not loaded["tasks"]:
        raise TaskLoadError(f"lm-eval task {one_line(source.task)}: it names no tasks")
    return loaded


def _entry_of_file(path: Path, source: TaskSource, members: _Members) -> Any:
    """lm-eval's entry of a file of the user's own: a task, or a group."""
    from lm_eval.tasks._index import Entry, Kind
    from lm_eval.tasks._yaml_loader import load_yaml

    if not path.is_file():
        raise UnknownTaskError(f"there is no lm-eval task file {one_line(source.task)}")
    config = load_yaml(path, resolve_func=False)
    kind = Kind.GROUP if "group" in config and "class" not in config else Kind.TASK
    name = config.get("group" if kind is Kind.GROUP else "task")
    if not isinstance(name, str) or not name.strip():
        raise TaskLoadError(
            f"lm-eval task {one_line(source.task)}: its key 'task' (or 'group', with a list of tasks) must be a name, "
            f"got {one_line(repr(name))[:100]}"
        )
    if kind is Kind.TASK:
        return members.ready(Entry(name, Kind.TASK, path), source.data_file)
    members.beside(path.parent)
    return Entry(name, Kind.GROUP, None, with_absolute_rows(load_yaml(path), path.parent))


def _check_same(name: str, task: Any, other: Any) -> None:
    """Refuses two tasks of one name of which only one could be measured, such as one with a group's settings."""
    settings, others = ({**each.dump_config(), "metadata": None} for each in (task, other))  # it names a file
    if str(settings) != str(others):
        raise TaskLoadError(f"task {one_line(name)} is named twice, with other settings: leave one of them out")


def _prepare(task: Any) -> None:
    """Makes a task as lm-eval's command line has it, and lets no number that is too large end the run."""
    if task.config.num_fewshot is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(few_shot_seed())
    aggregations = getattr(task, "_aggregation_list", {})
    aggregations |= {name: _or_infinite(function) for name, function in aggregations.items()}


def _or_infinite(aggregate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The aggregation, infinite where it overflows, as the exponential of a text without spaces does."""

    def aggregated(items: Any) -> Any:
        try:
            return aggregate(items)
        except OverflowError:
            return inf

    return aggregated


def _rehearse(loaded: TaskSet) -> None:
    """Lets lm-eval's evaluator go through all tasks and groups without a model."""
    results = {}
    for name, task in loaded.tasks.items():
        with told_in_one_line(f"lm-eval task {one_line(name)}"), as_lm_eval_begins(loaded.random):
            results[name] = rehearse(name, task, loaded.sampled.get(name))
    for name, group in loaded.groups.items():
        with told_in_one_line(f"lm-eval group {one_line(name)}"):
            rehearse_group(group, results)


@contextmanager
def _no_dataset_bars() -> Iterator[None]:
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
