"""One adapter, trained by several processes of a cluster together; Ray Train starts them, and does nothing else.

They call what the processes of torchrun call, in the driver's workspace. All of them must see it: the first one writes
checkpoints and the adapter there.
"""

import json
import os
import platform
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.measuring.cluster.request import Needs
from harness.measuring.cluster.working import ATTEMPTS, Failed, failed, set_up, spoils_process, teller
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import TrainedAdapter
from harness.measuring.together import train_together
from harness.measuring.units.by_hand import train_only
from harness.measuring.units.doing import event_of, fixture_parcel, telling_terminal
from harness.measuring.units.engine import UnitDied
from harness.measuring.units.inputs import check_inputs, inputs_of
from harness.measuring.units.unit import Job, Outcome, TrainUnit
from harness.processes import LONGEST_WAIT, FollowedExit, ranks
from reports.errors import UserError, first_line
from reports.whole import scratch_folder, write_whole

_FIRST = "process-0.json"
_FAULT = "fault-*.txt"


class ProcessFault(Exception):  # noqa: N818 - named as what the log shows: "ProcessFault: KeyError: 'x'"
    """A fault of one of the processes; below the first line stands its traceback."""


@dataclass(frozen=True, slots=True)
class Work:
    """What every process of a training gets."""

    folder: str
    """The driver's working folder, which relative paths start from."""
    box: Any
    """The actor that takes events."""
    job: Job
    unit: TrainUnit
    results: str
    """Absolute path of a folder that all of them see: each writes there what it has to say."""


def train_in_ranks(needs: Needs, folder: str, box: Any, job: Job, unit: TrainUnit) -> Outcome | Failed:
    """Has a unit's adapter trained by processes of its own, and returns its files; waits in a process of the cluster.

    Args:
        needs: What each process occupies.
        folder: The driver's working folder, which relative paths start from.
        box: The actor that takes events.
        job: The job; its options say how many processes there are.
        unit: What to train.

    Raises:
        UnitDied: The processes died every time they were started.
        ProcessFault: One of them failed by a fault, after which they are not begun again.
    """
    set_up(folder)
    started, workspace = time.perf_counter(), job.options.workspace.absolute()
    if not (workspace / job.mark).is_file():
        return Failed("foreign", _unseen(workspace))
    try:
        with scratch_folder(workspace / "ranks") as results:
            failure = _started(needs, Work(folder, box, job, unit, str(results)))
            faults, told = [file.read_text(encoding="utf-8") for file in results.glob(_FAULT)], _told(results)
    finally:
        teller(box.put.remote)(event_of(unit, "ended"))
    if faults:
        raise ProcessFault(faults[0])  # read from a file, since Ray sends nothing that UTF-8 cannot hold
    if "failed" in told:
        return Failed(told["failed"], told["message"])
    if "fingerprint" not in told:
        raise UnitDied(unit.key, failure or "its processes ended without a result", ATTEMPTS, platform.node())
    adapter = fixture_parcel(workspace / "fixtures" / told["fingerprint"], told["fingerprint"])
    return Outcome(told["inputs"], told["node"], time.perf_counter() - started, adapter=adapter)


def _started(needs: Needs, work: Work) -> str:
    """Starts the processes and waits for them; returns why they failed at last, empty where they did not."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    trainer = TorchTrainer(
        train_as_rank,
        train_loop_config={"work": work},
        torch_config=TorchConfig(timeout_s=int(LONGEST_WAIT.total_seconds())),
        scaling_config=ScalingConfig(
            num_workers=work.job.options.n_ranks,
            use_gpu=bool(needs.n_gpus),
            resources_per_worker={"CPU": needs.n_cpus, **({"GPU": needs.n_gpus} if needs.n_gpus else {})},
        ),
        run_config=RunConfig(
            name="train", storage_path=work.results, failure_config=FailureConfig(max_failures=ATTEMPTS - 1)
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        return f"its processes failed ({_cause(error)})"
    return ""


def _cause(error: Exception) -> str:
    """Why Ray Train gave up, in the words of the first process that failed; its own first line is a heading."""
    of_processes: dict[int, Exception] = getattr(error, "worker_failures", {})
    cause = next((each for _, each in sorted(of_processes.items())), getattr(error, "controller_failure", error))
    return f"{type(cause).__name__}: {first_line(cause)}"


def train_as_rank(config: dict[str, Any]) -> None:
    """Trains as one of several processes, and writes what it has to say: the first one's result, a mistake or a fault.

    Args:
        config: "work" -> the `Work` of all.
    """
    work: Work = config["work"]
    if [*Path(work.results).glob(_FAULT)]:
        return  # Ray Train begins again whatever failed, and the fault would only be met again
    set_up(work.folder)
    said = Path(work.results) / f"process-{os.environ['RANK']}.json"
    said.unlink(missing_ok=True)
    if os.environ["RANK"] == "0":  # here and not by who waits for it: processes that are started anew begin it again
        teller(work.box.put.remote)(event_of(work.unit, "begun"))
    read: dict[str, str] = {}
    options = replace(work.job.options, workspace=work.job.options.workspace.absolute(), out=None)
    told: dict[str, Any] = {}
    try:
        with suppress(FollowedExit):  # the first one says why all of them end
            trained = train_together(options, partial(_trained, work, read))
            if trained:
                told = {"fingerprint": trained[-1].fixture.fingerprint, "inputs": read, "node": platform.node()}
    except UserError as error:
        failure = failed(error)
        told = {"failed": failure.kind, "message": failure.message}
    except Exception as error:
        if not spoils_process(error):
            fault = said.with_name(_FAULT.replace("*", os.environ["RANK"]))
            write_whole(fault, f"{type(error).__name__}: {first_line(error)}\n{traceback.format_exc()}")
        raise  # so that the others, which wait for this one, are ended
    if told:
        said.write_text(json.dumps(told), encoding="utf-8")


def _trained(work: Work, read: dict[str, str], experiment: Experiment) -> tuple[TrainedAdapter, ...]:
    """Trains the unit's adapter where this process has read what the driver read, of which it takes the hashes."""
    import torch

    torch.set_num_threads(work.job.n_threads)
    read |= inputs_of(experiment)
    check_inputs(work.job.inputs, read, platform.node())
    if ranks().is_first:
        terminal = telling_terminal(experiment.terminal, work.unit, teller(work.box.put.remote))
        experiment = replace(experiment, terminal=terminal)
    return (train_only(experiment, work.unit.variant),)


def _told(results: Path) -> dict[str, Any]:
    """What the processes said: the first one, else another one that failed alone; empty where none said anything."""
    said = sorted(results.glob("process-*.json"), key=lambda file: (file.name != _FIRST, file.name))
    told: dict[str, Any] = json.loads(said[0].read_text(encoding="utf-8")) if said else {}
    return told


def _unseen(workspace: Path) -> str:
    return (
        f"node {platform.node()} does not see the workspace {workspace}, in which the processes of one training must "
        f"meet; give --workspace a folder that all nodes share, or leave out --gpus-per-adapter"
    )
