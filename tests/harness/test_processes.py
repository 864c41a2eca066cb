"""A launcher of several processes is refused before its processes can wait for each other."""

from collections.abc import Callable
from typing import Any

import pytest

from harness.cli import COMMANDS
from harness.processes import LaunchedError, check_one_process

NAMES = sorted(str(command.name) for command in COMMANDS)
HARMLESS = {"doctor", "list", "show-config"}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "0", "RANK": "0"}, "WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1"),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "1"}, "LOCAL_RANK=0"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE=many"),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, "OMPI_COMM_WORLD_SIZE=4"),
        ({"PMI_SIZE": "2", "WORLD_SIZE": "1"}, "PMI_SIZE=2"),
        ({"MV2_COMM_WORLD_SIZE": "2"}, "MV2_COMM_WORLD_SIZE=2"),
    ],
)
def test_several_processes_are_refused_in_one_line(environment: dict[str, str], named: str) -> None:
    """The line names the variable that gave it away, and what to start instead."""
    with pytest.raises(LaunchedError, match=rf"^{named}: a launcher .*; start `harness train` itself"):
        check_one_process("train", environment)


@pytest.mark.parametrize(
    "environment", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "", "LOCAL_RANK": "-1"}, {"PMI_SIZE": "1"}]
)
def test_one_process_goes_on(environment: dict[str, str]) -> None:
    """Also where a scheduler says that there is one."""
    check_one_process("train", environment)


@pytest.mark.parametrize("command", [name for name in NAMES if name not in HARMLESS])
def test_every_command_that_writes_or_computes_refuses_before_it_begins(
    command: str, harness: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and one line, whatever the options would have meant."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = harness(command, "--no-such-option")
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: WORLD_SIZE=2: a launcher (torchrun, accelerate launch, mpirun) started this")
    assert outcome.err.endswith(f"start `harness {command}` itself, or unset the variable\n")


@pytest.mark.parametrize("arguments", [("show-config",), ("list", "suites"), ("--help",)])
def test_what_only_prints_answers_in_every_process(
    arguments: tuple[str, ...], harness: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for nobody."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert harness(*arguments).exit_code == 0
