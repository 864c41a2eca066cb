"""What is given twice is refused, and never taken once, or counted twice, without a word."""

from collections.abc import Callable
from typing import Any

import pytest

Harness = Callable[..., Any]


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--preset", "tiny", "--preset", "tiny"),
        ("train-and-eval", "--suite", "smoke", "--seeds", "2", "--suite", "alignment"),
        ("eval", "--model", "a", "--adapter", "x", "--adapter", "y", "--model=b"),
        ("check", "run", "--gates", "a", "--gates", "b"),
        ("report", "run", "--format", "md", "--format", "csv"),
    ],
)
def test_an_option_that_takes_one_value_is_given_once(harness: Harness, arguments: tuple[str, ...]) -> None:
    """One line names the option; those that may be repeated, such as --adapter, are."""
    outcome = harness(*arguments)
    assert outcome.exit_code == 2
    assert "is given twice, and takes one value; give it once" in outcome.err


def test_flags_and_repeatable_options_may_be_given_twice(harness: Harness) -> None:
    """-v -v means -v, and each -o counts."""
    outcome = harness("report", "nowhere", "-v", "-v")
    assert outcome.err == "error: there is no run folder nowhere\n"
    assert harness("show-config", "-o", "training.beta=0.5", "-o", "training.epochs=3").exit_code == 0
