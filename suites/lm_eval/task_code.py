"""What a task file may do: its Jinja runs in a sandbox, and code that it brings runs only where the user allows it."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from reports.json_text import DEEPEST_JSON
from reports.plain_text import one_line
from suites.bounded_patterns import patterns_in_time
from suites.bounded_templates import BoundedEnvironment
from suites.inputs import SuiteError

OPTION = "--allow-task-code"
_MOST_VALUES = 1_000_000
"""Values of a task file, with those that its aliases stand for."""
_PATTERN_SECONDS = 5.0
"""Seconds of one replacement by a pattern."""
_FILTER_SECONDS = 60.0
_FILTER_SECONDS_PER_ROW = 0.1
"""Seconds of a filter in all: so many, and so many more a row. lm-eval's own take microseconds a row."""


class TaskCodeError(SuiteError):
    """A task file names code that would run, and the user did not allow it."""


def sandbox_templates() -> None:
    """Lets lm-eval compile the templates of task files in a sandbox with bounds, in this process."""
    from jinja2 import BaseLoader, StrictUndefined
    from lm_eval import utils

    if isinstance(utils.env, BoundedEnvironment):
        return
    sandbox = BoundedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)

    def regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
        with patterns_in_time(f"the pattern {one_line(repr(pattern))[:200]} of regex_replace", _PATTERN_SECONDS):
            return str(utils.regex_replace(string, pattern, repl, count))

    sandbox.filters["regex_replace"] = regex_replace
    utils.env = sandbox


@contextmanager
def filters_in_time() -> Iterator[None]:
    """Bounds the time of a task's filters within the block; a filter may hold any regular expression."""
    from lm_eval.api.filter import FilterEnsemble

    apply = FilterEnsemble.apply

    def bounded(ensemble: Any, instances: Any) -> None:
        seconds = _FILTER_SECONDS + _FILTER_SECONDS_PER_ROW * len(instances)
        with patterns_in_time(f"the filter {one_line(str(ensemble.name))[:100]}", seconds):
            apply(ensemble, instances)

    FilterEnsemble.apply = bounded
    try:
        yield
    finally:
        FilterEnsemble.apply = apply


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
    own = [Path(str(_yaml_loader.__file__)).parent.resolve(), *(folder.resolve() for folder in trusted)]
    changes: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (_yaml_loader, "_make_loader", lambda make: _shallow_loader(make, own))
    ]
    if not is_allowed:
        changes += [
            (_yaml_loader, "_import_func_in_yml", lambda load: _checked_import(load, own)),
            (lm_eval_task, "get_metric", _checked_metric),
        ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for (module, name, change), (_, _, function) in zip(changes, before, strict=True):
        setattr(module, name, change(function))
    try:
        with nullcontext() if is_allowed else _no_metrics_of_evaluate():
            yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def _shallow_loader(make: Callable[..., type], own: Sequence[Path]) -> Callable[..., Any]:
    """lm-eval's loader of YAML, with a look at the bounds of task files from elsewhere.

    The loader is in C and ends the process where a file is nested too deep.
    """

    def shallow(folder: Path, *, resolve_funcs: bool) -> Any:
        loader: Any = make(folder, resolve_funcs=resolve_funcs)
        if _is_within(folder, own):
            return loader

        class Shallow(loader):  # type: ignore[misc]
            def __init__(self, stream: Any) -> None:
                content = stream.read()
                _check_bounds(content, loader)
                super().__init__(content)

        return Shallow

    return shallow


def _check_bounds(content: bytes, loader: Any) -> None:
    """Checks the depth of a YAML text, and how much its aliases stand for, by its events, which need no stack."""
    import yaml

    sizes: list[tuple[str | None, int]] = [(None, 0)]
    """Anchor and number of values so far, of each collection around the event."""
    anchored: dict[str | None, int] = {}
    for event in yaml.parse(content, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append((event.anchor, 1))
            if len(sizes) > DEEPEST_JSON + 1:
                raise yaml.YAMLError(f"nested deeper than {DEEPEST_JSON} levels")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = sizes.pop()
            anchored |= {anchor: size} if anchor else {}
        else:
            size = anchored.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
        around, n_values = sizes[-1]
        sizes[-1] = (around, n_values + size)
        if n_values + size > _MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {_MOST_VALUES:,} values")


def _checked_import(load: Callable[[str, Path], Any], own: Sequence[Path]) -> Callable[[str, Path], Any]:
    """lm-eval's import of a function, for task files in these folders alone."""

    def checked(function: str, folder: Path) -> Any:
        if not _is_within(folder, own):
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


@contextmanager
def _no_metrics_of_evaluate() -> Iterator[None]:
    """Lets the library `evaluate` load nothing within the block, for tasks of lm-eval's own that call it themselves.

    It takes seconds to import, so it stays a module that is imported when somebody uses it.
    """
    if "evaluate" not in sys.modules:
        spec = importlib.util.find_spec("evaluate")
        if spec is None or spec.loader is None:
            yield
            return
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules["evaluate"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["evaluate"])
    evaluate = sys.modules["evaluate"]
    setattr(evaluate, "load", _refused_metric)  # noqa: B010 - a lazy module keeps what is set before it is imported
    try:
        yield
    finally:
        if type(evaluate) is ModuleType:
            setattr(evaluate, "load", sys.modules["evaluate.loading"].load)  # noqa: B010
        else:
            del sys.modules["evaluate"]


def _refused_metric(path: str, *_: Any, **__: Any) -> NoReturn:
    raise TaskCodeError(_refusal(f"the metric {path} is none of lm-eval's own"))


def _is_within(folder: Path, own: Sequence[Path]) -> bool:
    return any(folder.resolve().is_relative_to(each) for each in own)


def _refusal(what: str) -> str:
    return f"{what}, which would run code that is not part of lm-eval; read that code, then add {OPTION}"
