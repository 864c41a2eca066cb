"""Task files that bring code run only where the user allows it; their templates never leave a sandbox."""

import json
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
from lm_eval.api.filter import FilterEnsemble
from lm_eval.api.instance import Instance
from lm_eval.filters.extraction import RegexFilter

import suites.lm_eval.task_code
from suites.bounded_patterns import PatternTimeError
from suites.inputs import SuiteError
from suites.lm_eval.files import TaskSource
from suites.lm_eval.loading import load_tasks
from suites.lm_eval.task_code import TaskCodeError, filters_in_time, task_code

TASK = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_choice: ["yes", "no"]
doc_to_target: 0
metric_list: [{metric: acc}]
"""
CODE = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n\ndef ask(row):\n    return row['q']\n"
WAYS = {
    "a function": ('doc_to_text: "{{q}}"', "doc_to_text: !function code.ask"),
    "a function of the library": ('doc_to_text: "{{q}}"', "doc_to_text: !function os.system"),
    "a class": ("task: mine", "task: mine\nclass: !function code.ask"),
    "a metric of the working folder": ("metric: acc", "metric: code"),
    "a metric of the library evaluate": ("metric: acc", "metric: acc, hf_evaluate: true"),
    "a function as a metric": ("metric: acc", "metric: !function code.ask"),
    "a function deep in the file": ("task: mine", "task: mine\nfewshot_config: {samples: !function code.ask}"),
    "a file that it includes": ("task: mine", "task: mine\ninclude: other.yaml"),
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a task with a change of its text beside rows and a file of code, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"q": "Is it?"}) + "\n")
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "other.yaml").write_text("process_docs: !function code.ask\n")

    def write_task(before: str = "", after: str = "") -> TaskSource:
        file = tmp_path / "mine.yaml"
        file.write_text(textwrap.dedent(TASK).replace(before, after) if before else TASK)
        return TaskSource(str(file))

    return write_task


@pytest.mark.parametrize("way", WAYS)
def test_code_of_a_task_file_is_refused_before_it_runs(write, tmp_path: Path, way: str) -> None:
    """One line with what the file names and the option to type; nothing of it is imported."""
    with pytest.raises(TaskCodeError, match=r"read that code, then add --allow-task-code") as caught:
        load_tasks([write(*WAYS[way])])
    assert not (tmp_path / "ran").exists()
    assert "\n" not in str(caught.value)


def test_code_runs_where_it_is_allowed(write, tmp_path: Path) -> None:
    """The same file is loaded with the option."""
    loaded = load_tasks([write(*WAYS["a function"])], allow_code=True)
    assert (tmp_path / "ran").exists()
    assert loaded.tasks["mine"].doc_to_text({"q": "Is it?"}) == "Is it?"


def test_what_ships_with_a_program_is_its_own_code(write, tmp_path: Path) -> None:
    """A folder that the caller trusts, as lm-eval's own, needs no option."""
    load_tasks([write(*WAYS["a function"])], folders=(tmp_path,))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "template",
    ["{{ cycler.__init__.__globals__.os.system('touch ran') }}", "{{ q.__class__.__mro__ }}", "{{ 'a' * 10**10 }}"],
)
@pytest.mark.parametrize("key", ["doc_to_text", "doc_to_target"])
def test_jinja_of_a_task_file_is_in_a_sandbox(write, tmp_path: Path, template: str, key: str) -> None:
    """With the option as well as without: a template needs no code."""
    line = next(line for line in TASK.splitlines() if line.startswith(key))
    for allow_code in (False, True):
        with pytest.raises(SuiteError, match="lm-eval task"):
            load_tasks([write(line, f"{key}: {json.dumps(template)}")], allow_code=allow_code)
    assert not (tmp_path / "ran").exists()


def test_a_pattern_of_a_task_file_has_a_time(write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats within repeats, which would go on for years, in a prompt and in a filter of answers."""
    monkeypatch.setattr(suites.lm_eval.task_code, "_PATTERN_SECONDS", 0.2)
    template = "{{ ('a' * 60) | regex_replace('(a+)+b', '') }}"
    with pytest.raises(SuiteError, match=r"the pattern '\(a\+\)\+b' of regex_replace takes more than 0.2 s"):
        load_tasks([write('"{{q}}"', json.dumps(template))])

    monkeypatch.setattr(suites.lm_eval.task_code, "_FILTER_SECONDS", 0.2)
    answers = [Instance("generate_until", {}, (), 0, resps=["a" * 60])]
    pattern = FilterEnsemble("strict", [partial(RegexFilter, regex_pattern="(a+)+b")])
    with filters_in_time(), pytest.raises(PatternTimeError, match=r"the filter strict takes more than 0\.3 s"):
        pattern.apply(answers)
    with filters_in_time():
        FilterEnsemble("strict", [partial(RegexFilter, regex_pattern="a(a)$")]).apply(answers)
    assert answers[0].filtered_resps["strict"] == ["a"]


@pytest.mark.slow
def test_a_metric_file_in_the_working_folder_runs_for_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not for a task of lm-eval's own, whose helper asks the library `evaluate` for it; later it is as before."""
    from lm_eval.tasks import _yaml_loader

    (tmp_path / "code_eval").mkdir()
    (tmp_path / "code_eval" / "code_eval.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    humaneval = Path(str(_yaml_loader.__file__)).parent / "humaneval"
    with task_code(is_allowed=False), pytest.raises(TaskCodeError, match="the metric code_eval is none of lm-eval's"):
        _yaml_loader._import_func_in_yml("utils.pass_at_k", humaneval)
    assert not (tmp_path / "ran").exists()
    assert sys.modules["evaluate"].load is sys.modules["evaluate.loading"].load
    monkeypatch.delitem(sys.modules, "evaluate")
    with task_code(is_allowed=False):
        pass
    assert "evaluate" not in sys.modules


def test_a_harmless_task_file_needs_nothing(write) -> None:
    """Templates, local rows and lm-eval's own metrics are no code."""
    assert load_tasks([write()]).tasks["mine"].doc_to_text({"q": "Is it?"}) == "Is it?"


@pytest.mark.parametrize(
    "rows",
    [
        'dataset_kwargs: {data_files: {test: "http://rows.invalid/rows.jsonl"}}',
        'dataset_kwargs: {data_files: ["https://rows.invalid/rows.jsonl"]}',
        'dataset_kwargs: {data_dir: "hf://datasets/a/b"}',
        "dataset_path: s3://rows.invalid/a",
    ],
)
def test_rows_at_an_address_are_one_line_offline(write, monkeypatch: pytest.MonkeyPatch, rows: str) -> None:
    """Nothing is asked, and nothing waits for an answer."""
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    key = rows.partition(":")[0]
    line = next(line for line in TASK.splitlines() if line.startswith(key))
    with pytest.raises(SuiteError, match=r"its rows are at \w+://.*, and HF_HUB_OFFLINE is set; fetch the file"):
        load_tasks([write(line, rows)])


@pytest.mark.parametrize("allow_code", [False, True])
@pytest.mark.parametrize("form", ["lists", "mappings", "lines", "a file that it includes"])
def test_a_task_file_is_nested_only_so_deep(write, tmp_path: Path, form: str, *, allow_code: bool) -> None:
    """lm-eval's own loader ends the process at a depth of 100,000: nothing of it may reach that loader."""
    deep = {
        "lists": "[" * 100_000 + "]" * 100_000,
        "mappings": "{a: " * 5000 + "1" + "}" * 5000,
        "lines": "- " * 3000 + "1",
    }
    text = f"metadata: {deep['lists']}" if form.startswith("a file") else f"metadata:\n  {deep[form]}"
    if form.startswith("a file"):
        (tmp_path / "deep.yaml").write_text(text)
        text = "include: deep.yaml"
    with pytest.raises(SuiteError, match=r"lm-eval task .*nested deeper than 64 levels"):
        load_tasks([write("task: mine", f"task: mine\n{text}")], allow_code=allow_code)


def test_the_aliases_of_a_task_file_stand_for_only_so_much(write) -> None:
    """A billion laughs are one line; a few anchors are what task files use."""
    laughs = "".join(f"\n  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    with pytest.raises(SuiteError, match=r"lm-eval task .*its aliases stand for more than 1,000,000 values"):
        load_tasks([write("task: mine", f"task: mine\nmetadata:\n  a0: &a0 [ha, ha]{laughs}")])
    anchors = "task: mine\nmetadata:\n  a: &a {version: 1}\n  b: *a\n  c: [*a, *a]"
    assert load_tasks([write("task: mine", anchors)]).tasks["mine"].config.metadata["c"] == [{"version": 1}] * 2
