"""Prompts, log-probabilities, answers and metrics of a suite's tasks are those of lm-eval's own evaluator and model."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.records import MetricScores
from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import load_tasks
from suites.lm_eval.model import ScorerLM
from suites.lm_eval.tasks import TaskResult, run_tasks

SYSTEM = "Be brief."


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the task files, in which the test works."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def samples_of(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Results of each call of lm-eval's evaluator that a model answered, in order: the rows as they were asked."""
    from lm_eval import evaluator

    seen: list[dict[str, Any]] = []
    own = evaluator.evaluate

    def recorded(lm: Any, *arguments: Any, **options: Any) -> Any:
        results = own(lm, *arguments, **options)
        if type(lm).__name__ != "StandIn":
            seen.append(results)
        return results

    monkeypatch.setattr(evaluator, "evaluate", recorded)
    return seen


def lm_evals_own(lm: Any, task: Any, **options: Any) -> dict[str, Any]:
    """What lm-eval's command line does with a task file or a group's content, from the folder of its rows."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    results = simple_evaluate(lm, tasks=[task], task_manager=manager, bootstrap_iters=0, **options)
    assert results is not None
    return dict(results)


def ours(lm: ScorerLM, task: str, *, allow_code: bool = False, **options: Any) -> list[TaskResult]:
    """The results of a task file as a suite has them."""
    loaded = load_tasks([TaskSource(task)], seed=42, allow_code=allow_code)
    return run_tasks(lm, loaded, evaluation="lm_eval", subject="baseline", **options)


def number(measurement: MetricScores) -> float:
    value = measurement.number
    assert value is not None
    return value


def assert_equal_samples(theirs: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> None:
    """The same prompts and choices, and responses equal within rounding."""
    for one, other in zip(theirs, own, strict=True):
        assert one["arguments"] == other["arguments"]
        assert one["target"] == other["target"]
        for expected, found in zip(one["filtered_resps"], other["filtered_resps"], strict=True):
            if isinstance(expected, tuple):
                assert found[1] == expected[1]
                expected, found = expected[0], found[0]  # noqa: PLW2901 - the log-probability alone
            assert found == (expected if isinstance(expected, str) else pytest.approx(expected, abs=1e-4, rel=1e-6))


def assert_equal_metrics(theirs: dict[str, Any], results: Sequence[TaskResult], name: str) -> None:
    """Every number of lm-eval's for a task or group is there, and is the same."""
    expected = {
        key.removesuffix(",none"): value
        for key, value in theirs["results"][name].items()
        if key.endswith(",none") and "_stderr" not in key
    }
    found = {
        one.metric.name: number(one)
        for result in results
        for one in result.measurements
        if one.metric.evaluation == f"lm_eval/{name}"
    }
    assert found == pytest.approx(expected, rel=1e-5)
    assert found


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize(
    "shots", ["num_fewshot: 0", "num_fewshot: 2", "num_fewshot: 2\nfewshot_config: {sampler: first_n}"]
)
@pytest.mark.parametrize("output_type", ["loglikelihood", "multiple_choice", "loglikelihood_rolling", "generate_until"])
def test_every_output_type_is_asked_and_scored_as_lm_eval_does(
    output_type: str,
    shots: str,
    chat: bool,
    write_task: Callable[..., str],
    both_models: tuple[ScorerLM, Any],
    samples_of: list[dict[str, Any]],
    working_folder: Path,  # noqa: ARG001 - where lm-eval looks for rows
) -> None:
    """With and without shots, which lm-eval's own seed draws, and with them as turns of a chat template."""
    file = write_task(output_type, more=f'description: "Answer."\n{shots}')
    system = SYSTEM if chat else None

    theirs = lm_evals_own(both_models[1], file, apply_chat_template=chat, system_instruction=system)
    results = ours(both_models[0], file, chat_template=chat, system_prompt=system)

    expected, own = (each["samples"]["mine"] for each in samples_of)
    assert_equal_samples(expected, own)
    assert_equal_metrics(theirs, results, "mine")
    asked = str(own[0]["arguments"][0][0])
    if output_type != "loglikelihood_rolling":
        assert asked.count("<|user|>") == (0 if not chat else 1 if shots.endswith("0") else 3)
    assert [result.counts.n_scored for result in results] == [6]


THIRD = (
    "output_type: multiple_choice, dataset_path: json, test_split: test, doc_to_text: '{{q}}', "
    "doc_to_choice: '{{choices}}', doc_to_target: right, metric_list: [{metric: acc}], "
    "dataset_kwargs: {data_files: {test: first_test.jsonl}}"
)
"""A task that stands in its group's file, with rows beside it."""


@pytest.mark.parametrize("weight_by_size", [True, False])
def test_a_group_has_the_number_that_lm_eval_gives_it(
    weight_by_size: bool, write_task: Callable[..., str], both_models: tuple[ScorerLM, Any], working_folder: Path
) -> None:
    """As a file with tasks by name and with a task and a group in it, also where tasks do not weigh as their rows."""
    write_task("multiple_choice", name="first", n_rows=4)
    write_task("multiple_choice", name="second", n_rows=7)
    aggregate = f"aggregate_metric_list: [{{metric: acc, weight_by_size: {str(weight_by_size).lower()}}}]"
    tasks = f"first, {{task: second, num_fewshot: 1}}, {{group: inner, {aggregate}, task: [{{task: third, {THIRD}}}]}}"
    file = working_folder / "both.yaml"
    file.write_text(f"group: both\n{aggregate}\ntask: [{tasks}]\nmetadata: {{version: 3}}\n")

    results = ours(both_models[0], str(file))

    theirs = lm_evals_group(both_models[1], file)
    assert set(theirs["results"]) == {"both", "both::inner", "first", "second", "both::inner::third"}
    for name in theirs["results"]:
        assert_equal_metrics(theirs, results, name)
    group, inner = results[0], results[1]
    assert (group.counts.evaluation, inner.counts.evaluation) == ("lm_eval/both", "lm_eval/both::inner")
    [accuracy] = group.measurements
    assert (accuracy.metric.primary, group.counts.n_scored) == (True, 15)
    assert len(accuracy.scores) == (15 if weight_by_size else 0)
    assert not any(one.metric.primary for result in results[1:] for one in result.measurements)
    assert {text.example_id for text in group.texts} >= {score.example_id for score in accuracy.scores}


def lm_evals_group(lm: Any, file: Path) -> dict[str, Any]:
    """lm-eval's own results of a group's file, whose tasks are found beside it."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(file.parent))
    results = simple_evaluate(lm, tasks=["both"], task_manager=manager, bootstrap_iters=0)
    assert results is not None
    return dict(results)


CODE = """
import random

import numpy as np


def shuffled(rows):
    return rows.map(shuffle, load_from_cache_file=False)


def shuffle(row):
    return {"choices": random.sample(row["choices"], 2), "q": f"{np.random.randint(99)} {row['q']}"}
"""


def test_tasks_that_shuffle_draw_as_lm_eval_begins(
    write_task: Callable[..., str],
    both_models: tuple[ScorerLM, Any],
    samples_of: list[dict[str, Any]],
    working_folder: Path,
) -> None:
    """Rows that a task's own code shuffles are lm-eval's, for every subject; the process's generators stay."""
    (working_folder / "code.py").write_text(CODE)
    file = write_task("multiple_choice", more="process_docs: !function code.shuffled")
    lm_evals_own(both_models[1], file)
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002

    loaded = load_tasks([TaskSource(file)], seed=42, allow_code=True)
    for subject in ("baseline", "candidate"):
        run_tasks(both_models[0], loaded, evaluation="lm_eval", subject=subject)

    expected, first, second = (each["samples"]["mine"] for each in samples_of)
    assert_equal_samples(expected, first)
    assert_equal_samples(first, second)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
