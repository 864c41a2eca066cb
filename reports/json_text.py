"""JSON from outside: one value, or one line that says why there is none, whatever the text holds."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

DEEPEST_JSON = 64
"""Lists and objects within one another that are read; this project writes fewer than ten."""
_HALVES = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """A text that is no JSON, or JSON that no record of this project could be; the message is one clause."""


class JsonSyntaxError(JsonError):
    """A text that is no JSON at all."""


def parse_json(text: str | bytes, mapping: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None) -> Any:
    """Return the value of a JSON text in UTF-8.

    Args:
        text: The text.
        mapping: Makes a mapping of its keys and values in order, such as `unique_keys`; None is a dictionary, in which
            the last of equal keys wins.

    Raises:
        JsonSyntaxError: It is not JSON.
        JsonError: It is nested deeper than `DEEPEST_JSON`, has a number of thousands of digits, or `mapping` says so.
    """
    try:
        value = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise JsonSyntaxError(f"not valid JSON ({error.msg} at {place})") from None
    except UnicodeDecodeError as error:
        raise JsonSyntaxError(f"not UTF-8 text ({error.reason} at byte {error.start})") from None
    except JsonError:
        raise
    except RecursionError:
        raise JsonError(f"nested deeper than {DEEPEST_JSON} levels") from None
    except ValueError:  # the only other one: Python converts no number of more than 4,300 digits
        raise JsonError("a number with too many digits") from None
    if depth_of(value) > DEEPEST_JSON:
        raise JsonError(f"nested deeper than {DEEPEST_JSON} levels")
    return value


def unique_keys(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the mapping of these keys and values.

    Raises:
        JsonError: A key occurs twice; one of its two values would be lost.
    """
    made = dict(items)
    if len(made) != len(items) and (problem := problem_of_keys(key for key, _ in items)):
        raise JsonError(problem)
    return made


def problem_of_keys(keys: Iterable[str]) -> str | None:
    """Return the clause that names the first key that occurs twice, or None where none does."""
    twice = next((key for key, n_times in Counter(keys).items() if n_times > 1), None)
    return None if twice is None else f"{twice!r} occurs twice; give each value a name of its own"


def has_halves(value: object) -> bool:
    r"""Return whether a text in a value, keys included, holds half of a surrogate pair, as JSON writes by "\ud83d"."""
    if isinstance(value, str):
        return not value.isascii() and _HALVES.search(value) is not None
    if isinstance(value, Mapping):
        return any(map(has_halves, value)) or any(map(has_halves, value.values()))
    return isinstance(value, list) and any(map(has_halves, value))


def depth_of(value: object) -> int:
    """Return how many lists and mappings are within one another at most, without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth
