"""What a task file may do: its Jinja runs in a sandbox, and code that it brings runs only where the user allows it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suites.bounded_templates import BoundedEnvironment
from suites.inputs import SuiteError

OPTION = "--allow-task-code"


class TaskCodeError(SuiteError):
    """A task file names code that would run, and the user did not allow it."""


def sandbox_templates() -> None:
    """Lets lm-eval compile the templates of task files in a sandbox with bounds, in this process."""
    from jinja2 import BaseLoader, StrictUndefined
    from lm_eval import utils

    if isinstance(utils.env, BoundedEnvironment):
        return
    sandbox = BoundedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters["regex_replace"] = utils.regex_replace
    utils.env = sandbox


@contextmanager
def task_code(*, is_allowed: bool, trusted: Sequence[Path] = ()) -> Iterator[None]:
    """Lets task files bring code within the block only where it is allowed, or where they are part of a program.

    lm-eval imports a function for `!function` (also as `class` and as a metric), and looks for a metric that it does
    not know in the library `evaluate`, which runs a file of that name in the working folder or fetches one.

    Args:
        is_allowed: Whether the user allows it.
        trusted: Folders of task files that ship with a program, besides lm-eval's own.

    Raises:
        TaskCodeError: A file names code; the message says which file, what it names and what to type.
    """
    from lm_eval.api import task as lm_eval_task
    from lm_eval.tasks import _yaml_loader

    sandbox_templates()
    if is_allowed:
        yield
        return
    own = [Path(str(_yaml_loader.__file__)).parent.resolve(), *(folder.resolve() for folder in trusted)]
    names = ((_yaml_loader, "_import_func_in_yml"), (lm_eval_task, "get_metric"))
    before = [(module, name, getattr(module, name)) for module, name in names]
    checked = (_checked_import(before[0][2], own), _checked_metric(before[1][2]))
    try:
        for (module, name, _), function in zip(before, checked, strict=True):
            setattr(module, name, function)
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def _checked_import(load: Callable[[str, Path], Any], own: Sequence[Path]) -> Callable[[str, Path], Any]:
    """lm-eval's import of a function, for task files in these folders alone."""

    def checked(function: str, folder: Path) -> Any:
        if not any(folder.resolve().is_relative_to(each) for each in own):
            raise TaskCodeError(_refusal(f"a task file in {folder} names the function {function}"))
        return load(function, folder)

    return checked


def _checked_metric(find: Callable[..., Any]) -> Callable[..., Any]:
    """lm-eval's search for a metric, among its own alone."""

    def checked(name: str, hf_evaluate_metric: bool = False) -> Any:
        import lm_eval.api.metrics  # noqa: F401 - fills the registry
        from lm_eval.api.registry import metric_registry

        if hf_evaluate_metric or name not in metric_registry:
            raise TaskCodeError(_refusal(f"the metric {name} is none of lm-eval's own"))
        return find(name, hf_evaluate_metric)

    return checked


def _refusal(what: str) -> str:
    return f"{what}, which would run code that is not part of lm-eval; read that code, then add {OPTION}"
