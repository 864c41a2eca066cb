"""Plain values into frozen dataclasses and back, strictly, with the words of every mistake."""

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Annotated, Any, TypeVar

from harness.config.wording import allowed, did_you_mean, shown, shown_name

Value = TypeVar("Value")
MOST_PROBLEMS = 20
"""Problems of one file that are told; those that follow from them are many more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with values."""

    key: tuple[str, ...]
    """Where it is, from the top."""
    message: str
    """The key, what is allowed, and what was given."""


class InvalidValuesError(ValueError):
    """Values that are not what a dataclass allows; callers raise their own error with the source of the values."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.message for problem in problems))
        self.problems = tuple(problems)


def build(kind: type[Value], values: Mapping[str, Any]) -> Value:
    """A frozen dataclass from plain values: no unknown keys, nothing converted, no infinite numbers.

    Raises:
        InvalidValuesError: with one problem for each key, misspelt keys first, `MOST_PROBLEMS` of them at most.
    """
    from pydantic import ValidationError

    unreadable = list(islice(_unreadable_texts(values), MOST_PROBLEMS))
    if unreadable:
        raise InvalidValuesError(unreadable)
    try:
        # JSON, because strict validation takes lists for tuples and mappings for dataclasses only from there.
        (built,) = _adapter(typing.cast("Any", kind)).validate_json(json.dumps([values]))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        # A list counts the items that are right, so that a wrong item makes its list too short as well.
        sections = {each["loc"][:length] for each in found for length in range(len(each["loc"]))}
        details = [each for each in found if each["loc"] not in sections]
        # A misspelt key is often a missing one as well: the first line is to be the one with the hint.
        details.sort(key=lambda detail: detail["type"] != "unexpected_keyword_argument")
        problems = [_problem(kind, values, each["type"], each["loc"][1:]) for each in details[:MOST_PROBLEMS]]
        raise InvalidValuesError(list(dict.fromkeys(problems))) from None
    return typing.cast("Value", built)


def holds_text(kind: type[Any], key: Sequence[str]) -> bool:
    """Whether a key of a dataclass, given from the top, holds text of any wording, or null."""
    found, annotation = _annotation_at(kind, key)
    if len(found) < len(key):
        return False
    options = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )
    bare = {_bare(option) for option in options} - {types.NoneType}
    return bare == {str}


def _unreadable_texts(value: Any, key: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Problems of texts, keys included, that no file and no library takes: with NUL, or half of a surrogate pair."""
    if isinstance(value, str):
        if "\0" in value or (not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value)):
            what = "a NUL character" if "\0" in value else "half of a surrogate pair, as bytes that are not UTF-8 give"
            yield Problem(key, f"{_dotted(key)} holds {what}: {shown(value)}")
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _unreadable_texts(name, (*key, name))
            yield from _unreadable_texts(below, (*key, name))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _unreadable_texts(below, (*key, str(index)))


def to_plain(value: Any) -> dict[str, Any]:
    """A dataclass as mappings, lists, texts, numbers, booleans and None, from which `build` makes an equal one."""
    (plain,) = _adapter(typing.cast("Any", type(value))).dump_python((value,), mode="json")
    return typing.cast("dict[str, Any]", plain)


@cache
def _adapter(kind: Any) -> Any:
    """Validates and dumps a list of one dataclass.

    The list is there because pydantic takes settings for everything within it, but none for a dataclass at the top.
    """
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(tuple[kind], config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))


def _problem(top: type[Any], values: Mapping[str, Any], kind: str, location: Sequence[str | int]) -> Problem:
    """One of pydantic's errors, in words taken from the annotation of the key."""
    key, annotation = _annotation_at(top, location)
    if kind == "unexpected_keyword_argument":
        unknown = str(location[-1])
        known = typing.get_type_hints(annotation) if dataclasses.is_dataclass(annotation) else {}
        dotted = _dotted((*key, unknown))
        return Problem(
            (*key, unknown), f"unknown key {dotted}{did_you_mean(unknown, known)}; known are: {', '.join(known)}"
        )
    dotted = _dotted(key)
    if kind == "missing":
        return Problem(key, f"the key {dotted} is missing; it must be {allowed(annotation)}")
    return Problem(key, f"{dotted} must be {allowed(annotation)}, got {shown(_value_at(values, key))}")


def _annotation_at(top: type[Any], location: Sequence[str | int]) -> tuple[tuple[str, ...], Any]:
    """The deepest key of our own along pydantic's location, and its annotation."""
    key: list[str] = []
    annotation: Any = top
    for part in location:
        bare = _bare(annotation)
        arguments = typing.get_args(bare)
        if dataclasses.is_dataclass(bare) and part in typing.get_type_hints(bare):
            annotation = typing.get_type_hints(bare, include_extras=True)[str(part)]
        elif typing.get_origin(bare) is dict or (
            typing.get_origin(bare) is tuple and dataclasses.is_dataclass(arguments[0])
        ):
            annotation = arguments[1] if typing.get_origin(bare) is dict else arguments[0]
        else:
            break
        key.append(str(part))
    return tuple(key), _bare(annotation) if dataclasses.is_dataclass(_bare(annotation)) else annotation


def _bare(annotation: Any) -> Any:
    """The annotation without its range, and without null beside a section."""
    if typing.get_origin(annotation) is Annotated:
        return typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(dataclasses.is_dataclass, typing.get_args(annotation)), annotation)
    return annotation


def _dotted(key: Iterable[str]) -> str:
    """A key as messages name it."""
    return shown_name(".".join(key)) or "the whole"


def _value_at(values: Any, key: Iterable[str]) -> Any:
    for part in key:
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values
