"""The keys of a task file and what each may be: looked at once, before lm-eval takes them as they are."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from reports.plain_text import one_line
from suites.lm_eval.faults import TaskLoadError


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def _of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


_TEXT = ("a text", _of(str))
_TABLE = ("a table", _of(dict))
_TABLES = ("a list of tables", _is_list_of_tables)
_CODE = ("code (!function)", callable)
_PROMPT = ("a text, a number or code (!function)", lambda value: _of(str, int)(value) or callable(value))
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(
        (
            "task_alias", "group_alias", "dataset_path", "dataset_name", "training_split", "validation_split",
            "test_split", "fewshot_split", "output_type", "description", "target_delimiter", "fewshot_delimiter",
            "use_prompt", "gen_prefix", "doc_to_decontamination_query",
        ),
        _TEXT,
    ),
    **dict.fromkeys(("dataset_kwargs", "generation_kwargs", "fewshot_config"), _TABLE),
    **dict.fromkeys(("metric_list", "filter_list"), _TABLES),
    **dict.fromkeys(("process_docs", "process_results", "custom_dataset", "class"), _CODE),
    **dict.fromkeys(("unsafe_code", "should_decontaminate"), ("true or false", _of(bool))),
    "num_fewshot": ("a number, 0 or above", _is_whole_number),
    "repeats": ("a number, 0 or above", _is_whole_number),
    "tag": ("a text or a list", _of(str, list)),
    "doc_to_text": _PROMPT,
    "doc_to_target": ("a text, a number, a list or code", lambda value: _of(str, int, list)(value) or callable(value)),
    "doc_to_choice": ("a text, a list, a table or code", lambda value: _of(str, list, dict)(value) or callable(value)),
    "aggregate_metric_list": ("a list of tables", lambda value: _is_list_of_tables(value) or isinstance(value, dict)),
}  # fmt: skip
"""Key -> what it may be, in words and as a test; null leaves it out. All others are lm-eval's to judge."""


def check_keys(config: Mapping[Any, Any], what: str) -> None:
    """Checks the keys of a task or group, and of the tasks and groups within it.

    Args:
        config: Content of a file, its functions imported.
        what: What a message begins with.

    Raises:
        TaskLoadError: Names the first key that lm-eval does not know, or that is not what it may be.
    """
    from lm_eval.config.group import GroupConfig
    from lm_eval.config.task import TaskConfig

    known = {each.name for kind in (TaskConfig, GroupConfig) for each in fields(kind)} | {
        "class",
        "task_list",
        "include",
    }
    for key, value in config.items():
        name = one_line(str(key))[:100]
        if key not in known and "class" not in config:  # which may read keys of its own
            near = get_close_matches(name, known, n=1)
            raise TaskLoadError(f"{what}: {name} is no key of a task{f'; did you mean {near[0]}?' if near else ''}")
        wanted, is_right = _KINDS.get(key, ("", lambda _: True))
        if (value is not None or key == "class") and not is_right(value):
            raise TaskLoadError(f"{what}: {name} must be {wanted}, got {one_line(repr(value)[:100])}")
    members = config.get("task")
    for member in members if isinstance(members, list) else []:
        if isinstance(member, Mapping):
            check_keys(member, what)
        elif not isinstance(member, str):
            raise TaskLoadError(f"{what}: a group has names and tables of tasks, got {one_line(repr(member)[:100])}")
