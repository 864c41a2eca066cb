"""A launcher of several processes is refused, or joined, before its processes can wait for each other for ever."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.cli import COMMANDS
from harness.processes import (
    LaunchedError,
    OneProcessError,
    Ranks,
    by_all,
    by_the_first,
    check_launch,
    gathered,
    is_launched,
    joined,
    let_the_first_speak,
    ranks,
    speaks,
    told,
)

NAMES = sorted(str(command.name) for command in COMMANDS)
HARMLESS = {"doctor", "list", "show-config"}
TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}
"""What torchrun sets in the second of two processes."""


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        (TORCHRUN, "WORLD_SIZE=2"),
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
    with pytest.raises(LaunchedError, match=rf"^{named}: a launcher .*; start `harness eval` itself"):
        check_launch("eval", environment)


@pytest.mark.parametrize(
    "environment", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "", "LOCAL_RANK": "-1"}, {"PMI_SIZE": "1"}]
)
def test_one_process_goes_on(environment: dict[str, str]) -> None:
    """Also where a scheduler says that there is one."""
    assert not is_launched(environment)
    for command in ("train", "eval"):
        check_launch(command, environment)


def test_a_training_is_shared_by_the_processes_of_torchrun() -> None:
    """And by no other command's."""
    assert is_launched(TORCHRUN)
    check_launch("train", TORCHRUN)
    check_launch("train", TORCHRUN | {"ACCELERATE_USE_FSDP": "false", "ACCELERATE_MIXED_PRECISION": "no"})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"RANK": ""}, "WORLD_SIZE=2: a launcher of several processes started this, and did not set RANK; start"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "WORLD_SIZE=2: .* did not set MASTER_ADDR, MASTER_PORT; start it by"),
        ({"RANK": "2"}, "RANK=2, WORLD_SIZE=2, LOCAL_RANK=1: must be whole numbers, RANK below WORLD_SIZE"),
        ({"RANK": "first"}, "RANK=first, WORLD_SIZE=2, LOCAL_RANK=1: must be whole numbers"),
        ({"ACCELERATE_USE_FSDP": "true"}, "ACCELERATE_USE_FSDP=true: every process holds the whole model"),
        ({"ACCELERATE_USE_DEEPSPEED": "True"}, "ACCELERATE_USE_DEEPSPEED=true: "),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "ACCELERATE_MIXED_PRECISION=bf16: .* computes as the recipe says"),
    ],
)
def test_a_launcher_that_training_would_wait_for_or_be_changed_by_is_refused(
    changes: dict[str, str], line: str
) -> None:
    """Before torch looks for the other processes, which never come, or accelerate shards or rounds."""
    with pytest.raises(LaunchedError, match=f"^{line}"):
        check_launch("train", TORCHRUN | changes)


def test_an_error_of_all_processes_is_told_by_the_first_of_a_machine() -> None:
    """One that nobody else knows of is told where it is."""
    said = {rank: speaks(LaunchedError(), {"LOCAL_RANK": rank}) for rank in ("", "-1", "0", "1", "7")}
    assert said == {"": True, "-1": True, "0": True, "1": False, "7": False}
    assert speaks(OneProcessError(), {"LOCAL_RANK": "7"})


@pytest.mark.parametrize(("rank", "waits"), [("0", []), ("1", ["waits"])])
@pytest.mark.parametrize("mistake", [("-o", "training.learning_rate=1e30"), ("--no-such-option",)])
def test_a_process_that_says_nothing_ends_after_the_one_that_does(
    rank: str, waits: list[str], mistake: tuple[str, ...], harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or torchrun, which sees one of them end, would end the other before its line."""
    waited: list[str] = []
    monkeypatch.setattr("harness.cli.let_the_first_speak", lambda: waited.append("waits"))
    for name, value in (TORCHRUN | {"RANK": rank, "LOCAL_RANK": rank}).items():
        monkeypatch.setenv(name, value)

    outcome = harness("train", *mistake)

    assert (outcome.exit_code, waited) == (2, waits)
    assert bool(outcome.err) is not bool(waits)


def test_a_process_stops_waiting_when_the_launcher_ends_it() -> None:
    """By a signal that the command line turns into KeyboardInterrupt."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before, began = signal.signal(signal.SIGALRM, interrupt), time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        let_the_first_speak()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 10


def test_one_process_agrees_with_itself() -> None:
    """Nothing is sent, and an error is raised as it is."""
    assert ranks() == Ranks(1, 0)
    assert (told(1), gathered(2), by_the_first(lambda: 3), by_all(lambda: 4)) == (1, [2], 3, 4)
    for together in (by_the_first, by_all):
        with pytest.raises(ZeroDivisionError):
            together(lambda: 1 // 0)
    with joined("cpu") as here:
        assert here.is_first


def test_a_dry_run_is_that_of_one_process(harness: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps are no process's part of a step."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value if name != "LOCAL_RANK" else "0")
    outcome = harness("train", "--dry-run")
    assert outcome.exit_code == 2
    assert outcome.err == "error: --dry-run estimates the training of one process; leave the launcher out\n"


@pytest.mark.parametrize("command", [name for name in NAMES if name not in {*HARMLESS, "train"}])
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
