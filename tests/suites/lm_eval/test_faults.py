"""Whatever is wrong with a task file, its rows or its code is one line, before anything is computed."""

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from suites.inputs import SuiteError
from suites.lm_eval.command_line import run_command_line
from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import TaskSet, load_tasks, try_with_model

TASK = """task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_choice: ["yes", "no"]
doc_to_target: right
metric_list: [{metric: acc}]
"""
GENERATED = {"output_type: multiple_choice": "output_type: generate_until", 'doc_to_choice: ["yes", "no"]\n': ""}
ROWS = [{"q": f"Is it {number}?", "right": number % 2, "text": "no"} for number in range(3)]
CODE = """
import os

class OwnError(Exception):
    pass

def fails(row):
    raise OwnError("first line\\nsecond line")

def fails_later(row):
    return row["q"] if row["q"] != "Is it 2?" else row["nope"]
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., TaskSet]:
    """Loads the task with changes of its text, rows and code."""

    def loaded(*changes: str, rows: list[dict[str, object]] | None = None, code: str = CODE, **also: str) -> TaskSet:
        (tmp_path / "rows.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in (ROWS if rows is None else rows))
        )
        (tmp_path / "code.py").write_text(code)
        text = TASK
        for line in changes:
            key = line.partition(":")[0]
            own = next((each for each in text.splitlines() if each.startswith(f"{key}:")), "")
            text = text.replace(f"{own}\n", f"{line}\n") if own else f"{text}{line}\n"
        for before, after in also.items():
            text = text.replace(before, after)
        (tmp_path / "mine.yaml").write_text(text)
        return load_tasks([TaskSource(str(tmp_path / "mine.yaml"))], allow_code=True)

    return loaded


def assert_one_line(caught: pytest.ExceptionInfo[SuiteError]) -> None:
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (['doc_to_text: "{{nope}}"'], "UndefinedError: 'nope' is undefined"),
        (['doc_to_text: "{{q"'], "TemplateSyntaxError"),
        (['doc_to_text: "{{q.x.y}}"'], "UndefinedError"),
        (["doc_to_text: 1.5"], r"doc_to_text must be a text, a number or code \(!function\), got 1.5"),
        (["doc_to_target: 7"], "IndexError: .*test_choice"),
        (["doc_to_target: -1"], "row 0: the target -1 is none of its 2 choices"),
        (['doc_to_target: "{{q}}"'], "row 0: the target 'Is it 0.' is none of its 2 choices"),
        (["doc_to_target: [0, 5]"], "row 0: the target 5 is none"),
        (['doc_to_choice: "{{q}}"'], "SyntaxError"),
        (["doc_to_choice: []"], "IndexError"),
        (["test_split: nope"], "KeyError: 'nope'"),
        (["test_split: null"], "must have valid or test docs"),
        (["num_fewshot: 2", "fewshot_split: nope"], "KeyError: 'nope'"),
        (["num_fewshot: 9"], "ValueError: Sample larger than population"),
        (["num_fewshot: 9", "fewshot_config: {sampler: first_n}"], "AssertionError: .*exceeds"),
        (["num_fewshot: many"], "num_fewshot must be a number, 0 or above, got 'many'"),
        (["fewshot_config: {sampler: balanced}"], "KeyError: .*contextsampler"),
        (["output_type: guess"], "invalid output_type 'guess'"),
        (["metric_list: [{aggregation: mean}]"], "'metric' key not provided"),
        (["metric_list: 5"], "metric_list must be a list of tables, got 5"),
        (["metric_list: []"], "it measures nothing"),
        (["filter_list: []"], "it measures nothing"),
        (["filter_list: [{name: x, filter: [{function: nope}]}]"], "nope"),
        *(([f"metric_list: [{{metric: acc, higher_is_better: {odd}}}]"], "higher_is_better must be true or false, got")
          for odd in ("x", "[1]", "5", "{a: 1}", "'true'", "null")),
        *(([f"metric_list: [{{metric: {odd}}}]"], r"metric_list: metric must be a text or code \(!function\), got")
          for odd in ("5", "[acc]", "null")),
        *(([f"metric_list: [{{metric: acc, aggregation: {odd}}}]"], "aggregation must be the name of an aggregation of")
          for odd in ("nope", "5", "null", "[mean]")),
        (["metric_list: [{metric: acc, hf_evaluate: x}]"], "hf_evaluate must be true or false, got 'x'"),
        (["metric_list: [{metric: acc, 5: x}]"], "metric_list has the key 5, which must be a text"),
        *(([f"filter_list: [{{name: {odd}, filter: [{{function: take_first}}]}}]"], "filter_list: name must be a text")
          for odd in ("5", "[x]", "null")),
        *(([f"filter_list: [{{name: x, filter: {odd}}}]"], "filter must be a list of tables, not empty, got")
          for odd in ("5", "null", "[]", "[5]", "x")),
        (["filter_list: [{name: x, filter: [{function: 5}]}]"], "filter: function must be a text or code"),
        *(([f"filter_list: [{{name: x, filter: [{{function: take_first_k, k: {odd}}}]}}]"],
           "filter: k must be a whole number, 1 or above, got") for odd in ("0", "-1", "a", "true", "null", "1.5")),
        (["dataset_kwargs: 5"], "dataset_kwargs must be a table, got 5"),
        (["dataset_kwargs: {data_files: 5}"], "TypeError"),
        (["dataset_path: [json]"], r"dataset_path must be a text, got \['json'\]"),
        (["process_docs: code.fails"], r"process_docs must be code \(!function\), got 'code.fails'"),
        (["group: mine", "task: [5]"], "a group has names and tables of tasks, got 5"),
        (
            ["group: mine", "dataset_path: null", "task: [truthfulqa_mc3]"],
            "knows no task 'truthfulqa_mc3' .did you mean",
        ),
        (["task: [a, b]"], r"its key 'task' \(or 'group', with a list of tasks\) must be a name, got \['a', 'b'\]"),
        (["task:"], "must be a name, got None"),
        (["group: mine", "task: {a: b}"], "it names no tasks"),
        (["include: mine.yaml"], "Include cycle"),
        (["include: nope.yaml"], "FileNotFoundError"),
        (["description: '{{nope}}'"], "'nope' is undefined"),
        (["doc_to_text: !function code.nope"], "has no function 'nope'"),
        (["doc_to_text: !function nowhere.ask"], "Cannot import module 'nowhere'|needs the module nowhere"),
        (["doc_to_text: !function ask"], "no module path"),
        (["doc_to_text: !function code.fails"], "OwnError: first line$"),
        (["doc_to_text: !function code.fails_later"], r"KeyError: 'nope', in code.py: return row\[.q.\] if"),
        (["process_docs: !function code.fails"], "OwnError"),
        (["unsafe_code: true"], "runs code that a model writes, which a suite never does"),
        (["doc_to_image: text"], "asks with images or sounds"),
        (["doc_to_txt: 1"], r"doc_to_txt is no key of a task; did you mean doc_to_text\?"),
    ],
    ids=lambda value: value[-1][:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_every_fault_of_a_task_file_is_one_line(load: Callable[..., TaskSet], changes: list[str], said: str) -> None:
    """Also where only a later row has it, and whatever a task's own code raises."""
    with pytest.raises(SuiteError, match=said) as caught:
        load(*changes)
    assert str(caught.value).startswith(("lm-eval task ", "lm-eval knows"))
    assert_one_line(caught)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(([f"generation_kwargs: {{max_gen_toks: {odd}}}"], "max_gen_toks must be a whole number, 1 or above, got")
          for odd in ("many", "0", "-1", "1.5", "true", "[1]", "null")),
        *(([f"generation_kwargs: {{do_sample: {odd}}}"], "do_sample must be true or false, got") for odd in ("x", "1")),
        *(([f"generation_kwargs: {{{odd}}}"], f"{odd.partition(':')[0]} must be a number, got")
          for odd in ("temperature: x", "temperature: .nan", "top_p: [1]", "repetition_penalty: true")),
        (["generation_kwargs: {num_beams: 2.5}"], "num_beams must be a whole number, 1 or above, got 2.5"),
        (["generation_kwargs: {5: x}"], "generation_kwargs has the key 5, which must be a text"),
        (["filter_list: [{name: x, filter: [{function: regex, group_select: x}]}]"], "group_select must be a whole"),
        (["filter_list: [{name: x, filter: [{function: regex, fallback: 5}]}]"], "fallback must be a text or a list"),
        (["filter_list: [{name: x, filter: [{function: map, mapping_dict: 5}]}]"], "mapping_dict must be a table"),
        (["metric_list: [{metric: exact_match, ignore_case: x}]"], "ignore_case must be true or false, got 'x'"),
        (["metric_list: [{metric: exact_match, regexes_to_ignore: [5]}]"], "regexes_to_ignore must be a list of texts"),
        (["generation_kwargs: 5"], "generation_kwargs must be a table, got 5"),
        (["generation_kwargs: {until: [5]}"], "until must be texts that are not empty"),
        (["generation_kwargs: {until: ['']}"], "until must be texts that are not empty"),
        (["generation_kwargs: {nobody: 1}"], "transformers knows no nobody"),
        (["repeats: 1000000000"], "repeats must be a number from 1 to 1,000, got 1000000000"),
        (["doc_to_text: 3"], "Context is not a string! : 3"),
        (["repeats: many"], "repeats must be a number"),
        (["metric_list: [{metric: acc}]"], "TypeError|KeyError|ValueError"),
    ],
    ids=lambda value: value[-1][:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_faults_of_answers_are_told_before_they_are_generated(
    load: Callable[..., TaskSet], changes: list[str], said: str
) -> None:
    """Settings and metrics that a text does not go with."""
    with pytest.raises(SuiteError, match=said) as caught:
        load("doc_to_target: text", "metric_list: [{metric: exact_match}]", *changes, **GENERATED)
    assert_one_line(caught)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        *(({"weight_by_size": odd}, "weight_by_size must be true or false, got") for odd in ("x", None, 1)),
        *(({"metric": odd}, r"metric must be a text or code \(!function\), got") for odd in (5, None, ["acc"])),
        *(({"filter_list": odd}, "filter_list must be a text or a list of texts, got") for odd in (5, [5], {"a": "b"})),
        ({"aggregation": "max"}, "Got 'max'"),
        ({"nope": 1}, "unexpected keyword argument 'nope'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("several", [True, False], ids=["a list", "one table"])
def test_faults_of_a_groups_metrics_are_one_line(
    load: Callable[..., TaskSet], entry: dict[str, object], said: str, several: bool, tmp_path: Path
) -> None:
    """Which lm-eval reads after its tasks are measured; here before their rows are read."""
    load()
    table = {"metric": "acc"} | entry
    group = {"group": "both", "task": [], "aggregate_metric_list": [table] if several else table}
    (tmp_path / "both.yaml").write_text(json.dumps(group))
    with pytest.raises(SuiteError, match=said) as caught:
        load_tasks([TaskSource(str(tmp_path / "both.yaml"))])
    assert_one_line(caught)


def test_faults_of_a_task_that_a_group_names_are_those_of_a_task(load: Callable[..., TaskSet], tmp_path: Path) -> None:
    """Its file lies beside the group's."""
    with pytest.raises(SuiteError):
        load("metric_list: [{metric: acc, higher_is_better: x}]")
    (tmp_path / "both.yaml").write_text(json.dumps({"group": "both", "task": ["mine"]}))
    with pytest.raises(SuiteError, match=r"^lm-eval task mine: metric_list: higher_is_better must be") as caught:
        load_tasks([TaskSource(str(tmp_path / "both.yaml"))])
    assert_one_line(caught)


def test_values_of_the_right_kind_are_measured(load: Callable[..., TaskSet]) -> None:
    """Each key that is looked at, with a value that it may have."""
    metric = "{metric: exact_match, aggregation: mean, higher_is_better: false, ignore_case: true}"
    regex = "{function: regex, regex_pattern: (a), group_select: -1, fallback: none}"
    steps = f"[{regex}, {{function: take_first_k, k: 1}}, {{function: take_first}}]"
    loaded = load(
        "doc_to_target: text",
        f"metric_list: [{metric}]",
        f"filter_list: [{{name: x, filter: {steps}}}]",
        "generation_kwargs: {do_sample: true, temperature: 1, top_p: 0.5, top_k: 0, max_gen_toks: 4, until: [a]}",
        "target_delimiter: ''",
        **GENERATED,
    )
    assert [*loaded.tasks] == ["mine"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], r"lm-eval task mine: .*rows.jsonl has no rows"),
        ([*ROWS, {"q": "Is it 3?", "right": 2, "text": ""}], "row 3: the target 2 is none of its 2 choices"),
        ([{"right": 0}], "'q' is undefined"),
    ],
    ids=["none", "a later target", "no column"],
)
def test_faults_of_rows_are_one_line(load: Callable[..., TaskSet], rows: list[dict[str, object]], said: str) -> None:
    """No rows, and rows without what the task asks."""
    with pytest.raises(SuiteError, match=said) as caught:
        load(rows=rows)
    assert_one_line(caught)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def ask(row) return 1", "SyntaxError"),
        ("from helper_that_is_gone import ask", "it needs the module helper_that_is_gone, which is not here"),
        ("import langdetect", r"needs the package langdetect.*pip install 'lm-eval\[ifeval\]'"),
        ("from antlr4 import ask", r"needs the package antlr4.*pip install 'lm-eval\[math\]'"),
        ("import json.nowhere", "it needs the module json.nowhere, which the installed json does not have"),
        ("raise ZeroDivisionError", "ZeroDivisionError"),
    ],
)
def test_faults_of_code_are_one_line(
    load: Callable[..., TaskSet], code: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra of lm-eval that brings a package, if one does."""
    for name in ("langdetect", "antlr4"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SuiteError, match=said) as caught:
        load("doc_to_text: !function code.ask", code=code)
    assert_one_line(caught)


def test_a_package_that_a_task_of_lm_eval_needs_is_named_before_its_rows_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra to install; nothing is read, and the hub is not asked."""
    monkeypatch.setitem(sys.modules, "langdetect", None)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("rows were read"))
    with pytest.raises(SuiteError, match=r"^lm-eval task ifeval: .*pip install 'lm-eval\[\w+\]'$"):
        load_tasks([TaskSource("ifeval")])


@pytest.fixture(scope="module")
def model_and_tokenizer(llama_folder: Path) -> tuple[Any, Any]:
    """A tiny model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(llama_folder).eval(), AutoTokenizer.from_pretrained(llama_folder)


def test_an_answer_without_room_for_its_question_is_told_before_it_is_generated(
    load: Callable[..., TaskSet], model_and_tokenizer: tuple[Any, Any]
) -> None:
    """lm-eval would stop in the middle."""
    model, tokenizer = model_and_tokenizer
    loaded = load("doc_to_target: text", "metric_list: [{metric: exact_match}]", **GENERATED)
    with pytest.raises(SuiteError, match=r"an answer of 256 tokens .* model's 200 positions: set generation_kwargs"):
        try_with_model(loaded, model, tokenizer, 200, chat_template=False, system_prompt=None)
    try_with_model(loaded, model, tokenizer, 300, chat_template=False, system_prompt=None)


def test_a_chat_template_that_cannot_render_a_task_is_told_before_anything_is_computed(
    load: Callable[..., TaskSet], model_and_tokenizer: tuple[Any, Any]
) -> None:
    """With the turns of its shots."""
    model, tokenizer = model_and_tokenizer[0], deepcopy(model_and_tokenizer[1])
    loaded = load("num_fewshot: 1", "training_split: test")
    try_with_model(loaded, model, tokenizer, 256, chat_template=True, system_prompt="Be brief.")
    tokenizer.chat_template = "{% if messages | length > 2 %}{{ raise_exception('no shots here') }}{% endif %}x"
    with pytest.raises(SuiteError, match="lm-eval task mine: TemplateError: no shots here"):
        try_with_model(loaded, model, tokenizer, 256, chat_template=True, system_prompt=None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{temperature: -1.0, do_sample: true}", "temperature"),
        ("{pad_token_id: x}", "pad_token_id|str"),
    ],
)
def test_settings_that_a_model_refuses_are_told_before_anything_is_computed(
    load: Callable[..., TaskSet], model_and_tokenizer: tuple[Any, Any], settings: str, said: str
) -> None:
    """Which judges values only as it generates."""
    metric, more = "metric_list: [{metric: exact_match}]", settings.strip("{}")
    loaded = load("doc_to_target: text", metric, f"generation_kwargs: {{max_gen_toks: 4, {more}}}", **GENERATED)
    with pytest.raises(SuiteError, match=said) as caught:
        try_with_model(loaded, *model_and_tokenizer, 256, chat_template=False, system_prompt=None)
    assert_one_line(caught)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "no_such_task", "--model_args", "pretrained=nowhere"], "Tasks not found: no_such_task"),
        (["--tasks", "mine.yaml", "--model", "no_such_model"], "no_such_model"),
        (["--tasks", "mine.yaml", "--model_args", "pretrained=./no_such_folder"], "no_such_folder"),
        (["--tasks", "broken.yaml", "--model_args", "pretrained=./no_such_folder"], "lm-eval: "),
        (["--model_args", "pretrained=./no_such_folder"], "No tasks specified"),
    ],
    ids=["task", "model", "folder", "file", "no task"],
)
def test_mistakes_on_lm_evals_own_command_line_are_one_line(
    arguments: list[str], said: str, load: Callable[..., TaskSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task, a model and a folder that are not there."""
    from lm_eval.tasks._index import TaskIndex

    load()
    (tmp_path / "broken.yaml").write_text("task: [")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(TaskIndex, "build", staticmethod(lambda *_, **__: {}))  # which takes seconds
    with pytest.raises(SuiteError, match=said) as caught:
        run_command_line(["run", *arguments])
    assert_one_line(caught)
