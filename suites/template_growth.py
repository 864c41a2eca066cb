"""What one step of a template may make: asked of its arguments, before the step is taken.

A filter, a method or an operator is one step for Python, which nothing interrupts, so the size of its result, and of
what it makes on the way, is bounded from what it is given.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from typing import Any

from jinja2 import TemplateError
from jinja2.utils import Namespace

MOST_CHARACTERS = 2**25
"""Characters of a rendering, and of any text on the way to it."""
MOST_TAKEN_APART = 2**21
"""Characters of a text that is taken apart into words or characters, each of which is a value of its own."""
MOST_ITEMS = 2**20
"""Items of a list, with those of the lists in it, as often as they are in it."""
MOST_BITS = 14_284
"""Bits of a whole number: 4,300 digits, the most that Python prints."""
MOST_DIGITS = 300
"""Digits that a number is rounded to, either way; a floating-point number has no more."""
_MOST_COPIED = 2**32
"""Characters that wrapping may copy: half a second."""
_NO_METHODS = frozenset({"encode", "to_bytes"})
"""Methods that make bytes, which have no use in a text."""
_DIGITS = re.compile(r"[0-9]+")
_FIELD_IN_FIELD = re.compile(r"\{[^{}]*\{")
_KEEPING = frozenset(
    "attr batch count d default first items last length list map random reject rejectattr"  # noqa: SIM905
    " reverse select selectattr slice sum".split()
)
"""Filters that take values as they are; all others write them as text, or compare them in small letters."""
_WHOLE = frozenset(
    "attr capitalize casefold center count d default e endswith escape expandtabs find first float"  # noqa: SIM905
    " forceescape format index int isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric"
    " isprintable isspace istitle isupper last length ljust lower lstrip removeprefix removesuffix replace"
    " rfind rindex rjust rstrip safe startswith string strip swapcase tojson trim truncate upper zfill".split()
)
"""Filters and methods that take a text as a whole; all others may take it apart."""
BYTES = (bytes, bytearray, memoryview)
_SEQUENCES = (list, tuple, range, AbstractSet, ValuesView)  # the views of keys and items are sets


class TemplateBoundError(TemplateError):
    """A template goes on too long, or makes too much text."""


def _bytes_error() -> TemplateBoundError:
    return TemplateBoundError("the template makes bytes, which are no text")


def check_no_bytes(*values: Any) -> None:
    """Checks that no value is one of bytes, of which nothing else here counts the size.

    Raises:
        TemplateBoundError: One is.
    """
    if any(isinstance(each, BYTES) for each in values):
        raise _bytes_error()


def check_growth(name: str, own: Any, arguments: Iterable[Any]) -> None:
    """Checks that a method or filter cannot make a text beyond the bounds.

    Args:
        name: Its name.
        own: The value that it is called on.
        arguments: Its arguments, in any order.

    Raises:
        TemplateBoundError: It could.
    """
    given = list(arguments)
    name = "format" if name == "format_map" else name
    if name in _NO_METHODS:
        raise _bytes_error()
    check_no_bytes(own, *given)
    if name not in _KEEPING:
        bounded_text([own, *given])
    if isinstance(own, str) and name not in _WHOLE:
        _check_taken_apart(own)
    if check := _CHECKS.get(name):
        check(own, given)


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Checks that an arithmetic operation cannot make a value beyond the bounds.

    Raises:
        TemplateBoundError: It could.
    """
    check_no_bytes(left, right)
    if operator == "*":
        for sequence, times in ((left, right), (right, left)):
            if isinstance(sequence, str | list | tuple) and isinstance(times, int):
                _check_length(sequence, len(sequence) * max(times, 0))
        if isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() + right.bit_length())
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * max(right, 0))
    elif operator == "%" and isinstance(left, str):
        check_growth("format", left, right if isinstance(right, tuple) else (right,))
    elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        _check_length(left, len(left) + len(right))


def _check_taken_apart(text: str) -> None:
    if len(text) > MOST_TAKEN_APART:
        raise TemplateBoundError(f"the template takes a text of more than {MOST_TAKEN_APART:,} characters apart")


def _check_format(own: Any, given: list[Any]) -> None:
    """Bounds `format` and `%`: every width that is written there, and every field as long as the longest argument."""
    if not isinstance(own, str):
        return
    n_fields = own.count("{") + own.count("%")
    is_nested = bool(_FIELD_IN_FIELD.search(own))  # so that an argument is the format of another
    texts = [own, *(each for each in _flat(given) if isinstance(each, str))] if is_nested else [own]
    widths: list[float] = [int(each[:9]) for text in texts for each in _DIGITS.findall(text)]
    if is_nested or "*" in own:
        widths += [n_fields * each for each in (*widths, _largest(given))]
    check_size(sum(widths))
    check_size(n_fields * max(map(_n_characters, given), default=0))


def _check_padded(own: Any, given: list[Any]) -> None:
    """Bounds what is added to each line of a text."""
    n_lines = own.count("\n") + own.count("\t") + 1 if isinstance(own, str) else 1
    check_size(n_lines * max(_largest(given), _longest(given)))


def _check_replaced(own: Any, given: list[Any]) -> None:
    texts = [each for each in given if isinstance(each, str)]
    if isinstance(own, str) and len(texts) > 1:
        check_size(len(own) + own.count(texts[0]) * len(texts[1]))


def _check_rounded(_own: Any, given: list[Any]) -> None:
    """Bounds the power of ten that a number is multiplied with."""
    if _largest(given) > MOST_DIGITS:
        raise TemplateBoundError(f"the template rounds to more than {MOST_DIGITS} digits")


def _check_json(own: Any, given: list[Any]) -> None:
    """Bounds values that stand on a line each, as far to the right as they are deep."""
    n_values, depth = _n_values_and_depth(own)
    check_size(n_values * depth * max(_largest(given), _longest(given)))


def _check_translated(own: Any, given: list[Any]) -> None:
    tables = [each for each in given if isinstance(each, Mapping)]
    if isinstance(own, str):
        check_size(len(own) * max((len(each) for each in _flat(tables) if isinstance(each, str)), default=1))


def _check_linked(own: Any, given: list[Any]) -> None:
    """Bounds what is added to each address, which has five letters at least."""
    if isinstance(own, str):
        check_size((len(own) // 5 + 1) * _longest(given))


def _check_wrapped(own: Any, given: list[Any]) -> None:
    """Bounds what is put behind each line, which can be a letter, and what is copied of a word at each of its lines."""
    if isinstance(own, str):
        check_size((len(own) + 1) * max(_longest(given), 1))
        widths = [each for each in given if isinstance(each, int) and each > 0 and not isinstance(each, bool)]
        if sum(len(word) ** 2 for word in own.split()) / min([79, *widths]) > _MOST_COPIED:
            raise TemplateBoundError("the template wraps words that are too long")


def _check_join(own: Any, given: list[Any]) -> None:
    """Bounds `separator.join(items)` and `items | join(separator)`; items of other kinds are written shorter."""
    if isinstance(own, str) and given and isinstance(given[0], str):  # the filter or the method: either way round
        for items, separator in ((own, given[0]), (given[0], own)):
            _check_taken_apart(items)
            check_size((len(separator) + 1) * len(items))
        return
    separator = own if isinstance(own, str) and given else (given or [""])[0]
    items = given[0] if separator is own and given else own
    between = len(separator) if isinstance(separator, str) else 0
    if isinstance(items, str):
        _check_taken_apart(items)
        check_size((between + 1) * len(items))
    elif isinstance(items, Mapping | list | tuple | AbstractSet | ValuesView | range):
        check_size(sum(len(each) for each in items if isinstance(each, str)) + between * len(items))


def _check_sum(own: Any) -> None:
    """Bounds `lists | sum(start=[])`, which copies what it has so far at every list."""
    if isinstance(own, list | tuple):
        lengths = [len(each) for each in own if isinstance(each, str | list | tuple)]
        check_size(len(lengths) * sum(lengths))


_CHECKS: dict[str, Callable[[Any, list[Any]], None]] = {
    "format": _check_format,
    "join": _check_join,
    "replace": _check_replaced,
    "round": _check_rounded,
    "sum": lambda own, _given: _check_sum(own),
    "tojson": _check_json,
    "translate": _check_translated,
    "urlize": _check_linked,
    "wordwrap": _check_wrapped,
} | dict.fromkeys(("center", "ljust", "rjust", "zfill", "indent", "expandtabs", "batch", "slice"), _check_padded)
"""Filters and methods of texts whose result can be longer than what they are given -> what bounds it."""


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Yields values and all values in them."""
    some = [*values]
    while some:
        each = some.pop()
        yield each
        some += _parts(each)


def _largest(values: Iterable[Any]) -> float:
    return max((abs(each) for each in _flat(values) if isinstance(each, int | float)), default=0)


def _longest(values: Iterable[Any]) -> int:
    return max((len(each) for each in values if isinstance(each, str)), default=0)


def _parts(value: Any) -> list[Any]:
    """The values that a value holds and that are printed with it."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, Namespace):
        return [object.__getattribute__(value, "_Namespace__attrs")]
    if isinstance(value, range):
        return []
    return list(value) if isinstance(value, _SEQUENCES) else []


def bounded_text(value: Any) -> Any:
    """Returns the value, if the texts in it, as often as they are in it, are not too long to be printed.

    Raises:
        TemplateBoundError: They are.
    """
    _n_characters(value)
    return value


def _n_characters(value: Any) -> int:
    n_characters, some = 0, [value]
    while some:
        each = some.pop()
        if isinstance(each, str):
            n_characters += len(each)
        elif isinstance(each, BYTES):
            n_characters += 4 * len(each)  # `\x00`
        elif isinstance(each, int):
            _check_bits(each.bit_length())
        else:
            parts = _parts(each)
            n_characters += len(parts)
            some += parts
        check_size(n_characters)
    return n_characters


def n_items(value: Any) -> int:
    """Counts the items of a value and of the values in it, as often as they are in it.

    Raises:
        TemplateBoundError: There are too many.
    """
    return _n_values_and_depth(value)[0] - 1


def _n_values_and_depth(value: Any) -> tuple[int, int]:
    """Counts values, the value itself included, and how many are within one another."""
    n_values = depth = 0
    level = [value]
    while level:
        n_values, depth = n_values + len(level), depth + 1
        if n_values > MOST_ITEMS:
            raise TemplateBoundError(f"the template makes lists of more than {MOST_ITEMS:,} items")
        below: list[Any] = []
        for each in level:
            if isinstance(each, (Mapping, Namespace, *_SEQUENCES)):
                below += _parts(each)
            if len(below) > MOST_ITEMS:
                break
        level = below
    return n_values, depth


def check_number(value: Any) -> None:
    """Checks that a whole number can be printed, and computed with in no time.

    Raises:
        TemplateBoundError: It has too many digits.
    """
    if isinstance(value, int):
        _check_bits(value.bit_length())


def _check_length(sequence: str | list[Any] | tuple[Any, ...], length: int) -> None:
    if isinstance(sequence, str):
        check_size(length)
    elif length > MOST_ITEMS:
        raise TemplateBoundError(f"the template makes lists of more than {MOST_ITEMS:,} items")


def _check_bits(n_bits: int) -> None:
    if n_bits > MOST_BITS:
        raise TemplateBoundError(f"the template makes numbers of more than {MOST_BITS:,} bits")


def check_size(size: float) -> None:
    """Checks the number of characters of a text.

    Raises:
        TemplateBoundError: There are too many.
    """
    if size > MOST_CHARACTERS:
        raise TemplateBoundError(f"the template makes texts of more than {MOST_CHARACTERS:,} characters")
