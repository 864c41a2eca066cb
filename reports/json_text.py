"""JSON from outside: one value, or one line that says why there is none, whatever the text holds."""

import json
from collections.abc import Callable
from typing import Any

DEEPEST_JSON = 64
"""Lists and objects within one another that are read; this project writes fewer than ten."""


class JsonError(ValueError):
    """A text that is no JSON, or JSON that no record of this project could be; the message is one clause."""


def parse_json(text: str | bytes, mapping: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None) -> Any:
    """Return the value of a JSON text in UTF-8.

    Args:
        text: The text.
        mapping: Makes a mapping of its keys and values in order; None is a dictionary.

    Raises:
        JsonError: It is not JSON, is nested deeper than `DEEPEST_JSON`, or has a number of thousands of digits.
    """
    try:
        value = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise JsonError(f"not valid JSON ({error.msg} at {place})") from None
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 text ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise JsonError(f"nested deeper than {DEEPEST_JSON} levels") from None
    except ValueError:  # the only other one: Python converts no number of more than 4,300 digits
        raise JsonError("a number with too many digits") from None
    if depth_of(value) > DEEPEST_JSON:
        raise JsonError(f"nested deeper than {DEEPEST_JSON} levels")
    return value


def depth_of(value: object) -> int:
    """Return how many lists and mappings are within one another at most, without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth
