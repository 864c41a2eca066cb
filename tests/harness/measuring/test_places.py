"""Reports name folders and files by their last parts."""

import pytest

from harness.measuring.places import command


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["/venv/bin/harness", "eval"], ["harness", "eval"]),
        (["/src/harness/__main__.py", "eval"], ["harness", "eval"]),
        (["harness", "--out", "/home/kim/run 1"], ["harness", "--out", "\u2026/run 1"]),
        (["harness", "--adapter", "m=/a/b", "--out=/x"], ["harness", "--adapter", "m=\u2026/b", "--out=\u2026/x"]),
        (["harness", "-o", "training.beta=0.1", "./rel/x", "org/name"],
         ["harness", "-o", "training.beta=0.1", "./rel/x", "org/name"]),
    ],
)  # fmt: skip
def test_a_command_is_recorded_without_the_folders_above_its_paths(typed: list[str], shown: list[str]) -> None:
    """What is no path from the root is as it was typed."""
    assert command(typed) == shown
