"""The keys of a task file and what each may be: looked at once, before lm-eval takes them as they are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from math import isfinite
from typing import Any

from reports.plain_text import one_line
from suites.lm_eval.faults import TaskLoadError


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def _of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_number(value: Any) -> bool:
    return _of(int)(value) or (isinstance(value, float) and isfinite(value))


def _is_count(value: Any) -> bool:
    return _is_whole_number(value) and value > 0


def _is_aggregation(value: Any) -> bool:
    from lm_eval.api.registry import get_aggregation

    return callable(value) or (isinstance(value, str) and get_aggregation(value) is not None)


_Kinds = dict[str, tuple[str, Callable[[Any], bool]]]
_TEXT = ("a text", _of(str))
_TABLE = ("a table", _of(dict))
_TABLES = ("a list of tables", _is_list_of_tables)
_CODE = ("code (!function)", callable)
_PROMPT = ("a text, a number or code (!function)", lambda value: _of(str, int)(value) or callable(value))
_BOOLEAN = ("true or false", _of(bool))
_NUMBER = ("a number", _is_number)
_COUNT = ("a whole number, 1 or above", _is_count)
_NAME_OR_CODE = ("a text or code (!function)", lambda value: isinstance(value, str) or callable(value))
_KINDS: _Kinds = {
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
    **dict.fromkeys(("unsafe_code", "should_decontaminate"), _BOOLEAN),
    "num_fewshot": ("a number, 0 or above", _is_whole_number),
    "repeats": ("a number, 0 or above", _is_whole_number),
    "tag": ("a text or a list", _of(str, list)),
    "doc_to_text": _PROMPT,
    "doc_to_target": ("a text, a number, a list or code", lambda value: _of(str, int, list)(value) or callable(value)),
    "doc_to_choice": ("a text, a list, a table or code", lambda value: _of(str, list, dict)(value) or callable(value)),
    "aggregate_metric_list": ("a list of tables", lambda value: _is_list_of_tables(value) or isinstance(value, dict)),
}  # fmt: skip
"""Key -> what it may be, in words and as a test; null leaves it out. All others are lm-eval's to judge."""
_OF_METRICS: _Kinds = {
    "metric": _NAME_OR_CODE,
    "aggregation": ("the name of an aggregation of lm-eval, or code (!function)", _is_aggregation),
    **dict.fromkeys(
        ("higher_is_better", "hf_evaluate", "ignore_case", "ignore_punctuation", "ignore_numbers"), _BOOLEAN
    ),
    "regexes_to_ignore": ("a list of texts", _is_texts),
}  # fmt: skip
"""What lm-eval takes as it is, and reads after everything was computed; here null leaves nothing out."""
_OF_FILTERS: _Kinds = {
    "name": _TEXT,
    "filter": ("a list of tables, not empty", lambda value: bool(value) and _is_list_of_tables(value)),
}
_OF_STEPS: _Kinds = {
    "function": _NAME_OR_CODE,
    "k": _COUNT,
    "regex_pattern": _TEXT,
    "group_select": ("a whole number", _of(int)),
    "fallback": ("a text or a list of texts", lambda value: isinstance(value, str) or _is_texts(value)),
    "mapping_dict": _TABLE,
    **dict.fromkeys(("ignore_case", "ignore_punctuation"), _BOOLEAN),
    "regexes_to_ignore": ("a list of texts", _is_texts),
}
_OF_GROUPS_METRICS: _Kinds = {
    "metric": _NAME_OR_CODE,
    "weight_by_size": _BOOLEAN,
    "filter_list": (
        "a text or a list of texts",
        lambda value: value is None or isinstance(value, str) or _is_texts(value),
    ),
}
_OF_ANSWERS: _Kinds = {
    "do_sample": _BOOLEAN,
    **dict.fromkeys(
        ("temperature", "top_p", "typical_p", "min_p", "repetition_penalty", "length_penalty"),
        _NUMBER,
    ),
    **dict.fromkeys(("max_gen_toks", "max_new_tokens", "num_beams"), _COUNT),
    "top_k": ("a number, 0 or above", _is_whole_number),
}  # fmt: skip


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
    if "class" not in config:
        for place, table, kinds in _tables_within(config):
            _check_values(table, kinds, f"{what}: {place}")
    members = config.get("task")
    for member in members if isinstance(members, list) else []:
        if isinstance(member, Mapping):
            check_keys(member, what)
        elif not isinstance(member, str):
            raise TaskLoadError(f"{what}: a group has names and tables of tasks, got {one_line(repr(member)[:100])}")


def _tables_within(config: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any], _Kinds]]:
    """Yields where a table within a task or group stands, the table, and what its keys may be."""
    yield "generation_kwargs", config.get("generation_kwargs") or {}, _OF_ANSWERS
    for each in config.get("metric_list") or []:
        yield "metric_list", each, _OF_METRICS
    for each in config.get("filter_list") or []:
        yield "filter_list", each, _OF_FILTERS
        steps = each.get("filter")
        for step in steps if _is_list_of_tables(steps) else []:
            yield "filter_list: filter", step, _OF_STEPS
    summed_up = config.get("aggregate_metric_list") or []
    for each in [summed_up] if isinstance(summed_up, Mapping) else summed_up:
        yield "aggregate_metric_list", each, _OF_GROUPS_METRICS


def _check_values(table: Mapping[Any, Any], kinds: _Kinds, place: str) -> None:
    """Checks the values of a table; whether it has all keys that it needs is lm-eval's to judge."""
    for key, value in table.items():
        if not isinstance(key, str):
            raise TaskLoadError(f"{place} has the key {one_line(repr(key)[:100])}, which must be a text")
        wanted, is_right = kinds.get(key, ("", lambda _: True))
        if not is_right(value):
            raise TaskLoadError(f"{place}: {key} must be {wanted}, got {one_line(repr(value)[:100])}")
