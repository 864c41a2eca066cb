"""Options of a cluster, in combinations that compute nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from failing_engine import Engine

from harness.commands import cluster
from harness.commands.nodes import check_node, examine_nodes
from harness.measuring.cluster.handshake import Account
from harness.measuring.cluster.request import Node
from harness.measuring.cluster.working import versions_here
from harness.measuring.units.engine import UnitDied

COMMANDS = (("train",), ("train-and-eval",), ("eval", "--adapter", "a"), ("calibrate",))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", [("--address", "h:1"), ("--gpus-per-unit", "1"), ("--workers", "2")])
def test_options_without_effect_are_refused(
    harness: Callable[..., Any], command: tuple[str, ...], option: tuple[str, str]
) -> None:
    """By name."""
    outcome = harness(*command, *option)
    assert outcome.exit_code == 2
    assert f"{option[0]} has no effect without --on ray" in outcome.err


@pytest.mark.parametrize("command", [each for each in COMMANDS if each[0] != "eval"])
def test_processes_of_one_adapter_are_started_by_ray_alone(
    harness: Callable[..., Any], command: tuple[str, ...]
) -> None:
    """Without it, torchrun starts them."""
    outcome = harness(*command, "--gpus-per-adapter", "2")
    assert outcome.exit_code == 2
    assert "--gpus-per-adapter has no effect without --on ray" in outcome.err


@pytest.mark.parametrize("command", COMMANDS)
def test_without_ray_a_line_says_how_to_get_it(
    harness: Callable[..., Any], command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And exit code 2, before anything is loaded."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    outcome = harness(*command, "--on", "ray")
    assert outcome.exit_code == 2
    assert outcome.err.startswith("error: --on ray: Ray is not installed")
    assert outcome.err.strip().endswith("pip install -c constraints.txt -e '.[ray]'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--on", "ray", "--dry-run"), "--dry-run computes in this process: leave out --on"),
        (("train", "--on", "ray", "--only", "x"), "--only computes in this process: leave out --on"),
        (("train-and-eval", "--on", "ray", "--dry-run"), "leave out --on"),
        (("eval", "--on", "ray", "--adapter", "a", "--only", "x"), "leave out --on"),
        (("train-and-eval", "--on", "ray", "--no-cache"), "in the score cache alone: leave out --no-cache"),
        (("train", "--on", "slurm"), "'slurm' is not 'ray'"),
        (("train", "--on", "ray", "--workers", "0"), "0 is not in the range"),
        (("train", "--on", "ray", "--gpus-per-unit", "nan"), "--gpus-per-unit: must be a whole number"),
        (("train", "--on", "ray", "--address", "ray://h:1"), "--address: must be HOST:PORT"),
    ],
)
def test_what_cannot_be_is_told(harness: Callable[..., Any], arguments: tuple[str, ...], words: str) -> None:
    """With exit code 2."""
    outcome = harness(*arguments)
    assert outcome.exit_code == 2
    assert words in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("command", [("train-and-eval", "--suite", "smoke", "--limit", "4"), ("train",)])
def test_what_could_not_be_done_is_listed_and_the_same_command_completes_it(
    harness: Callable[..., Any], command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 4; the report of what was measured is written all the same."""
    quick = ("data.training.limit=24", "training.max_steps=2", "training.batch_size=4")
    typed = (*command, "--seeds", "2", *(part for setting in quick for part in ("-o", setting)))

    key = "train: adapter, seed 43"
    fails = {key: UnitDied(key, "its process died", 3, "b")}

    @contextmanager
    def on_cluster(options: dict[str, Any], **_: object) -> Iterator[Callable[[object], Callable[..., Engine]]]:
        for name in ("place", *cluster._VALUES):
            options.pop(name, None)
        yield lambda _asked: partial(Engine, fails=fails)

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "on_cluster", on_cluster)
        outcome = harness(*typed)
    again = harness(*typed)

    assert outcome.exit_code == 4
    assert outcome.err.splitlines()[-1].startswith("adapter, seed 43: not ")
    assert outcome.err.splitlines()[-1].endswith(": its process died 3 times, last on node b")
    assert again.exit_code == 0, again.err
    assert ["adapter, seed 43: not " in report.read_text() for report in sorted(Path().rglob("report.md"))] == (
        [True, False] if command[0] == "train-and-eval" else []
    )


def test_a_launcher_and_a_cluster_do_not_go_together(
    harness: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would start processes."""
    places = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    outcome = harness("train", "--on", "ray")
    assert (outcome.exit_code, "leave the launcher out" in outcome.err) == (2, True)


NODE = Node("b", "2", 8, 1, 2**31)
HAS = "8 CPUs, 1 GPUs, 2.0 GiB of memory"


@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        (Account(NODE, versions_here(), sees_workspace=True), "ok", "sees w"),
        (Account(NODE, versions_here()), "warning", "does not see w"),
        (Account(NODE, versions_here() | {"torch": "1.0"}), "problem", "torch 1.0, not "),
        (Account(NODE, {}, problem="gives no answer"), "problem", "gives no answer"),
    ],
)
def test_the_doctor_says_what_a_node_has(told: Account, status: str, words: str) -> None:
    """And whether it can join in a job."""
    check = check_node(told, Path("w"))
    assert (check.name, check.status) == ("node b", status)
    assert check.finding.startswith(HAS)
    assert words in check.finding
    assert bool(check.advice) == (status != "ok")


def test_the_doctor_names_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    """As a problem with an advice."""
    (check,) = examine_nodes("nowhere", tmp_path / "w")
    assert (check.name, check.status) == ("cluster", "problem")
    assert check.finding.startswith("--address: must be HOST:PORT")
    assert check.advice
