"""One unit by hand, and then the plain command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = (
    "-o",
    "data.training.limit=24",
    "-o",
    "training.max_steps=2",
    "-o",
    "training.batch_size=4",
    "--suite",
    "smoke",
)


@pytest.mark.slow
def test_two_trained_by_hand_are_found_by_the_plain_command(harness: Callable[..., Any], tmp_path: Path) -> None:
    """Each alone, then all: nothing is trained again; then one evaluation by hand, and the report finds it."""
    place, seeds = ("--workspace", tmp_path / "w"), ("--seeds", "2")
    folders = []
    for name in ("adapter, seed 43", "adapter, seed 42"):
        outcome = harness("train", "--only", name, *place, *seeds, *SMALL)
        assert outcome.exit_code == 0, outcome.err
        folders.append(outcome.out.strip())
    outcome = harness("train", *place, *seeds, *SMALL)
    assert outcome.out.split() == folders[::-1]
    assert outcome.err.count("is reused: nothing that determines it has changed") == 2

    named = (
        "--adapter",
        f"one={folders[1]}",
        "--adapter",
        f"two={folders[0]}",
        "--limit",
        "4",
        "--suite",
        "smoke",
        *place,
    )
    for name in ("preferences: one", "answers: two"):
        outcome = harness("eval", "--only", name, *named)
        assert (outcome.exit_code, outcome.out) == (0, ""), outcome.err
        assert name in outcome.err
    assert not [*(tmp_path / "w" / "runs").glob("[!.]*")]
    assert harness("eval", *named).exit_code == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("train", "--only", "adapter", "--dry-run"), "--only trains, and --dry-run does not"),
        (("eval", "--only", "x", "--adapter", "a", "--dry-run"), "leave out --dry-run and --out"),
        (("eval", "--only", "x", "--adapter", "a", "--out", "o"), "leave out --dry-run and --out"),
    ],
)
def test_what_contradicts_it_is_refused(harness: Callable[..., Any], command: tuple[str, ...], message: str) -> None:
    """Before anything is read."""
    outcome = harness(*command)

    assert outcome.exit_code == 2
    assert message in outcome.err


def test_an_unknown_adapter_is_refused_with_the_names(
    harness: Callable[..., Any], llama_folder: Path, tmp_path: Path
) -> None:
    """In one line, and nothing is trained."""
    model = ("-o", f"model.name={llama_folder}", "--seeds", "2", "--workspace", tmp_path / "w")
    outcome = harness("train", "--only", "adapter", *model, *SMALL)

    assert outcome.exit_code == 2
    assert outcome.err.splitlines()[-1] == (
        "error: --only adapter: there is no such unit (did you mean adapter, seed 43?); there are: adapter, seed 42; "
        "adapter, seed 43"
    )
    assert not [path for path in (tmp_path / "w" / "fixtures").iterdir() if path.is_dir()]
