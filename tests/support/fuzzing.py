"""What the fuzz tests of all doors share: how many inputs, odd values, and what an answer may cost."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from reports.errors import UserError

N_INPUTS = int(os.environ.get("HARNESS_FUZZ_INPUTS", "600"))
"""Inputs of a door; more make a longer run."""
FUZZED = settings(
    max_examples=N_INPUTS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),  # to explain a failure, hypothesis traces every line, imports included
)
_SECONDS = 10
_KIBIBYTES = 2 * 2**20
_LONGEST_LINE = 3000
_MOST_LINES = 20

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9),
    st.sampled_from([
        0, -1, 1, 2, 10**9, 10**30, 10**400, 1e308, -1e308, 1e-320, float("nan"), float("inf"), "", " ", "a\0b",
        "\ud83d", "a\nb", "\x1b[2J", "x" * 5000, "null", "true", "1e5", "../../x", "~", "/dev/null", "on",
        [], {}, [[]], [None],
        {"a": None}, {"": 1}, ["a", "a"], [1, 1.0, True], {"name": "x"},
    ]),
)  # fmt: skip
"""Values of types and sizes that nobody thought of."""


@contextmanager
def answering() -> Iterator[None]:
    """Takes what the block does as right, or its error in few lines; it may neither take long nor much memory."""
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        yield
    except UserError as error:
        assert_lines(str(error))
    assert time.process_time() - started < _SECONDS  # of this process: a busy machine says nothing of the code
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < _KIBIBYTES


def assert_lines(message: str) -> None:
    """A message has a line for each problem, short enough to read, and nothing that steers a terminal."""
    lines = message.split("\n")
    assert 1 <= len(lines) <= _MOST_LINES
    assert all(line.isprintable() and 0 < len(line) < _LONGEST_LINE for line in lines), message


def places(value: Any, key: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yields the place of everything in nested lists and mappings, from the top."""
    yield key
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in items:
        yield from places(below, (*key, name))


def placed(value: Any, key: tuple[str | int, ...], odd: Any) -> Any:
    """A copy of nested lists and mappings with another value at a place."""
    if not key:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key[0]] = placed(value[key[0]], key[1:], odd)
    return copy


def mutated(value: Any) -> st.SearchStrategy[Any]:
    """Copies of nested lists and mappings with one to three odd values in them, or a key more."""
    anywhere = st.sampled_from(list(places(value)))
    one = st.tuples(anywhere, ODD)
    return st.lists(one, min_size=1, max_size=3).map(lambda changes: _changed(value, changes))


def _changed(value: Any, changes: list[tuple[tuple[str | int, ...], Any]]) -> Any:
    for key, odd in changes:
        try:
            value = placed(value, key, odd)
        except (LookupError, TypeError):  # an earlier change took that place away
            continue
    return value
