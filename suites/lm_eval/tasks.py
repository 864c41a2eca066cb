"""Runs lm-eval's tasks through its own evaluator: its prompts, metrics and numbers, example by example."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isclose, isfinite, isnan
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from reports.records import EvaluationCounts, ExampleScore, ExampleText, Metric, MetricScores
from suites.evaluations.scores import metric_scores, metric_value, not_finite
from suites.inputs import SuiteError, content_id
from suites.lm_eval.files import TaskSource, find_task, with_local_rows
from suites.lm_eval.task_code import task_code

if TYPE_CHECKING:
    from suites.lm_eval.model import ScorerLM

GROUP_COLUMNS = ("passage", "question", "sentence", "query")
"""Columns that make a row's group, the first that it has; Winogrande's twins are found by their qID instead."""
SHARES = ("acc", "acc_norm", "acc_bytes", "exact_match")
"""Metrics that are shares of questions; lm-eval does not name the unit of any other."""
_SCORING_SETTINGS = ("output_type", "metric_list", "filter_list", "generation_kwargs", "repeats", "process_results")
"""Settings of a task that turn the model's answers into numbers."""


class TaskLoadError(SuiteError):
    """The file or the rows of a task cannot be read."""


@dataclass(frozen=True, slots=True)
class TaskSet:
    """Tasks with their rows, ready for any number of subjects."""

    tasks: Mapping[str, Any]
    """Name -> lm-eval's task."""
    sampled: Mapping[str, list[int]]
    """Name -> indices of the rows to measure, in lm-eval's order; empty where all rows are measured."""
    rows_from: Mapping[str, str]
    """Name -> source of its rows."""
    seed: int
    """Seed of the sample and of few-shot examples."""
    n_seen: Mapping[str, int] = field(default_factory=dict)
    """Name -> number of rows that are not measured because they were trained on."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Result of one task for one subject."""

    measurements: tuple[MetricScores, ...]
    counts: EvaluationCounts
    texts: tuple[ExampleText, ...]
    """Texts of every row that was measured."""
    note: str
    """Versions, shots, chat template and a hash of the prompts: results are comparable only where notes are equal."""


def load_tasks(
    sources: Sequence[TaskSource],
    *,
    folders: Sequence[Path] = (),
    limit: int | None = None,
    seed: int = 0,
    before_hub: Callable[[str], object] | None = None,
    allow_code: bool = False,
) -> TaskSet:
    """Finds the tasks and reads their rows, once for all subjects.

    Args:
        sources: Tasks; a group or tag of lm-eval stands for all of its tasks.
        folders: Folders of task files that are known by name, searched before lm-eval's own.
        limit: Largest number of rows of each task, a seeded sample of whole groups; None for all rows.
        seed: Seed of the sample and of few-shot examples.
        before_hub: Called with a task's name before its rows are read from the hub, so that the caller can refuse.
        allow_code: Whether task files that are not part of a program may bring code.

    Raises:
        TaskCodeError: A task file brings code that is not allowed.
        UnknownTaskError: A task does not exist; names tasks of similar spelling.
        MissingRowsError: A local file of rows does not exist.
        TaskLoadError: A file is broken, or the hub is out of reach.
    """
    tasks: dict[str, Any] = {}
    rows_from: dict[str, str] = {}
    for source in sources:
        with task_code(is_allowed=allow_code, trusted=folders):
            loaded, local_rows = _load(source, folders, before_hub)
        for name, task in loaded.items():
            if task.config.num_fewshot is None:
                task.set_config(key="num_fewshot", value=0)
            tasks[name] = task
            rows_from[name] = local_rows or ":".join(filter(None, (task.DATASET_PATH, task.DATASET_NAME)))
    sampled: dict[str, list[int]] = {}
    if limit is not None:
        for name, task in tasks.items():
            sampled[name] = sample_by_group([group_of(row) for row in task.eval_docs], limit, seed)
    return TaskSet(tasks, sampled, rows_from, seed)


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


def run_tasks(
    lm: "ScorerLM",
    loaded: TaskSet,
    *,
    evaluation: str,
    subject: str,
    chat_template: bool = False,
    system_prompt: str | None = None,
) -> list[TaskResult]:
    """Runs every task through lm-eval's evaluator.

    Every task is an evaluation of its own, named "EVALUATION/TASK"; acc, or else its first metric, is primary. A metric
    whose examples do not add up to lm-eval's own number is recorded as that number, without examples.

    Args:
        lm: The model of one subject.
        loaded: The tasks.
        evaluation: Name of the evaluation in the suite.
        subject: Name of the subject.
        chat_template: Whether lm-eval renders prompts with the model's chat template.
        system_prompt: lm-eval's system instruction before every prompt; None for none.
    """
    from lm_eval.evaluator import evaluate

    from suites.lm_eval.model import compiled_once, quiet

    for task in loaded.tasks.values():
        task.set_fewshot_seed(loaded.seed)  # the same few-shot examples for every subject
    with quiet(), compiled_once():
        results = evaluate(
            lm,
            {"tasks": dict(loaded.tasks)},
            samples=dict(loaded.sampled) or None,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=chat_template,
            system_instruction=system_prompt,
        )
    template = {
        "chat template": "on" if chat_template else "off",
        "system prompt": "none" if system_prompt is None else repr(system_prompt),
    }
    found = []
    for name, task in loaded.tasks.items():
        own_name, samples = f"{evaluation}/{name}", results["samples"][name]
        conditions = _conditions(task, samples, results["versions"][name]) | template
        counts = _counts(name, loaded, samples, lm.truncated, evaluation=own_name)
        found.append(
            TaskResult(
                measurements=tuple(_measurements(name, results, evaluation=own_name, subject=subject)),
                counts=replace(counts, conditions=conditions),
                texts=tuple(_texts(samples, evaluation=own_name)),
                note=f"{own_name}: {', '.join(f'{fact} {value}' for fact, value in conditions.items())}",
            )
        )
    return found


def group_of(row: Mapping[str, Any]) -> str:
    """Returns a row's group: Winogrande's twins, else an equal passage, question or sentence, else the row alone."""
    if "qID" in row:
        return content_id(row["qID"].rpartition("-")[0])
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


def _load(
    source: TaskSource, folders: Sequence[Path], before_hub: Callable[[str], object] | None
) -> tuple[dict[str, Any], str | None]:
    """Loads name -> lm-eval's task, several for a group or tag, and the name of its local rows."""
    from datasets.exceptions import DatasetsError
    from jinja2 import TemplateError
    from lm_eval.tasks import TaskManager
    from yaml import YAMLError

    from suites.lm_eval.model import quiet

    path = find_task(source.task, folders)
    with TemporaryDirectory() as scratch, quiet(), _no_dataset_bars():
        try:
            specification, local_rows = source.task, None
            if path is not None:
                file, local_rows = with_local_rows(path, source.data_file, Path(scratch) / "task.yaml")
                specification = str(file)
            if before_hub is not None and local_rows is None:
                before_hub(source.task)
            # Without lm-eval's own folder where the file is known, because reading all of its files takes ten seconds.
            tasks: dict[str, Any] = TaskManager(include_defaults=path is None).load([specification])["tasks"]
        except SuiteError:
            raise
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
            DatasetsError,
            TemplateError,
            YAMLError,
        ) as error:
            first_line = next(iter(str(error).splitlines()), "")
            raise TaskLoadError(f"lm-eval task {source.task}: {type(error).__name__}: {first_line}") from error
    return tasks, local_rows


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


def _measurements(name: str, results: Mapping[str, Any], *, evaluation: str, subject: str) -> Iterator[MetricScores]:
    """Yields all metrics of one task, each once for every filter (such as strict and flexible matching)."""
    samples = results["samples"][name]
    columns = list(dict.fromkeys((metric, sample["filter"]) for sample in samples for metric in sample["metrics"]))
    primary = next((column for column in columns if column[0] == "acc"), columns[0])
    for key, chosen_filter in columns:
        metric = Metric(
            evaluation=evaluation,
            name=key if chosen_filter == "none" else f"{key}[{chosen_filter}]",
            unit="share of questions" if key in SHARES else "lm-eval's own",
            higher_is_better=results["higher_is_better"][name].get(key),
            display="percent" if key in SHARES else "mean",
            primary=(key, chosen_filter) == primary,
        )
        rows = [sample for sample in samples if sample["filter"] == chosen_filter]
        n_broken = sum(not _is_finite(sample["resps"]) for sample in rows)
        if n_broken:  # of which an argmax or a comparison would make an answer
            reason = f"log-probabilities are not finite in {n_broken} of {len(rows)} rows"
            yield not_finite(metric, subject, reason)
            continue
        own_number = results["results"][name].get(f"{key},{chosen_filter}")
        yield _metric_scores(metric, subject, key, rows, own_number)


def _is_finite(responses: Any) -> bool:
    """Whether no number in a model's responses, which lm-eval nests in lists and tuples, is NaN or infinite."""
    if isinstance(responses, list | tuple):
        return all(map(_is_finite, responses))
    return not isinstance(responses, Real) or isfinite(responses)


def _counts(
    name: str,
    loaded: TaskSet,
    samples: Sequence[Mapping[str, Any]],
    truncated: AbstractSet[tuple[str, str]],
    *,
    evaluation: str,
) -> EvaluationCounts:
    """Counts rows that were read and measured, and those with a context too long for the model."""
    task = loaded.tasks[name]
    measured_rows = {sample["doc_id"]: sample for sample in samples}
    n_cut = sum(any(pair in truncated for pair in sample["arguments"]) for sample in measured_rows.values())
    return EvaluationCounts(
        evaluation=evaluation,
        dataset=f"{loaded.rows_from[name]}, split {task.config.test_split or task.config.validation_split}",
        n_read=len(task.eval_docs),
        n_scored=len(measured_rows),
        n_groups=len({group_of(sample["doc"]) for sample in samples}),
        left_out={"overlapping what was trained on": n_seen} if (n_seen := loaded.n_seen.get(name, 0)) else {},
        touched={"context truncated": n_cut} if n_cut else {},
    )


def _texts(samples: Sequence[Mapping[str, Any]], *, evaluation: str) -> Iterator[ExampleText]:
    """Yields each row's question; where its requests differ only in the choice, also choices and right answer."""
    for sample in {sample["doc_hash"]: sample for sample in samples}.values():
        row, target = sample["doc"], sample["target"]
        contexts = {str(arguments[0]) for arguments in sample["arguments"]}
        choices = [str(arguments[1]).strip() for arguments in sample["arguments"]]
        texts: dict[str, str] = {}
        if len(contexts) == 1 and isinstance(target, int) and target < len(choices) > 1:
            texts = {"right": choices[target], "choices": "\n".join(choices)}
        asked = next((str(row[column]) for column in GROUP_COLUMNS if column in row), min(contexts))
        yield ExampleText(sample["doc_hash"][:16], evaluation, asked, texts)


def _conditions(task: Any, samples: Sequence[Mapping[str, Any]], version_of_task: object) -> dict[str, str]:
    """Conditions that must be equal for two runs of a task to be comparable, by name.

    The prompts are hashed with every choice and target, because lm-eval's own hash is of each row's first context; the
    scoring with metrics, filters and answer settings, which a task file can change without a new version.
    """
    from importlib.metadata import version

    asked = sorted((each["doc_hash"], _stable(each["arguments"]), each["target_hash"]) for each in samples)
    settings = task.dump_config()
    scoring = {key: _stable(settings.get(key)) for key in _SCORING_SETTINGS}
    return {
        "lm-eval": version("lm_eval"),
        "task version": str(version_of_task),
        "shots": str(task.config.num_fewshot),
        "prompts": content_id(asked),
        "scoring": content_id(scoring),
    }


def _stable(value: object) -> str:
    """The value as text, without the addresses of functions in it, which differ in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _metric_scores(
    metric: Metric, subject: str, key: str, samples: Sequence[Mapping[str, Any]], own_number: Any
) -> MetricScores:
    """Scores by example where they add up to lm-eval's number, else that number; equal rows add their counts."""
    if not isinstance(own_number, Real):
        return MetricScores(metric, subject, (), missing="lm-eval gives no number")
    if all(isinstance(sample[key], Real) for sample in samples):  # an F1 has pairs
        merged: dict[str, ExampleScore] = {}
        for sample in samples:
            example_id, value = sample["doc_hash"][:16], float(sample[key])
            seen = merged.get(example_id, ExampleScore(example_id, group_of(sample["doc"]), 0.0, 0))
            merged[example_id] = replace(seen, total=seen.total + value, count=seen.count + 1)
        mean = sum(score.total for score in merged.values()) / len(samples)
        if isnan(mean) or isclose(mean, own_number, rel_tol=0, abs_tol=1e-9):
            return metric_scores(metric, subject, merged.values())
    return metric_value(metric, subject, float(own_number))
