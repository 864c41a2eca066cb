"""Runs lm-eval's tasks through its own evaluator: its prompts, metrics and numbers, example by example."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import isclose, isfinite, isnan
from numbers import Real
from typing import TYPE_CHECKING, Any

from reports.plain_text import one_line
from reports.records import EvaluationCounts, ExampleText, Metric, MetricScores
from reports.scores import ExampleScores, ScoredExamples, one_by_one
from suites.evaluations.scores import metric_scores, metric_value, not_finite
from suites.inputs import content_id
from suites.lm_eval.faults import told_in_one_line
from suites.lm_eval.loading import GROUP_COLUMNS, TaskSet, group_of
from suites.lm_eval.seeds import as_lm_eval_begins, few_shot_seed
from suites.lm_eval.task_code import filters_in_time

if TYPE_CHECKING:
    from suites.lm_eval.model import ScorerLM

SHARES = ("acc", "acc_norm", "acc_bytes", "exact_match")
"""Metrics that are shares of questions; lm-eval does not name the unit of any other."""
_SCORING_SETTINGS = ("output_type", "metric_list", "filter_list", "generation_kwargs", "repeats", "process_results")
"""Settings of a task that turn the model's answers into numbers."""
_OF_PLACES = ("dataset_path", "dataset_kwargs", "metadata")
"""Settings of a task that may hold paths of this machine; its rows and version are known otherwise."""
Sample = Mapping[str, Any]
"""What lm-eval records of one row and filter."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Result of one task, or of one group of tasks, for one subject."""

    measurements: tuple[MetricScores, ...]
    counts: EvaluationCounts
    texts: tuple[ExampleText, ...]
    """Texts of every row that was measured."""
    note: str
    """Versions, shots, chat template and a hash of the prompts: results are comparable only where notes are equal."""


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """What lm-eval's evaluator gave for one subject."""

    loaded: TaskSet
    results: Mapping[str, Any]
    evaluation: str
    subject: str
    template: Mapping[str, str]
    """Chat template and system prompt, as conditions."""
    truncated: AbstractSet[tuple[str, str] | str]
    """Requests whose context was too long for the model."""
    not_finite: AbstractSet[str]
    """Contexts whose generated answer was chosen by logits that are not finite."""


def run_tasks(
    lm: "ScorerLM",
    loaded: TaskSet,
    *,
    evaluation: str,
    subject: str,
    chat_template: bool = False,
    system_prompt: str | None = None,
) -> list[TaskResult]:
    """Runs every task through lm-eval's evaluator, as lm-eval's command line does.

    Every task is an evaluation of its own, named "EVALUATION/TASK", and so is every group that lm-eval sums up. Its acc
    is primary, or else its first metric; but tasks and groups within such a group are exploratory. A metric whose
    examples do not add up to lm-eval's own number is recorded as that number, without examples.

    Args:
        lm: The model of one subject.
        loaded: The tasks.
        evaluation: Name of the evaluation in the suite.
        subject: Name of the subject.
        chat_template: Whether lm-eval renders prompts with the model's chat template, in which shots are turns.
        system_prompt: lm-eval's system instruction before every prompt; None for none.

    Raises:
        TaskLoadError: A task fails on the answers of this model.
    """
    which = one_line(", ".join(loaded.tasks))[:200]
    with told_in_one_line(f"lm-eval task {which}"), as_lm_eval_begins(loaded.random):
        results = _evaluate(lm, loaded, chat_template=chat_template, system_prompt=system_prompt)
        template = {
            "chat template": "on" if chat_template else "off",
            "system prompt": "none" if system_prompt is None else repr(system_prompt),
        }
        found = _Evaluated(loaded, results, evaluation, subject, template, lm.truncated, lm.not_finite)
        summed_up = [
            group for name, group in loaded.groups.items() if any("," in key for key in results["results"][name])
        ]
        within = {name for group in summed_up for name in _members_of(group)}
        tasks = {name: _task_result(found, name, is_primary=name not in within) for name in loaded.tasks}
        groups = [
            _group_result(found, group, [tasks[name] for name in _tasks_of(group)], is_primary=group.name not in within)
            for group in summed_up
        ]
    return [*groups, *tasks.values()]


def content_of_tasks(loaded: TaskSet) -> str:
    """Hash of everything that tasks ask a model: their settings, their rows wherever they lie, and shots."""
    parts = []
    with as_lm_eval_begins(loaded.random):
        for name, task in loaded.tasks.items():
            settings = {key: _stable(value) for key, value in task.dump_config().items() if key not in _OF_PLACES}
            rows = [*task.eval_docs]
            asked = [rows[index] for index in loaded.sampled.get(name, range(len(rows)))]
            shots = [*task.fewshot_docs()] if task.config.num_fewshot else []
            parts.append((name, settings, _stable(asked), _stable(shots)))
    return content_id(sorted(loaded.groups), *parts)


def _evaluate(lm: "ScorerLM", loaded: TaskSet, *, chat_template: bool, system_prompt: str | None) -> Mapping[str, Any]:
    """lm-eval's own results, with every row."""
    from lm_eval.evaluator import evaluate

    from suites.lm_eval.model import compiled_once, quiet

    for task in loaded.tasks.values():
        task.set_fewshot_seed(few_shot_seed())  # the same shots for every subject
    with quiet(), compiled_once(), filters_in_time():
        results: Mapping[str, Any] = evaluate(
            lm,
            {"tasks": dict(loaded.tasks), "groups": dict(loaded.groups)},
            samples=dict(loaded.sampled) or None,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=chat_template,
            fewshot_as_multiturn=True,
            system_instruction=system_prompt,
        )
    return results


def _task_result(found: _Evaluated, name: str, *, is_primary: bool) -> TaskResult:
    samples, task = found.results["samples"][name], found.loaded.tasks[name]
    own_name = f"{found.evaluation}/{name}"
    conditions = {**_conditions(task, samples, found.results["versions"][name]), **found.template}
    return TaskResult(
        measurements=tuple(_measurements(found, name, samples, is_primary=is_primary)),
        counts=replace(_counts(found, name, samples), conditions=conditions),
        texts=tuple(_texts(samples, evaluation=own_name)),
        note=_note(own_name, conditions),
    )


def _group_result(found: _Evaluated, group: Any, parts: Sequence[TaskResult], *, is_primary: bool) -> TaskResult:
    """The result of a group: lm-eval's own sum of its tasks, over their rows."""
    own_name, names = f"{found.evaluation}/{group.name}", _tasks_of(group)
    samples = [sample for name in names for sample in found.results["samples"][name]]
    counts = [part.counts for part in parts]
    settings = sorted((name, sorted(one.conditions.items())) for name, one in zip(names, counts, strict=True))
    conditions = {
        "lm-eval": counts[0].conditions["lm-eval"],
        "group version": str(found.results["versions"][group.name]),
        "tasks": content_id(settings, str(group.aggregate_metric_list)),
        **found.template,
    }
    summed = EvaluationCounts(
        evaluation=own_name,
        dataset=f"{len(names)} tasks of lm-eval's group {group.name}",
        n_read=sum(one.n_read for one in counts),
        n_scored=sum(one.n_scored for one in counts),
        n_groups=len({group_of(sample["doc"]) for sample in samples}),
        left_out=dict(sum((Counter(one.left_out) for one in counts), Counter())),
        touched=dict(sum((Counter(one.touched) for one in counts), Counter())),
        conditions=conditions,
    )
    return TaskResult(
        measurements=tuple(_measurements(found, group.name, samples, is_primary=is_primary)),
        counts=summed,
        texts=tuple(_texts(samples, evaluation=own_name)),
        note=_note(own_name, conditions),
    )


def _tasks_of(group: Any) -> list[str]:
    """Names of all tasks in a group and in the groups within it, each once."""
    return list(dict.fromkeys(task.task_name for task in group.get_all_tasks()))


def _members_of(group: Any) -> list[str]:
    """Names of all tasks and groups within a group."""
    return [*_tasks_of(group), *(each.name for each in group.get_all_groups())]


def _note(own_name: str, conditions: Mapping[str, str]) -> str:
    return f"{own_name}: {', '.join(f'{fact} {value}' for fact, value in conditions.items())}"


def _measurements(
    found: _Evaluated, name: str, samples: Sequence[Sample], *, is_primary: bool
) -> Iterator[MetricScores]:
    """Yields all metrics of a task or group, each once for every filter (such as strict and flexible matching)."""
    own_numbers = found.results["results"][name]
    columns = [
        (metric, sample_filter)
        for metric, sample_filter in dict.fromkeys(
            (metric, sample["filter"]) for sample in samples for metric in sample["metrics"]
        )
        if f"{metric},{sample_filter}" in own_numbers
    ]
    primary = next((column for column in columns if column[0] == "acc"), next(iter(columns), None))
    for key, chosen_filter in columns:
        metric = Metric(
            evaluation=f"{found.evaluation}/{name}",
            name=key if chosen_filter == "none" else f"{key}[{chosen_filter}]",
            unit="share of questions" if key in SHARES else "lm-eval's own",
            higher_is_better=found.results["higher_is_better"].get(name, {}).get(key),
            display="percent" if key in SHARES else "mean",
            primary=is_primary and (key, chosen_filter) == primary,
        )
        rows = [sample for sample in samples if sample["filter"] == chosen_filter]
        n_broken = sum(not _is_finite(sample, found.not_finite) for sample in rows)
        if n_broken:  # of which an argmax or a comparison would make an answer
            reason = f"log-probabilities are not finite in {n_broken} of {len(rows)} rows"
            yield not_finite(metric, found.subject, reason)
        else:
            yield _metric_scores(metric, found.subject, key, rows, own_numbers[f"{key},{chosen_filter}"])


def _is_finite(sample: Sample, not_finite: AbstractSet[str]) -> bool:
    """Whether a model's responses to a row are finite numbers, or texts that were chosen by finite numbers."""
    generated = (asked[0] for asked in sample["arguments"] if _is_generated(asked))
    return _are_finite(sample["resps"]) and not_finite.isdisjoint(generated)


def _are_finite(responses: Any) -> bool:
    """Whether no number in a model's responses, which lm-eval nests in lists and tuples, is NaN or infinite."""
    if isinstance(responses, list | tuple):
        return all(map(_are_finite, responses))
    return not isinstance(responses, Real) or isfinite(responses)


def _is_generated(asked: Sequence[Any]) -> bool:
    """Whether a request asks for a text: its second part is then a table of options."""
    return len(asked) > 1 and isinstance(asked[1], Mapping)


def _counts(found: _Evaluated, name: str, samples: Sequence[Sample]) -> EvaluationCounts:
    """Counts rows that were read and measured, and those with a context too long for the model."""
    task, n_seen = found.loaded.tasks[name], found.loaded.n_seen.get(name, 0)
    measured_rows = {sample["doc_id"]: sample for sample in samples}
    n_cut = sum(
        any((asked[0] if _is_generated(asked) else tuple(asked)) in found.truncated for asked in sample["arguments"])
        for sample in measured_rows.values()
    )
    return EvaluationCounts(
        evaluation=f"{found.evaluation}/{name}",
        dataset=f"{found.loaded.rows_from[name]}, split {task.config.test_split or task.config.validation_split}",
        n_read=len(task.eval_docs),
        n_scored=len(measured_rows),
        n_groups=len({group_of(sample["doc"]) for sample in samples}),
        left_out={"overlapping what was trained on": n_seen} if n_seen else {},
        touched={"context truncated": n_cut} if n_cut else {},
    )


def _example_ids(samples: Sequence[Sample]) -> list[str]:
    """An id for each row: a hash of its content, and for a row that stands there again of that and how often."""
    seen: Counter[str] = Counter()
    ids = []
    for sample in samples:
        content = sample["doc_hash"]
        ids.append(content_id(content, seen[content]) if seen[content] else content[:16])
        seen[content] += 1
    return ids


def _texts(samples: Sequence[Sample], *, evaluation: str) -> Iterator[ExampleText]:
    """Yields each row's question and right answer; where its requests differ only in the choice, also the choices."""
    rows = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    for example_id, sample in zip(_example_ids(rows), rows, strict=True):
        row, target = sample["doc"], sample["target"]
        contexts = {str(asked[0]) for asked in sample["arguments"]}
        choices = [str(asked[1]).strip() for asked in sample["arguments"] if len(asked) > 1]
        texts: dict[str, str] = {}
        if len(contexts) > 1:  # which hold the choices
            texts = {}
        elif isinstance(target, str):
            texts = {"right": target} if target and target not in contexts else {}
        elif isinstance(target, int) and 0 <= target < len(choices) > 1:
            texts = {"right": choices[target], "choices": "\n".join(choices)}
        columns = row if isinstance(row, Mapping) else {}
        asked = next((str(columns[column]) for column in GROUP_COLUMNS if column in columns), min(contexts))
        yield ExampleText(example_id, evaluation, asked, texts)


def _conditions(task: Any, samples: Sequence[Sample], version_of_task: object) -> dict[str, str]:
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


def _metric_scores(metric: Metric, subject: str, key: str, samples: Sequence[Sample], own_number: Any) -> MetricScores:
    """Scores by example where they add up to lm-eval's number, else that number."""
    if not isinstance(own_number, Real):
        return MetricScores(metric, subject, ExampleScores.of(()), missing="lm-eval gives no number")
    if all(isinstance(sample.get(key), Real) for sample in samples):  # an F1 has pairs, and a row may lack a metric
        examples = ScoredExamples.of(_example_ids(samples), (group_of(sample["doc"]) for sample in samples))
        scores = ExampleScores.from_columns(examples, (float(sample[key]) for sample in samples))
        mean = sum(one_by_one(scores.totals)) / len(scores)
        if isnan(mean) or isclose(mean, own_number, rel_tol=0, abs_tol=1e-9):
            return metric_scores(metric, subject, scores)
    return metric_value(metric, subject, float(own_number))
