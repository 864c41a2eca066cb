r"""How many ways a regular expression of an adapter may try before it gives up on a name of a module.

Python tries one way after another, and ways multiply along a pattern: `(.|\w)?` twenty-five times has 3^25 of them.
"""

import re
from collections.abc import Sequence
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

MOST_WAYS = 2**18
"""Ways of all patterns of an adapter: some milliseconds for each name, of which a model has a thousand."""
_LONGEST_PATTERN = 2000
_NAME_LENGTH = 64
"""Characters of a long name of a module: places where a repeat of anything can end."""
_LETTER_TIMES = 8
"""Places where it can end if a certain letter comes next."""
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT)
_ONE_CHARACTER = (_constants.ANY, _constants.IN, _constants.LITERAL, _constants.NOT_LITERAL)


class UnboundedPatternError(ValueError):
    """A pattern is no regular expression, or has parts whose ways cannot be counted."""


def ways_of(pattern: str) -> int:
    """Estimate from above how many ways a pattern can be matched with one name of a module.

    Raises:
        UnboundedPatternError: it is no regular expression, is very long, refers to its own groups or repeats a group.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise UnboundedPatternError(pattern)
    try:
        re.compile(pattern)
        return _ways(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError):
        raise UnboundedPatternError(pattern) from None


def _ways(items: Sequence[Any]) -> int:
    """Multiply the ways of parts that follow one another."""
    ways = 1
    for index, (kind, value) in enumerate(items):
        if kind in _REPEATS:
            ways *= _ways_of_repeat(value, items[index + 1 :])
        elif kind is _constants.BRANCH:
            ways *= _ways_of_choice(value[1])
        elif kind in (_constants.GROUPREF, _constants.GROUPREF_EXISTS):
            raise UnboundedPatternError
        elif kind in (_constants.ASSERT, _constants.ASSERT_NOT):
            ways *= _ways(value[1])
        elif kind is _constants.SUBPATTERN:
            ways *= _ways(value[-1])
        elif kind is _constants.ATOMIC_GROUP:
            ways *= _ways(value)
        ways = min(ways, MOST_WAYS + 1)  # whole numbers without end take time themselves
    return ways


def _ways_of_repeat(value: Any, behind: Sequence[Any]) -> int:
    """Count the lengths that a repeat can have: of one character any, of a group only none and once."""
    least, most, repeated = value
    if len(repeated) == 1 and repeated[0][0] in _ONE_CHARACTER:
        return min(int(most) - int(least) + 1, _LETTER_TIMES if _needs_letter(behind) else _NAME_LENGTH)
    if most > 1:
        raise UnboundedPatternError
    return (2 - int(least)) * _ways(repeated) if most else 1


def _ways_of_choice(choices: Sequence[Any]) -> int:
    """Count the alternatives that can match at one place: of plain words those that begin with one another."""
    if all(kind is _constants.LITERAL for choice in choices for kind, _ in choice):
        words = ["".join(chr(letter) for _, letter in choice).lower() for choice in choices]  # a flag may ask for it
        return max(sum(word.startswith(other) for other in words) for word in words)
    return sum(_ways(choice) for choice in choices)


def _needs_letter(items: Sequence[Any]) -> bool:
    """Return whether a certain letter must come before the next part that varies in length."""
    for kind, value in items:
        if kind is _constants.LITERAL:
            return True
        if kind in _REPEATS:
            return False
        if kind is _constants.SUBPATTERN and _needs_letter(value[-1]):
            return True
        if kind is _constants.BRANCH and all(_needs_letter(choice) for choice in value[1]):
            return True
    return False
