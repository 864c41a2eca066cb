"""Words for messages: allowed values, given values, near matches, durations."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Gt, Le, Lt, MinLen, Predicate

from reports.paths import LONGEST_NAME, is_folder_name

_SHOWN_CHARACTERS = 80
_NAME_CHARACTERS = 200
_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: "null",
}


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """' (did you mean X?)', or nothing where no known word is near."""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def shown(value: object) -> str:
    """A value as JSON on one line, cut at 80 characters; its kind alone where it is too deep or has too many digits."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
    return cut(_escaped(text[: _SHOWN_CHARACTERS + 1]), _SHOWN_CHARACTERS)


def shown_name(name: str) -> str:
    """A key or an option from outside on one line, cut at 200 characters."""
    return cut(_escaped(name[: _NAME_CHARACTERS + 1]), _NAME_CHARACTERS)


def cut(text: str, n_characters: int) -> str:
    """The text, cut to a number of characters with "..." behind them."""
    return text if len(text) <= n_characters else text[:n_characters] + "..."


def listed(names: Iterable[object]) -> str:
    """Names from outside with commas between them, on one line: what cannot be printed is escaped."""
    return ", ".join(_escaped(str(name)) for name in names)


def _escaped(text: str) -> str:
    """The text with what cannot be printed, line breaks among it, as escapes."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def duration(seconds: float) -> str:
    """Seconds as text in a readable unit."""
    minutes = round(seconds / 60)
    if seconds < 90:  # noqa: PLR2004 - above it minutes are exact enough
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def allowed(annotation: Any) -> str:
    """Words for the values that a type annotation of the configuration allows."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        limits = _limits(arguments[1:])
        what, comma, items = allowed(arguments[0]).partition(
            ", each "
        )  # the limits of a list are not those of its items
        text = f"{what} {limits}{comma}{items}"
    elif origin is Literal:
        text = ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
    elif origin in (Union, types.UnionType):
        text = " or ".join(allowed(argument) for argument in arguments)
    elif origin is tuple:
        text = f"a list, each {allowed(arguments[0])}"
    elif origin is dict:
        text = f"a mapping of names, each to {allowed(arguments[1])}"
    elif dataclasses.is_dataclass(annotation):
        text = f"a mapping with keys from {', '.join(field.name for field in dataclasses.fields(annotation))}"
    else:
        text = _WORDS[annotation]
    return text


def _limits(limits: Sequence[Any]) -> str:
    """Words for what an annotation limits: both ends of a range as one."""
    match limits:
        case (Ge(ge=low), Le(le=high)):
            return f"from {_number(low)} to {_number(high)}"
    return " and ".join(map(_range, limits))


def _range(limit: Any) -> str:
    match limit:
        case Ge(ge=bound):
            return f"of at least {_number(bound)}"
        case Gt(gt=bound):
            return f"above {_number(bound)}"
        case Le(le=bound):
            return f"of at most {_number(bound)}"
        case Lt(lt=bound):
            return f"below {_number(bound)}"
        case MinLen():
            return "that is not empty"
        case Predicate(func=function) if function is is_folder_name:
            return f'that a folder can be named by: 1 to {LONGEST_NAME} characters, no / \\ : * ? " < > |, no dot first'
    raise TypeError(f"no words for {limit!r}")


def _number(bound: Any) -> str:
    """A bound as people write it: 16,384 and 0.5."""
    return f"{bound:,.0f}" if bound == int(bound) else f"{bound:g}"
