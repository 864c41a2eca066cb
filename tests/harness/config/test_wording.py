"""Words of messages read well."""

from typing import Annotated

import pytest
from annotated_types import Ge, MinLen

from harness.config.wording import allowed, duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (89, "89 s"), (100, "2 min"), (5400, "90 min"), (9000, "2 h 30 min")]
)
def test_durations(seconds: float, text: str) -> None:
    """In the unit that a person would choose."""
    assert duration(seconds) == text


def test_the_limit_of_a_list_is_not_that_of_its_items() -> None:
    """Each limit stands beside what it limits."""
    names = Annotated[tuple[Annotated[str, MinLen(1)], ...], MinLen(1)]
    assert allowed(names) == "a list that is not empty, each text that is not empty"
    assert allowed(tuple[Annotated[int, Ge(1)], ...]) == "a list, each a whole number of at least 1"
