"""A job on two Ray nodes of this machine: what dies there, and what comes of it."""

import io
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compared_runs import comparable, first_difference
from rich.console import Console

from harness.commands.job import train_and_measure, train_by_units
from harness.measuring.cluster import engine
from harness.measuring.cluster.connecting import connected
from harness.measuring.cluster.engine import RayEngine
from harness.measuring.cluster.request import Request
from harness.measuring.cluster.starting import OnCluster
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import train
from harness.measuring.preparation import Options, prepare
from harness.measuring.units.engine import ForeignNodeError, UnitDied
from harness.measuring.units.filling import EngineMaker
from harness.measuring.units.inputs import inputs_of
from harness.measuring.units.unit import Event, Tell, TrainUnit
from harness.models.adapters import detach_adapters
from harness.terminal import Terminal
from harness.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
Watcher = Callable[[Event], None]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """All of `alignment` on few rows, for two seeds of few steps."""
    return Options(
        suite="alignment",
        workspace=tmp_path_factory.mktemp("nodes") / "single",
        overrides=("data.training.limit=24", "training.max_steps=2", "training.batch_size=4"),
        limit=4,
        seeds=2,
    )


@pytest.fixture(scope="module")
def prepared(options: Options, ray_environment: dict[str, str]) -> Experiment:  # noqa: ARG001
    """What the driver reads."""
    return prepare(options)


@pytest.fixture(scope="module")
def single(prepared: Experiment) -> Path:
    """The run folder of one process."""
    run, _ = train_and_measure(prepared)
    return prepared.workspace.runs / run.name


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are fetched at once, so that a process can be killed within the unit that it tells of."""
    monkeypatch.setattr(engine, "SECONDS_BETWEEN_LOOKS", 0.05)


@pytest.fixture
def on_nodes(two_nodes: Any, prepared: Experiment, options: Options, tmp_path: Path) -> Iterator[Any]:
    """The experiment in a workspace of the test's own, and what makes its engine on the two nodes."""
    detach_adapters(prepared.loaded)
    workspace = Workspace(tmp_path / "w")
    workspace.prepare()
    with connected(Request(two_nodes.address)) as cluster:
        on = OnCluster(cluster, Request(), replace(options, workspace=workspace.folder))

        def make(watch: Watcher) -> EngineMaker:
            def maker(experiment: Experiment, inputs: Mapping[str, str], tell: Tell) -> RayEngine:
                return on(experiment, inputs, lambda event: (tell(event), watch(event)))

            return maker

        terminal = Terminal(Console(file=io.StringIO()))
        yield replace(prepared, workspace=workspace, terminal=terminal), make


COSTS = {
    "report.md": rb" +\d+ \| +\d+\.\d\d \|$",
    "report.html": rb'"number">\d+</td><td dir="auto" class="number">\d+\.\d\d</td></tr>',
    "training.jsonl": rb'"(peak_memory_bytes|max_tokens_at_once|seconds)": [\d.e+-]+',
    "run.json": rb'"training.jsonl": "[0-9a-f]+"',
}
"""File -> seconds and memory that a training took or found free, as it writes them, or the checksum of such a file."""


def without_costs(folder: Path) -> dict[str, bytes]:
    """A run folder's files without time, name and what its trainings took."""
    contents = comparable(folder)
    for name, pattern in COSTS.items():
        contents[name], n_found = re.subn(pattern, b"COST", contents[name], flags=re.MULTILINE)
        assert n_found, name
    return contents


def test_a_process_killed_within_a_unit_changes_no_byte_of_the_report(
    single: Path, on_nodes: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Scores, answers, drift and tables are those of one process; the unit was begun again, and said so in a line."""
    experiment, make = on_nodes
    begun: dict[str, list[int]] = {}
    killed: list[str] = []

    def kill_once(event: Event) -> None:
        if event.kind != "begun":
            return
        begun.setdefault(event.unit, []).append(event.process)
        if event.unit.startswith("answers") and not killed:
            killed.append(event.unit)
            os.kill(event.process, signal.SIGKILL)

    run, _ = train_and_measure(experiment, make=make(kill_once))

    again = [unit for unit, processes in begun.items() if len(processes) > 1]
    assert len(again) == 1, begun
    assert again == killed
    assert run.not_measured == ()
    assert not first_difference(without_costs(single), without_costs(experiment.workspace.runs / run.name))
    told = experiment.terminal.console.file.getvalue()
    assert f"{again[0]} is begun again on node" in told
    assert "(raylet" not in "".join(capfd.readouterr())


def test_a_node_that_is_lost_leaves_its_units_to_the_others(
    two_nodes: Any, on_nodes: Any, prepared: Experiment, single: Path
) -> None:
    """The adapters are those of one process, bit for bit."""
    import psutil

    assert single.is_dir()
    experiment, make = on_nodes
    third = two_nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    raylet = third.all_processes["raylet"][0].process.pid
    lost: list[str] = []

    def remove_once(event: Event) -> None:
        if event.kind == "begun" and not lost and psutil.Process(event.process).ppid() == raylet:
            lost.append(event.unit)
            two_nodes.remove_node(third, allow_graceful=False)

    trained, missing = train_by_units(experiment, make(remove_once))

    assert missing == ()
    assert lost
    expected = train(prepared, {})
    assert [each.fixture.fingerprint for each in trained] == [each.fixture.fingerprint for each in expected]
    for one, other in zip(trained, expected, strict=True):
        weights = [(each.fixture.folder / "adapter_model.safetensors").read_bytes() for each in (one, other)]
        assert weights[0] == weights[1]


def test_a_fault_in_a_unit_comes_back_with_its_traceback(on_nodes: Any) -> None:
    """By its own class, at the first attempt."""
    experiment, make = on_nodes
    begun: list[Event] = []
    with closing(make(begun.append)(experiment, inputs_of(experiment), begun.append)) as made:
        unit = TrainUnit("train: adapter, seed 42", "adapter, seed 42", start="no such parcel")
        made.submit(unit)
        done = made.next_done()
    assert done.unit is unit
    assert type(done.failure) is KeyError
    assert "no such parcel" in str(done.failure)
    assert "in do_unit" in done.traceback
    assert len([event for event in begun if event.kind == "begun"]) == 2  # one event, told to both


def test_a_unit_whose_process_dies_each_time_is_given_up_after_three(on_nodes: Any) -> None:
    """And the last node is named."""
    import platform

    experiment, make = on_nodes
    killed: list[int] = []

    def kill(event: Event) -> None:
        if event.kind == "begun":
            killed.append(event.process)
            os.kill(event.process, signal.SIGKILL)

    with closing(make(kill)(experiment, inputs_of(experiment), lambda _: None)) as made:
        made.submit(TrainUnit("train: adapter, seed 42", "adapter, seed 42"))
        failure = made.next_done().failure
    assert isinstance(failure, UnitDied)
    assert str(failure) == f"its process died 3 times, last on node {platform.node()}"
    assert len(killed) == 3


def test_a_node_with_another_version_is_refused_by_name(two_nodes: Any, on_nodes: Any, tmp_path: Path) -> None:
    """Before anything is computed there."""
    import platform

    record = tmp_path / "other" / "dpo_harness-0.0.1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: dpo-harness\nVersion: 0.0.1\n")
    paths = os.pathsep.join([str(record.parent), os.environ["PYTHONPATH"]])
    node = two_nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20, env_vars={"PYTHONPATH": paths})
    experiment, make = on_nodes
    try:
        with pytest.raises(ForeignNodeError, match=f"^node {platform.node()} has other .*dpo-harness 0.0.1, not "):
            train_by_units(experiment, make(lambda _: None))
    finally:
        two_nodes.remove_node(node)
    assert not [*experiment.workspace.fixtures.iterdir()]
