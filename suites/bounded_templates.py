"""Jinja from outside (chat templates, lm-eval's task files): in a sandbox, with bounds on its steps, size and time.

A sandbox keeps a template from Python's own objects. It does not keep it from a loop of 1e10, or from a text of 1e10
characters, so loops and calls are counted here, and whatever can make a text of a length that a number names is asked
before it does.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from jinja2 import Template, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from suites.template_growth import (
    BYTES,
    TemplateBoundError,
    bounded_text,
    check_growth,
    check_no_bytes,
    check_number,
    check_operation,
    check_size,
    n_items,
)

MOST_STEPS = 1_000_000
"""Turns of loops and calls of one rendering."""
MOST_MADE = 2**28
"""Characters that one rendering makes in all, an item of a list counted as eight of them."""
MOST_SECONDS = 10.0
"""Seconds of one rendering."""
_LONGEST_DATE_FORMAT = 1000
"""Characters that a date is written with; the C library takes 256 for each."""
_SPLIT_ITEM = 64
"""Characters that a text counts for which a text was split into, beside its place in a list."""


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
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters = _Asked(self.filters, self._bounded_filter)
        self.tests = _Asked(self.tests, self._counted_test)
        self.globals.pop("lipsum", None)  # makes as much text as a number names
        self.finalize = bounded_text
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
        elif isinstance(value, int):
            check_number(value)
        else:
            check_no_bytes(value)
            self._n_made += 8 * n_items(value)
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
            check_size(n_characters)
            kept.append(part)
        return str(self.made("".join(kept)))

    def concatenation(self, *parts: Any) -> str:
        """What `a ~ b` is: the parts as one text."""
        return self.joined(str(bounded_text(part)) for part in parts)

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Calls what a template calls, if the sandbox allows it and its result can be bounded."""
        self.step()
        method = getattr(called, "__wrapped__", called)  # the sandbox wraps the method `format` of texts
        own, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(own, str | dict | type) or isinstance(called, type):
            args = tuple(self.listed(each) for each in args)
        if isinstance(own, (str, int, float, *BYTES)):
            check_growth(name, own, (*args, *kwargs.values()))
        if name in ("strftime_now", "strftime"):
            _check_date_format((*args, *kwargs.values()))
        made = super().call(context, called, *args, **kwargs)
        if isinstance(own, str) and isinstance(made, list):
            self._n_made += _SPLIT_ITEM * len(made)
        return self.made(made)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Computes an arithmetic operation, if its result can be bounded."""
        self.step()
        check_operation(operator, left, right)
        return self.made(super().call_binop(context, operator, left, right))

    def handle_exception(self, source: str | None = None) -> "Any":
        """Raises what went wrong in a rendering, the interpreter's own limits as bounds of ours."""
        try:
            super().handle_exception(source)
        except (RecursionError, MemoryError, OverflowError) as error:
            raise TemplateBoundError(f"the template is too large to render ({type(error).__name__})") from None

    def _bounded_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The filter, as a step whose arguments are checked before the call."""
        n_passed = int(hasattr(function, "jinja_pass_arg"))  # the context or environment that Jinja passes first

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            self.step()
            passed, own, others = args[:n_passed], self.listed(args[n_passed]), args[n_passed + 1 :]
            check_growth(name, own, (*others, *kwargs.values()))
            return self.made(function(*passed, own, *others, **kwargs))

        return checked

    def _counted_test(self, _name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The test, such as `in`, as a step: `select` takes one for every item, whether or not it passes."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return function(*args, **kwargs)

        return counted

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


class _Asked(dict[str, Any]):
    """Functions by name, each wrapped as it is looked up."""

    def __init__(self, functions: Mapping[str, Any], wrapped: Callable[[str, Callable[..., Any]], Any]) -> None:
        super().__init__(functions)
        self._wrapped = wrapped

    def __getitem__(self, name: str) -> Any:
        return self._wrapped(name, super().__getitem__(name))

    def get(self, name: str, default: Any = None) -> Any:
        """The function, also where Jinja computes constants as it compiles."""
        return self[name] if name in self else default  # noqa: SIM401 - this is `get`


def _check_date_format(arguments: Iterable[Any]) -> None:
    if any(isinstance(each, str) and len(each) > _LONGEST_DATE_FORMAT for each in arguments):
        raise TemplateBoundError(f"the template writes a date with more than {_LONGEST_DATE_FORMAT:,} characters")


def bound_chat_templates() -> None:
    """Lets transformers compile chat templates with these bounds, in this process."""
    from transformers.utils import chat_template_utils

    chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment
