"""Whole tasks through lm-eval's evaluator: our numbers are the library's own."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.comparing.metric_table import metric_table
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.lm_eval.faults import TaskLoadError
from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import group_of, load_tasks, sample_by_group, without_rows
from suites.lm_eval.model import ScorerLM
from suites.lm_eval.tasks import content_of_tasks, run_tasks

REPOSITORY = Path(__file__).parents[3]
DATA_ROOT = Path(os.environ.get("HARNESS_DATA_ROOT", REPOSITORY.parent / "shared" / "data"))
EMBEDDED_TASKS = REPOSITORY / "harness" / "embedded" / "tasks"
QUESTIONS = [
    {
        "question": f"Where is the trophy {n}?",
        "mc1_targets": {"choices": ["Here", "In the suitcase", "Nowhere"], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": ["Here", "Near", "In the suitcase"], "labels": [1, 1, 0]},
    }
    for n in range(6)
]
TWINS = [
    {"qID": f"T{n // 2}-{n % 2 + 1}", "sentence": f"The cat saw dog {n} because _ was awake.", "option1": "the cat",
     "option2": "the dog", "answer": str(n % 2 + 1)}
    for n in range(8)
]  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[TaskSource]:
    """lm-eval's three tasks on rows written here, one file gzipped, one row twice."""
    folder = tmp_path_factory.mktemp("rows")
    questions = write_rows(folder / "questions.jsonl", [*QUESTIONS, QUESTIONS[0]])
    return [
        TaskSource("truthfulqa_mc1", questions),
        TaskSource("truthfulqa_mc2", questions),
        TaskSource("winogrande", write_rows(folder / "twins.jsonl.gz", TWINS)),
    ]


@pytest.fixture(scope="module")
def models(llama_folder: Path) -> tuple[ScorerLM, Any]:
    """One model behind our interface and behind lm-eval's."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(llama_folder).eval(),
        AutoTokenizer.from_pretrained(llama_folder),
    )
    scorer = ModelScorer(model, pad_token_id=tokenizer.pad_token_id, state=ScoringState(plan_for(model), print))
    return ScorerLM(model, tokenizer, scorer.score), HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8)


def test_numbers_are_those_of_the_library_with_its_own_model(
    sources: list[TaskSource], models: tuple[ScorerLM, Any]
) -> None:
    """The acc of every task equals what lm-eval reports with HFLM, as sum/count of our examples."""
    from lm_eval.evaluator import evaluate

    ours, theirs = models
    loaded = load_tasks(sources)

    results = run_tasks(ours, loaded, evaluation="lm_eval", subject="baseline")
    expected = evaluate(theirs, {"tasks": dict(loaded.tasks)}, bootstrap_iters=0)["results"]

    for source, result in zip(sources, results, strict=True):
        [accuracy] = result.measurements
        value = sum(score.total for score in accuracy.scores) / sum(score.count for score in accuracy.scores)
        assert value == pytest.approx(expected[source.task]["acc,none"], abs=1e-4)
        assert (f"lm_eval/{source.task}", "acc", True, True, "percent") == (
            accuracy.metric.evaluation, accuracy.metric.name, accuracy.metric.primary, accuracy.metric.higher_is_better,
            accuracy.metric.display,
        )  # fmt: skip
        assert result.counts.evaluation == accuracy.metric.evaluation
        assert "chat template off" in result.note


def test_a_row_that_stands_twice_stays_an_outcome(sources: list[TaskSource], models: tuple[ScorerLM, Any]) -> None:
    """The library's mean over all rows stays what it is, no id stands twice, and the exact interval stays."""
    single, _, twins = run_tasks(models[0], load_tasks(sources), evaluation="lm_eval", subject="baseline")

    [accuracy] = single.measurements
    assert {score.count for score in accuracy.scores} == {1}
    assert len({score.example_id for score in accuracy.scores}) == 7
    assert len({score.group for score in accuracy.scores}) == 6
    assert {text.example_id for text in single.texts} == {score.example_id for score in accuracy.scores}
    paired = metric_table([accuracy, replace(accuracy, subject="other")]).paired("other", "baseline")
    assert paired is not None
    assert paired.method == "mid-p and score"
    assert (single.counts.n_read, single.counts.n_scored, single.counts.n_groups) == (7, 7, 6)
    assert (twins.counts.n_read, twins.counts.n_scored, twins.counts.n_groups) == (8, 8, 4)


def test_a_limit_takes_whole_groups_and_the_same_for_every_subject(
    sources: list[TaskSource], models: tuple[ScorerLM, Any]
) -> None:
    """Four of eight twin sentences are two pairs of twins; running again gives the same examples."""
    loaded = load_tasks(sources[2:], limit=5, seed=1)

    [first] = run_tasks(models[0], loaded, evaluation="lm_eval", subject="baseline")
    [second] = run_tasks(models[0], loaded, evaluation="lm_eval", subject="candidate")

    assert (first.counts.n_read, first.counts.n_scored, first.counts.n_groups) == (8, 4, 2)
    assert first.measurements[0].scores == second.measurements[0].scores
    assert (first.measurements[0].subject, second.measurements[0].subject) == ("baseline", "candidate")


def test_truncated_contexts_are_counted(sources: list[TaskSource], models: tuple[ScorerLM, Any]) -> None:
    """TruthfulQA's six questions in front do not fit 256 positions, a Winogrande sentence does."""
    single, _, twins = run_tasks(models[0], load_tasks(sources), evaluation="lm_eval", subject="baseline")

    assert single.counts.touched == {"context truncated": 7}
    assert twins.counts.touched == {}


def test_a_number_that_is_not_a_mean_is_carried_without_examples(tmp_path: Path, models: tuple[ScorerLM, Any]) -> None:
    """F1 is lm-eval's own number; acc beside it keeps its examples and is primary."""
    rows = [{"question": f"Is it {n}?", "choices": ["no", "yes"], "label": n % 2} for n in range(6)]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "task.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n"
        "output_type: multiple_choice\ntest_split: test\n"
        "doc_to_text: '{{question}}'\ndoc_to_target: label\ndoc_to_choice: '{{choices}}'\n"
        "metric_list:\n  - {metric: f1, aggregation: f1, higher_is_better: true}\n"
        "  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
    )

    [result] = run_tasks(
        models[0], load_tasks([TaskSource(str(tmp_path / "task.yaml"))]), evaluation="lm_eval", subject="s"
    )

    by_name = {one.metric.name: one for one in result.measurements}
    assert (by_name["f1"].scores, by_name["f1"].metric.primary) == ((), False)
    assert 0 <= by_name["f1"].value <= 1
    assert (len(by_name["acc"].scores), by_name["acc"].metric.primary) == (6, True)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_underflow_in_mc2_is_missing_with_its_reason(
    sources: list[TaskSource], models: tuple[ScorerLM, Any], scorer_of: Any
) -> None:
    """lm-eval divides 0 by 0 where all choices are too improbable: not a number, and said so."""
    hopeless = ScorerLM(models[0].model, models[0].tokenizer, scorer_of(lambda _: -1000.0))

    [result] = run_tasks(hopeless, load_tasks(sources[1:2]), evaluation="lm_eval", subject="s")

    assert (
        result.measurements[0].scores, result.measurements[0].missing,
    ) == ((), "not a finite number in 7 of 7 examples")  # fmt: skip


def test_embedded_tasks_load_by_name_and_ask_for_no_hub(models: tuple[ScorerLM, Any]) -> None:
    """Counterparts of the three tasks on the project's own rows, complete and within a small window."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    names = ["embedded_truthfulqa_mc1", "embedded_truthfulqa_mc2", "embedded_winogrande"]
    loaded = load_tasks([TaskSource(name) for name in names], folders=[EMBEDDED_TASKS], before_hub=refuse)

    results = run_tasks(models[0], loaded, evaluation="lm_eval", subject="s")

    for result in results:
        assert result.counts.n_scored == result.counts.n_read >= 60
        assert result.counts.touched == {}
        assert np.isfinite([score.total for score in result.measurements[0].scores]).all()
        assert {text.example_id for text in result.texts} == {
            score.example_id for score in result.measurements[0].scores
        }
    assert 2 * results[2].counts.n_groups == results[2].counts.n_scored
    question, sentence = results[0].texts[0], results[2].texts[0]
    assert question.prompt.endswith("?")
    assert question.texts["right"] == question.texts["choices"].splitlines()[0]
    assert "_" in sentence.prompt
    assert sentence.texts == {}  # its requests differ in their contexts, so that no choice stands alone


def test_a_hub_task_is_announced_and_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller may refuse first; else the error of datasets is reported with the task's name."""
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    announced: list[str] = []

    with pytest.raises(TaskLoadError, match=r"task winogrande: ConnectionError: Couldn't reach the Hub$"):
        load_tasks([TaskSource("winogrande")], before_hub=announced.append)
    assert announced == ["winogrande"]


def test_broken_files_are_told_with_the_task(tmp_path: Path) -> None:
    """A row that is no JSON, and a task file with a key that lm-eval does not know."""
    (tmp_path / "rows.jsonl").write_text("{broken\n")
    with pytest.raises(TaskLoadError, match="task winogrande: "):
        load_tasks([TaskSource("winogrande", tmp_path / "rows.jsonl")])
    (tmp_path / "task.yaml").write_text("task: mine\nno_such_key: 1\n")
    with pytest.raises(TaskLoadError, match="no_such_key"):
        load_tasks([TaskSource(str(tmp_path / "task.yaml"))])


def test_groups_are_twins_passages_questions_or_the_row() -> None:
    """What makes rows dependent, whatever the task."""
    assert group_of(TWINS[0]) == group_of(TWINS[1]) != group_of(TWINS[2])
    same_passage = [group_of({"passage": "p", "question": question}) for question in "ab"]
    assert same_passage[0] == same_passage[1]
    assert group_of({"question": "a"}) == group_of({"question": "a", "x": 1}) != group_of({"question": "b"})
    assert group_of({"x": 1}) != group_of({"x": 2})


def test_a_sample_depends_on_the_seed_alone_and_has_whole_groups() -> None:
    """Its size is at most the limit, unless the first group alone is larger."""
    groups = [group for n in range(20) for group in [f"g{n}"] * (n % 3 + 1)]

    sample = sample_by_group(groups, 12, seed=5)

    taken = {groups[index] for index in sample}
    assert len(sample) <= 12
    assert sample == [index for index, group in enumerate(groups) if group in taken]
    assert sample == sample_by_group(groups, 12, seed=5) != sample_by_group(groups, 12, seed=6)
    assert sample_by_group(["a"] * 3, 1, seed=0) == [0, 1, 2]


@pytest.mark.skipif(not DATA_ROOT.is_dir(), reason=f"no data in {DATA_ROOT}")
def test_real_rows_go_through_the_three_tasks(models: tuple[ScorerLM, Any]) -> None:
    """TruthfulQA and Winogrande files as they are, a small sample of each."""
    questions = DATA_ROOT / "truthful_qa" / "multiple_choice" / "validation.jsonl"
    loaded = load_tasks(
        [
            TaskSource("truthfulqa_mc1", questions),
            TaskSource("truthfulqa_mc2", questions),
            TaskSource("winogrande", DATA_ROOT / "winogrande" / "dev.jsonl"),
        ],
        limit=6,
    )

    results = run_tasks(models[0], loaded, evaluation="lm_eval", subject="s")

    assert [result.counts.n_read for result in results] == [409, 409, 630]
    assert [result.counts.n_scored for result in results] == [6, 6, 6]
    assert results[0].counts.dataset == "truthful_qa/multiple_choice/validation.jsonl, split validation"


def test_the_chat_template_changes_prompts_as_lm_eval_does_and_the_note_says_so(
    sources: list[TaskSource], models: tuple[ScorerLM, Any]
) -> None:
    """With template and system prompt the numbers are HFLM's under the same switches, and both stand in the note."""
    from lm_eval.evaluator import evaluate

    ours, theirs = models
    loaded = load_tasks(sources[:1])
    (plain,) = run_tasks(ours, loaded, evaluation="lm_eval", subject="baseline")
    (chat,) = run_tasks(
        ours, loaded, evaluation="lm_eval", subject="baseline", chat_template=True, system_prompt="Be brief."
    )
    expected = evaluate(
        theirs, {"tasks": dict(loaded.tasks)}, bootstrap_iters=0, apply_chat_template=True,
        system_instruction="Be brief.",
    )["results"]["truthfulqa_mc1"]["acc,none"]  # fmt: skip
    value = sum(score.total for score in chat.measurements[0].scores) / 7

    assert value == pytest.approx(expected, abs=1e-4)
    assert "chat template on, system prompt 'Be brief.'" in chat.note
    assert "chat template off, system prompt none" in plain.note
    prompts = [note.split("prompts ")[1].split(",")[0] for note in (plain.note, chat.note)]
    assert prompts[0] != prompts[1]


def test_rows_that_were_trained_on_are_not_measured(sources: list[TaskSource], models: tuple[ScorerLM, Any]) -> None:
    """They are counted as left out, within a sample too; a task without any other row is refused by name."""
    loaded = load_tasks(sources[:1])
    left = without_rows(loaded, {"truthfulqa_mc1": {0, 3}, "another": {1}})
    (result,) = run_tasks(models[0], left, evaluation="lm_eval", subject="baseline")

    assert (result.counts.n_read, result.counts.n_scored) == (7, 5)
    assert result.counts.left_out == {"overlapping what was trained on": 2}
    sampled = replace(loaded, sampled={"truthfulqa_mc1": [0, 1, 2]})
    assert without_rows(sampled, {"truthfulqa_mc1": {0, 3}}).sampled == {"truthfulqa_mc1": [1, 2]}
    with pytest.raises(TaskLoadError, match="truthfulqa_mc1: every row"):
        without_rows(loaded, {"truthfulqa_mc1": set(range(7))})


OWN_TASK = """task: own
dataset_path: json
dataset_kwargs: {data_files: {validation: own.jsonl}}
validation_split: validation
fewshot_split: validation
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_choice: ["yes", "no"]
doc_to_target: 0
metric_list: [{metric: acc}]
metadata: {version: 1.0}
"""


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("metric_list:", "num_fewshot: 2\nmetric_list:", {"shots", "prompts"}),
        ("version: 1.0", "version: 2.0", {"task version"}),
        ('"{{q}}"', '"Q: {{q}}"', {"prompts"}),
        ('["yes", "no"]', '["yes", "never"]', {"prompts"}),
        ("doc_to_target: 0", "doc_to_target: 1", {"prompts"}),
        ("{metric: acc}", "{metric: acc_norm}", {"scoring"}),
        ("task: own", "task: own", set()),
    ],
)
def test_an_edited_task_has_other_conditions(
    before: str, after: str, changed: set[str], models: tuple[ScorerLM, Any], tmp_path: Path
) -> None:
    """The rows and their ids stay the same; what is asked of them, and how it is scored, is told apart by name."""
    rows = [{"q": f"Is {number} a number?"} for number in range(4)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, contents = [], []
    for text in (OWN_TASK, OWN_TASK.replace(before, after)):
        (tmp_path / "own.yaml").write_text(text)
        loaded = load_tasks([TaskSource(str(tmp_path / "own.yaml"))])
        contents.append(content_of_tasks(loaded))
        (result,) = run_tasks(models[0], loaded, evaluation="lm_eval", subject="baseline")
        assert content_of_tasks(loaded) == contents[-1]  # whatever lm-eval made of the task since
        found.append(result)
    one, two = found
    assert (contents[0] != contents[1]) == bool(changed - {"task version"})

    assert {text.example_id for text in one.texts} == {text.example_id for text in two.texts}
    assert one.counts.conditions.keys() == two.counts.conditions.keys()
    assert {name for name, value in one.counts.conditions.items() if two.counts.conditions[name] != value} == changed


def test_one_task_with_two_settings_is_refused(write_task: Any, tmp_path: Path) -> None:
    """By name; the same task twice is measured once."""
    file = write_task("multiple_choice", name="first")
    group = tmp_path / "group.yaml"
    group.write_text("group: all\ntask: [{task: first, num_fewshot: 1}]\n")

    assert list(load_tasks([TaskSource(file), TaskSource(file)]).tasks) == ["first"]
    with pytest.raises(TaskLoadError, match=r"task first is named twice, with other settings: leave one of them out"):
        load_tasks([TaskSource(file), TaskSource(str(group))])
