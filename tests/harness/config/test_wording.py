"""Words of messages read well."""

import pytest

from harness.config.wording import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (89, "89 s"), (100, "2 min"), (5400, "90 min"), (9000, "2 h 30 min")]
)
def test_durations(seconds: float, text: str) -> None:
    """In the unit that a person would choose."""
    assert duration(seconds) == text
