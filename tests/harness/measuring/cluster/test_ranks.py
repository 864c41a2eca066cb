"""One adapter that several processes of a cluster train together."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.commands.job import train_by_units
from harness.measuring.cluster import engine, ranks
from harness.measuring.cluster.connecting import connected
from harness.measuring.cluster.engine import RayEngine
from harness.measuring.cluster.ranks import ProcessFault, Work, train_in_ranks
from harness.measuring.cluster.request import Needs, Request
from harness.measuring.cluster.starting import OnCluster
from harness.measuring.cluster.working import Failed
from harness.measuring.experiment import Experiment
from harness.measuring.preparation import Options, prepare
from harness.measuring.units.engine import UnitDied
from harness.measuring.units.unit import Event, Job, Tell, TrainUnit
from reports.errors import first_line

UNIT = TrainUnit("train: adapter", "adapter")
SETTINGS = ("data.training.limit=24", "training.max_steps=40", "training.batch_size=4")
"""Steps enough that some are told of, which is at most once a second."""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with its mark, and processes that are only set up in name."""
    monkeypatch.setattr(ranks, "set_up", lambda _folder: None)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mark").touch()
    return tmp_path / "w"


def trained(shared: Path, mark: str = "mark") -> Any:
    """What comes of a unit that two processes share."""

    class Box:
        """Takes events."""

        class put:  # noqa: N801 - as an actor has it
            """A method of an actor."""

            remote = staticmethod(str)

    job = Job(Options("smoke", shared, n_ranks=2), 1, {}, mark)
    return train_in_ranks(Needs(), str(shared), Box, job, UNIT)


def test_what_the_processes_say_is_the_outcome(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one's adapter with its files, or a mistake; what they wrote meanwhile is gone."""
    adapter = shared / "fixtures" / "f"
    adapter.mkdir(parents=True)
    (adapter / "weights").write_bytes(b"1")
    said: dict[str, dict[str, Any]] = {}

    def start(_needs: Needs, work: Work) -> str:
        for name, told in said.items():
            (Path(work.results) / f"process-{name}.json").write_text(json.dumps(told))
        return ""

    monkeypatch.setattr(ranks, "_started", start)
    mistake = {"failed": "mistake", "message": "the loss became nan"}
    said["0"] = {"fingerprint": "f", "inputs": {"rows": "r"}, "node": "b"}
    outcome = trained(shared)
    assert (outcome.adapter.key, outcome.adapter.files) == ("f", {"weights": b"1"})
    assert (outcome.inputs, outcome.node) == ({"rows": "r"}, "b")
    said["0"] = mistake
    said["1"] = {"failed": "mistake", "message": "process 2 of 2: the disk is full"}
    assert trained(shared) == Failed("mistake", "the loss became nan")
    del said["0"]
    assert trained(shared) == Failed("mistake", "process 2 of 2: the disk is full")
    assert not [*shared.glob(".ranks.*")]


def test_processes_that_say_nothing_died(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what Ray Train says of it."""
    monkeypatch.setattr(ranks, "_started", lambda _needs, _work: "its processes failed (worker 1 is gone)")
    with pytest.raises(UnitDied, match=r"^its processes failed \(worker 1 is gone\) 3 times, last on node"):
        trained(shared)


def test_a_fault_of_a_process_comes_back_with_its_traceback_and_is_not_begun_again(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised, so that Ray Train ends the processes that wait for it; those that it then starts do nothing."""
    n_begun = 0

    def broken(*_: object) -> Any:
        nonlocal n_begun
        n_begun += 1
        raise KeyError("no such part")

    def start(_needs: Needs, work: Work) -> str:
        with pytest.raises(KeyError):
            ranks.train_as_rank({"work": work})
        ranks.train_as_rank({"work": work})
        return "its processes failed"

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(ranks, "train_together", broken)
    monkeypatch.setattr(ranks, "_started", start)

    with pytest.raises(ProcessFault, match=r"^KeyError: 'no such part'\nTraceback .*\n(.*\n)*.*in broken\n") as raised:
        trained(shared)

    assert n_begun == 1
    assert first_line(raised.value) == "KeyError: 'no such part'"


def test_words_that_utf8_cannot_hold_are_sent_all_the_same(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would end the process at them, as a death without a reason; they are part of odd names of files."""

    def start(_needs: Needs, work: Work) -> str:
        with pytest.raises(ValueError, match="bad"):
            ranks.train_as_rank({"work": work})
        return "its processes failed"

    def broken(*_: object) -> Any:
        raise ValueError("bad \udc80")

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(ranks, "train_together", broken)
    monkeypatch.setattr(ranks, "_started", start)
    monkeypatch.setattr(ranks.traceback, "format_exc", lambda: "in bad \udc80")

    with pytest.raises(ProcessFault) as raised:
        trained(shared)

    assert str(raised.value) == "ValueError: bad \\udc80\nin bad \\udc80"


def test_a_gpu_that_gives_nothing_but_errors_is_no_fault(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that Ray Train starts anew may do better."""

    def out_of_memory(*_: object) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def start(_needs: Needs, work: Work) -> str:
        with pytest.raises(torch.OutOfMemoryError):
            ranks.train_as_rank({"work": work})
        return "its processes failed (OutOfMemoryError: CUDA out of memory)"

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(ranks, "train_together", out_of_memory)
    monkeypatch.setattr(ranks, "_started", start)

    with pytest.raises(UnitDied, match="CUDA out of memory"):
        trained(shared)


def test_why_ray_train_gave_up_is_said_in_the_words_of_a_process() -> None:
    """Its own first line is a heading."""

    class WorkerGroupError(Exception):
        """As Ray Train raises it."""

        worker_failures = {1: ValueError("the second"), 0: RuntimeError("the first\nand more")}  # noqa: RUF012

    assert ranks._cause(WorkerGroupError("Training failed due to worker errors:\n...")) == "RuntimeError: the first"
    assert ranks._cause(ValueError("of no process")) == "ValueError: of no process"


def test_a_node_without_the_workspace_starts_nothing(shared: Path) -> None:
    """It names itself, and what to do."""
    result = trained(shared, mark="another")
    assert result.kind == "foreign"
    assert "does not see the workspace" in result.message
    assert result.message.endswith("or leave out --gpus-per-adapter")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_processes_of_a_cluster_train_what_two_of_torchrun_train(
    two_nodes: Any, ray_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte, though one was killed in the middle; the driver finds it by the key of two processes."""
    monkeypatch.setattr(engine, "SECONDS_BETWEEN_LOOKS", 0.05)
    options = Options("smoke", tmp_path / "w", overrides=SETTINGS, n_ranks=2)
    experiment = prepare(options)
    begun, killed = list[int](), list[int]()

    def kill_once(event: Event) -> None:
        begun.extend([event.process] if event.kind == "begun" and event.unit.startswith("train: ") else [])
        if event.kind == "step" and event.step >= 2 and not killed:
            killed.append(event.process)
            os.kill(event.process, signal.SIGKILL)

    with connected(Request(two_nodes.address)) as cluster:
        on = OnCluster(cluster, Request(gpus_per_adapter=2), options)

        def make(read: Experiment, inputs: Mapping[str, str], tell: Tell) -> RayEngine:
            return on(read, inputs, lambda event: (tell(event), kill_once(event)))

        (adapter,), missing = train_by_units(experiment, make)

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "harness"]
    command += ["train", "--suite", "smoke", "--workspace", str(tmp_path / "other")]
    command += [part for setting in SETTINGS for part in ("-o", setting)]
    subprocess.run(command, env={**ray_environment, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    expected = tmp_path / "other" / "fixtures" / adapter.fixture.folder.name
    assert (missing, len(killed)) == ((), 1)
    assert len(set(begun)) == len(begun) == 2  # so that a line says that it was begun again
    assert json.loads((expected / "fixture.json").read_text())["ranks"] == 2
    files = [each / "adapter_model.safetensors" for each in (adapter.fixture.folder, expected)]
    assert files[0].read_bytes() == files[1].read_bytes()
