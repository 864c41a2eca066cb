"""`harness lm-eval validate`: task files are judged by the rule of a suite."""

import sys
from pathlib import Path

import pytest

from suites.lm_eval.command_line import run_command_line
from suites.lm_eval.faults import TaskLoadError, told_in_one_line
from suites.lm_eval.index import UnknownTaskError
from suites.lm_eval.task_code import TaskCodeError
from tests.suites.lm_eval.test_task_code import CODE, TASK, WAYS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a file of code."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "other.yaml").write_text("process_docs: !function code.ask\n")
    (tmp_path / "mine.yaml").write_text(TASK)
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("named", [("mine.yaml",), ("mine", "--include_path", "."), ("mi*", "--include_path", ".")])
def test_code_is_refused_with_the_name_of_the_option(folder: Path, way: str, named: tuple[str, ...]) -> None:
    """However the file is named and whatever way it brings code, as in a suite."""
    (folder / "mine.yaml").write_text(TASK.replace(*WAYS[way]))
    with pytest.raises(TaskCodeError, match="then add --allow-task-code"):
        run_command_line(["validate", "--tasks", *named])
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "group",
    [
        "group: all\ntask: [{task: inner, dataset_path: json, doc_to_text: !function code.ask}]\n",
        "group: all\ntask: [mine]\n",
        "group: all\ntask: [{task: inner, dataset_path: json, metric_list: [{metric: code}]}]\n",
    ],
)
def test_code_of_what_a_group_lists_is_refused_too(folder: Path, group: str) -> None:
    """In the group's own file, and in those of its members."""
    (folder / "mine.yaml").write_text(TASK.replace(*WAYS["a function"]))
    (folder / "all.yaml").write_text(group)
    with pytest.raises(TaskCodeError):
        run_command_line(["validate", "--tasks", "all", "--include_path", str(folder)])


def test_allowed_code_and_files_without_any_are_valid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With lm-eval's own words."""
    run_command_line(["validate", "--tasks", "mine.yaml"])
    (folder / "mine.yaml").write_text(TASK.replace(*WAYS["a function"]))
    run_command_line(["validate", "--tasks", "mine", "--include_path", ".", "--allow-task-code"])
    assert capsys.readouterr().out.count("All tasks found and valid") == 2
    assert (folder / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nope.yaml",), TaskLoadError),
        (("mine", "--include_path", "nowhere"), TaskLoadError),
        (("mien", "--include_path", "."), UnknownTaskError),
    ],
)
def test_what_is_not_there_is_one_line(folder: Path, arguments: tuple[str, ...], error: type[Exception]) -> None:
    """A file, a folder, a name."""
    assert folder.is_dir()
    with pytest.raises(error) as caught:
        run_command_line(["validate", "--tasks", *arguments])
    assert len(str(caught.value).splitlines()) == 1


def test_a_logger_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval goes on without W&B's package, and then uses it: the line says what to install."""
    from lm_eval.loggers import WandbLogger

    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(TaskLoadError, match=r"pip install 'lm-eval\[wandb\]'"), told_in_one_line("lm-eval"):
        WandbLogger({"project": "x"})


def test_a_variable_that_was_never_set_is_no_module() -> None:
    """A mistake in a task's own code is told as what it is."""
    source = "def fails():\n    if 0:\n        value = 1\n    return value\n"
    names: dict[str, object] = {}
    exec(source, names)
    with pytest.raises(TaskLoadError, match="UnboundLocalError"), told_in_one_line("lm-eval task mine"):
        names["fails"]()  # type: ignore[operator]
