"""What a library says, on one line."""

import pytest

from reports.errors import first_line, last_line


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("a tensor is wrong", "a tensor is wrong", "a tensor is wrong"),
        ("\nError(s) in loading:\n\tsize mismatch\n", "Error(s) in loading:", "size mismatch"),
        ("", "ValueError", "ValueError"),
        (" \n ", "ValueError", "ValueError"),
        ("clear \x1b[2J", r"clear \x1b[2J", r"clear \x1b[2J"),
        ("x" * 301, "x" * 300 + "...", "x" * 300 + "..."),
    ],
)
def test_an_error_of_a_library_is_one_line(text: str, first: str, last: str) -> None:
    """Its first or its last one, with its kind where it says nothing, bounded and without what steers a terminal."""
    assert first_line(ValueError(text)) == first
    assert last_line(ValueError(text)) == last
