"""Jinja from outside (chat templates, lm-eval's task files): in a sandbox, with bounds on its steps, size and time.

A sandbox keeps a template from Python's own objects. It does not keep it from a loop of 1e10, or from a text of 1e10
characters, so loops and calls are counted here, and whatever can make a text of a length that a number names is asked
before it does.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_STEPS = 1_000_000
"""Turns of loops and calls of one rendering."""
MOST_CHARACTERS = 2**25
"""Characters of a rendering, and of any text on the way to it."""
MOST_MADE = 2**28
"""Characters that one rendering makes in all, an item of a list counted as eight of them."""
MOST_ITEMS = 2**20
"""Items of a list, with those of the lists in it, as often as they are in it."""
MOST_BITS = 2**20
"""Bits of a whole number that an operator makes."""
MOST_SECONDS = 10.0
"""Seconds of one rendering."""
_LONG_NUMBER = re.compile(r"[0-9]{8}")
_PADDING = (
    "center",
    "ljust",
    "rjust",
    "zfill",
    "format",
    "indent",
    "expandtabs",
    "tojson",
    "batch",
    "slice",
    "wordwrap",
)
"""Filters and methods of texts whose result can be as long as a number that they are given."""
_KEEPING = frozenset(
    "attr batch count d default dictsort first groupby items last length list map max min"  # noqa: SIM905
    " random reject rejectattr reverse select selectattr slice sort sum unique".split()
)
"""Filters that take values as they are; all others write them as text."""


class TemplateBoundError(TemplateError):
    """A template goes on too long, or makes too much text."""


class _BoundedTemplate(Template):
    """A template whose every rendering has the full bounds."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        """Returns the text that the template makes of these values."""
        assert isinstance(self.environment, BoundedEnvironment)
        self.environment.begin()
        return super().render(*args, **kwargs)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox for code that is not trusted, with bounds.

    Raises `TemplateBoundError` from a rendering that exceeds one of them.
    """

    template_class = _BoundedTemplate
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters = _BoundedFilters(self, self.filters)
        self.globals.pop("lipsum", None)  # makes as much text as a number names
        self.finalize = _bounded_text
        self.concat = self.joined  # type: ignore[method-assign]
        self.begin()

    def begin(self) -> None:
        """Gives what follows the full bounds."""
        self._n_steps, self._n_made, self._deadline = 0, 0, time.monotonic() + MOST_SECONDS

    def step(self) -> bool:
        """Counts a step of a rendering; always true."""
        self._n_steps += 1
        if self._n_steps > MOST_STEPS:
            raise TemplateBoundError(f"the template takes more than {MOST_STEPS:,} steps")
        if time.monotonic() > self._deadline:  # at every step, because one can take long
            raise TemplateBoundError(f"the template takes more than {MOST_SECONDS:g} s")
        return True

    def made(self, value: Any) -> Any:
        """Counts a value that a step made, and returns it."""
        if isinstance(value, str):
            self._n_made += len(value)
        elif isinstance(value, list | tuple | Mapping):
            self._n_made += 8 * _n_items(value)
        if self._n_made > MOST_MADE:
            raise TemplateBoundError(f"the template makes more than {MOST_MADE:,} characters in all")
        return value

    def listed(self, value: Any) -> Any:
        """Returns what an iterator yields as a list, so that its size can be asked; other values as they are."""
        if not isinstance(value, Iterator):
            return value
        items = []
        for item in value:
            self.step()
            items.append(item)
        return items

    def joined(self, parts: Iterable[str]) -> str:
        """Joins the parts of a text."""
        kept, n_characters = [], 0
        for part in parts:
            n_characters += len(part)
            _check_size(n_characters)
            kept.append(part)
        return str(self.made("".join(kept)))

    def concatenation(self, *parts: Any) -> str:
        """What `a ~ b` is: the parts as one text."""
        return self.joined(str(_bounded_text(part)) for part in parts)

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls what a template calls, if the sandbox allows it and its result can be bounded."""
        self.step()
        method = getattr(called, "__wrapped__", called)  # the sandbox wraps the method `format` of texts
        own = getattr(method, "__self__", None)
        if isinstance(own, str):
            args = tuple(self.listed(each) for each in args)
            check_growth(method.__name__, own, (*args, *kwargs.values()))
        return self.made(super().call(context, called, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Computes an arithmetic operation, if its result can be bounded."""
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
        return self.made(super().call_binop(context, operator, left, right))

    def handle_exception(self, source: str | None = None) -> "Any":
        """Raises what went wrong in a rendering, the interpreter's own limits as bounds of ours."""
        try:
            super().handle_exception(source)
        except (RecursionError, MemoryError, OverflowError) as error:
            raise TemplateBoundError(f"the template is too large to render ({type(error).__name__})") from None

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        try:
            return _Counted().visit(super()._parse(source, name, filename))  # type: ignore[no-any-return]
        except RecursionError:
            raise TemplateBoundError("the template is nested too deep") from None


class _Counted(NodeTransformer):
    """Adds a step to every turn of a loop, and a bound to every concatenation."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's names
        """Counts what a loop goes through, also what its condition passes over."""
        self.generic_visit(node)
        step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
        node.test = step if node.test is None else nodes.And(step, node.test)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802
        """Replaces `a ~ b` by a call."""
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("concatenation"), node.nodes, [], None, None)

    def visit_List(self, node: nodes.List | nodes.Dict | nodes.Tuple) -> nodes.Expr:  # noqa: N802
        """Counts a collection that is written out, with what its items hold."""
        self.generic_visit(node)
        if isinstance(node, nodes.Tuple) and node.ctx != "load":  # the names of `for a, b in ...`
            return node
        return nodes.Call(nodes.EnvironmentAttribute("made"), [node], [], None, None)

    visit_Dict = visit_Tuple = visit_List  # noqa: N815


class _BoundedFilters(dict[str, Any]):
    """Filters by name, each asked for the size of its result before it is called."""

    def __init__(self, environment: BoundedEnvironment, filters: Mapping[str, Any]) -> None:
        super().__init__(filters)
        self._environment = environment

    def __getitem__(self, name: str) -> Any:
        return _bounded(self._environment, name, super().__getitem__(name))

    def get(self, name: str, default: Any = None) -> Any:
        """The filter, also where Jinja computes constants as it compiles."""
        return self[name] if name in self else default  # noqa: SIM401 - this is `get`


def _bounded(environment: BoundedEnvironment, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, as a step whose arguments are checked before the call."""
    n_passed = int(hasattr(function, "jinja_pass_arg"))  # the context or environment that Jinja passes first

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        environment.step()
        passed, own, others = args[:n_passed], environment.listed(args[n_passed]), args[n_passed + 1 :]
        check_growth(name, own, (*others, *kwargs.values()))
        return environment.made(function(*passed, own, *others, **kwargs))

    return checked


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
    if name not in _KEEPING:
        _bounded_text([own, *given])
    texts = [each for each in given if isinstance(each, str)]
    if name == "replace" and isinstance(own, str) and len(texts) > 1:
        _check_size(len(own) + own.count(texts[0]) * len(texts[1]))
    elif name == "translate" and isinstance(own, str):
        tables = (each for each in given if isinstance(each, Mapping))
        longest = max((len(each) for table in tables for each in table.values() if isinstance(each, str)), default=1)
        _check_size(len(own) * longest)
    elif name == "join":
        _check_join(own, given)
    elif name == "sum":
        _check_sum(own)
    elif name in _PADDING:
        lines = own.count("\n") + own.count("\t") + 1 if isinstance(own, str) else 1
        numbers = [each for each in _flat(given) if isinstance(each, int | float)]
        _check_size(lines * max([0, *numbers]))
        formats = [own, *texts] if name == "format" else texts if name in ("tojson", "indent") else []
        if any(isinstance(each, str) and _LONG_NUMBER.search(each) for each in formats if name == "format"):
            raise TemplateBoundError(f"the template makes texts of more than {MOST_CHARACTERS:,} characters")
        _check_size(lines * max([0, *map(len, texts)]))


def _check_join(own: Any, given: list[Any]) -> None:
    """Bounds `separator.join(items)` and `items | join(separator)`; items of other kinds are written shorter."""
    separator = own if isinstance(own, str) and given and not isinstance(given[0], str) else (given or [""])[0]
    items = given[0] if separator is own and given else own
    if isinstance(items, list | tuple):
        between = len(separator) if isinstance(separator, str) else 0
        _check_size(sum(len(each) for each in items if isinstance(each, str)) + between * len(items))


def _check_sum(own: Any) -> None:
    """Bounds `lists | sum(start=[])`, which copies what it has so far at every list."""
    if isinstance(own, list | tuple):
        lengths = [len(each) for each in own if isinstance(each, str | list | tuple)]
        _check_size(len(lengths) * sum(lengths))


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        yield from value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)


def _bounded_text(value: Any) -> Any:
    """Returns the value, if the texts in it, as often as they are in it, are not too long to be printed."""
    n_characters, some = 0, [value]
    while some:
        each = some.pop()
        if isinstance(each, str):
            n_characters += len(each)
        elif isinstance(each, Mapping):
            n_characters += len(each)
            some += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            n_characters += len(each)
            some += each
        _check_size(n_characters)
    return value


def _n_items(value: Any) -> int:
    """Counts the items of a value and of the values in it, as often as they are in it."""
    n_items, some = 0, [value]
    while some:
        each = some.pop()
        if isinstance(each, Mapping):
            n_items += 2 * len(each)
            some += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            n_items += len(each)
            some += each
        if n_items > MOST_ITEMS:
            raise TemplateBoundError(f"the template makes lists of more than {MOST_ITEMS:,} items")
    return n_items


def _check_length(sequence: str | list[Any] | tuple[Any, ...], length: int) -> None:
    if isinstance(sequence, str):
        _check_size(length)
    elif length > MOST_ITEMS:
        raise TemplateBoundError(f"the template makes lists of more than {MOST_ITEMS:,} items")


def _check_bits(n_bits: int) -> None:
    if n_bits > MOST_BITS:
        raise TemplateBoundError(f"the template makes numbers of more than {MOST_BITS:,} bits")


def _check_size(size: float) -> None:
    if size > MOST_CHARACTERS:
        raise TemplateBoundError(f"the template makes texts of more than {MOST_CHARACTERS:,} characters")


def bound_chat_templates() -> None:
    """Lets transformers compile chat templates with these bounds, in this process."""
    from transformers.utils import chat_template_utils

    chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment
