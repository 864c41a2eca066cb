"""The engine, on a Ray that computes nothing."""

import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.measuring.cluster import engine as module
from harness.measuring.cluster import working
from harness.measuring.cluster.engine import ClusterLostError, RayEngine, UnitMistakeError, how_died
from harness.measuring.cluster.request import Needs, Node
from harness.measuring.cluster.working import Failed, failed, spoils_process, teller, was_moved
from harness.measuring.preparation import Options
from harness.measuring.units.engine import ForeignNodeError, UnitDied
from harness.measuring.units.unit import Event, Job, Parcel, ReferenceUnit, TrainUnit
from harness.training.checkpoints import UnwritableError
from harness.training.recipe import TrainingError

UNIT = TrainUnit("train: adapter", "adapter")
OTHER = TrainUnit("train: other", "other")
JOB = Job(Options("smoke", Path("w")), 1, {})


class RayError(Exception):
    """Ray's base class."""


class RayTaskError(RayError):
    """What Ray makes of an exception of a task."""

    def __init__(self, cause: object) -> None:
        super().__init__("in a task")
        self.cause = cause


class WorkerCrashedError(RayError):
    """The process died, after all attempts."""


class NodeDiedError(RayError):
    """The node died."""


class OutOfMemoryError(RayError):
    """The memory monitor killed it."""


class RaySystemError(RayError):
    """Ray itself is gone."""


class GetTimeoutError(RayError):
    """No answer in time."""


class RayActorError(RayError):
    """The box is gone."""


class FakeRay:
    """Remembers what is sent; results come back in the order in which they are put into `results`."""

    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, GetTimeoutError=GetTimeoutError, RayActorError=RayActorError
    )

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.options: list[dict[str, Any]] = []
        self.begun: list[tuple[Any, ...]] = []
        self.retries: list[int] = []
        self.results: dict[str, Any] = {}
        self.events: list[Event] = []
        self.lost = False

    def put(self, value: Any) -> str:
        """A reference to a value."""
        self.sent.append(value)
        return f"reference {len(self.sent)}"

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        """A decorator, as Ray's."""
        self.options.append(options)

        def decorate(what: Any) -> Any:
            if what is module.Box:
                take = SimpleNamespace(remote=lambda: "events")
                return SimpleNamespace(remote=lambda: SimpleNamespace(take=take))

            def with_options(name: str, max_retries: int) -> Any:
                self.retries.append(max_retries)
                return SimpleNamespace(remote=lambda *sent: self.begin(name, sent))

            return SimpleNamespace(options=with_options)

        return decorate

    def begin(self, name: str, sent: tuple[Any, ...]) -> str:
        """A task that was handed over."""
        self.begun.append((name, *sent[4:]))
        return name

    def wait(self, references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        """The first that has a result."""
        assert references
        assert timeout
        if self.lost:
            raise RaySystemError("gone")
        return [each for each in references if each in self.results][:1], []

    def get(self, reference: str, timeout: float | None = None) -> Any:
        """A result, or the events."""
        if reference == "events":
            assert timeout
            told, self.events = [asdict(each) for each in self.events], []
            return told
        result = self.results[reference]
        if isinstance(result, Exception):
            raise result
        return result


class FakeCluster:
    """A cluster of no nodes."""

    own_node = "1"

    def __init__(self) -> None:
        self.ray, self.n_closed, self.has = FakeRay(), 0, [Node("a", "1", 2, 0)]

    def on_node(self, identifier: str, *, or_elsewhere: bool) -> tuple[str, bool]:
        """A scheduling strategy."""
        return identifier, or_elsewhere

    def nodes(self) -> list[Node]:
        """What there is."""
        return self.has

    def close(self) -> None:
        """Is called once more or less often."""
        self.n_closed += 1


@pytest.fixture
def cluster() -> FakeCluster:
    """A cluster that nothing was sent to."""
    return FakeCluster()


def made(cluster: FakeCluster, workers: int | None = None, told: list[Event] | None = None) -> RayEngine:
    """An engine on that cluster."""
    tell = str if told is None else told.append
    return RayEngine(cluster, JOB, Needs(2, 0.5), workers, tell)  # type: ignore[arg-type]


def test_a_process_keeps_its_base_and_is_replaced_twice(cluster: FakeCluster) -> None:
    """What Ray is asked for: resources, attempts, a process that does more than one unit; the box occupies nothing."""
    made(cluster).submit(UNIT)
    work, box = cluster.ray.options
    assert work == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "max_calls": 0,
        "scheduling_strategy": "SPREAD",
    }
    assert cluster.ray.retries == [2]
    assert box == {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": ("1", True)}
    assert cluster.ray.sent == [JOB]


def test_at_most_so_many_units_are_handed_over_at_a_time(cluster: FakeCluster) -> None:
    """The next one when one came back; without a limit all at once, for Ray's own queue."""
    engine = made(cluster, workers=1)
    engine.submit(UNIT)
    engine.submit(OTHER)
    assert cluster.ray.begun == [(UNIT.key,)]
    cluster.ray.results = {UNIT.key: "outcome"}
    assert engine.next_done().outcome == "outcome"
    assert cluster.ray.begun == [(UNIT.key,), (OTHER.key,)]

    unlimited = made(FakeCluster())
    unlimited.submit(UNIT)
    unlimited.submit(OTHER)
    assert len(unlimited._ray.begun) == 2


def test_a_training_that_several_processes_share_occupies_nothing_itself(cluster: FakeCluster) -> None:
    """Its processes do, which it starts; other units are done as ever."""
    job = replace(JOB, options=replace(JOB.options, n_ranks=2))
    engine = RayEngine(cluster, job, Needs(2, 0.5), None, str)  # type: ignore[arg-type]
    parcel = Parcel("a", {"weights": b"1"})
    engine.submit(UNIT, [parcel])
    engine.submit(ReferenceUnit("reference: baseline", ("adapter",)), [parcel])

    _, together, _ = cluster.ray.options
    assert together == {"num_cpus": 0}
    assert cluster.ray.retries == [2, 2]
    assert cluster.ray.begun == [(UNIT.key, UNIT), ("reference: baseline", "reference 2")]


def test_an_adapter_is_sent_once_and_scores_whenever_they_changed(cluster: FakeCluster) -> None:
    """The same key is the same files; scores under one key may have become more."""
    engine = made(cluster)
    adapter, scores = Parcel("a", {"weights": b"1"}), Parcel("s", scores=[("context", {})])
    engine.submit(UNIT, [adapter, scores])
    engine.submit(OTHER, [Parcel("a", {"weights": b"1"}), scores])
    engine.submit(UNIT, [Parcel("s", scores=[("context", {}), ("other", {})])])
    assert cluster.ray.begun == [
        (UNIT.key, "reference 2", "reference 3"),
        (OTHER.key, "reference 2", "reference 3"),
        (UNIT.key, "reference 4"),
    ]


@pytest.mark.parametrize(
    ("result", "failure", "words"),
    [
        (Failed("mistake", "the loss became nan"), UnitMistakeError, "the loss became nan"),
        (Failed("foreign", "node b has other data"), ForeignNodeError, "node b has other data"),
        (RayTaskError(KeyError("x")), KeyError, "'x'"),
        (RayTaskError("no exception"), RayTaskError, "in a task"),
        (WorkerCrashedError(), UnitDied, "its process died 3 times, last on node b"),
        (NodeDiedError(), UnitDied, "its node was lost 3 times, last on node b"),
        (OutOfMemoryError(), UnitDied, "memory ran out 3 times, last on node b"),
    ],
)
def test_failures_come_back_in_our_words(
    cluster: FakeCluster, result: object, failure: type[Exception], words: str
) -> None:
    """A mistake, a foreign node, a fault with its traceback, and deaths with the node of the last attempt."""
    engine = made(cluster)
    engine.submit(UNIT)
    cluster.ray.events = [Event(UNIT.key, "begun", node, 1) for node in ("a", "b")]
    cluster.ray.results = {UNIT.key: result}
    done = engine.next_done()
    assert type(done.failure) is failure
    assert str(done.failure) == words
    assert bool(done.traceback) == isinstance(result, RayTaskError)


def test_processes_that_leave_before_they_begin_are_no_attempts(cluster: FakeCluster) -> None:
    """The unit is handed over again with the attempts that are left, but not for ever, and only where GPUs are lent."""
    engine = made(cluster)
    engine.submit(UNIT)
    cluster.ray.results = {UNIT.key: WorkerCrashedError()}
    begins = iter([[], ["a"], [], ["b", "b"]])
    look = engine._tell_events

    def as_told() -> None:
        cluster.ray.events = [Event(UNIT.key, "begun", node, 1) for node in next(begins, [])]
        look()

    engine._tell_events = as_told  # type: ignore[method-assign]
    assert str(engine.next_done().failure) == "its process died 3 times, last on node b"
    assert cluster.ray.retries == [2, 2, 1, 1]

    engine.submit(UNIT)
    engine.next_done()
    assert cluster.ray.retries[4:] == [2] * module.MOST_HANDED

    on_cpus = RayEngine(cluster, JOB, Needs(2), None, str)  # type: ignore[arg-type]
    on_cpus.submit(UNIT)
    assert isinstance(on_cpus.next_done().failure, UnitDied)
    assert cluster.ray.retries[4 + module.MOST_HANDED :] == [2]


def test_events_reach_the_driver_before_the_unit_does(cluster: FakeCluster) -> None:
    """In the order in which they were told."""
    told: list[Event] = []
    engine = made(cluster, told=told)
    engine.submit(UNIT)
    events = [Event(UNIT.key, "begun", "a", 1), Event(UNIT.key, "step", "a", 1, 3, 9, {"loss": 0.5})]
    cluster.ray.events, cluster.ray.results = [*events], {UNIT.key: "outcome"}
    engine.next_done()
    assert told == events


@pytest.mark.parametrize(
    ("n_ranks", "needs", "lack"),
    [(1, Needs(3), "a unit needs 3 CPUs"), (9, Needs(1), "9 processes need 1 CPU each,")],
)
def test_what_no_node_has_any_more_is_told(
    n_ranks: int, needs: Needs, lack: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing comes back; for the processes of one adapter also where there is room for one of them."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_COUNTS", 0.0)
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(event)
        cluster.ray.results = {UNIT.key: "outcome"}

    job = replace(JOB, options=replace(JOB.options, n_ranks=n_ranks))
    engine = RayEngine(cluster, job, needs, None, tell)  # type: ignore[arg-type]
    engine.submit(UNIT)
    engine.next_done()
    assert [(each.kind, each.lack[: len(lack)]) for each in told] == [("waiting", lack)]


def test_a_cluster_that_is_gone_ends_the_job_in_a_line(cluster: FakeCluster) -> None:
    """No unit is to blame."""
    engine = made(cluster)
    engine.submit(UNIT)
    cluster.ray.lost = True
    with pytest.raises(ClusterLostError, match=r"was lost \(gone\); what was computed is kept"):
        engine.next_done()


def test_a_closed_engine_gives_everything_back_once(cluster: FakeCluster) -> None:
    """The cluster and the streams."""
    import sys

    before, engine = sys.stderr, made(cluster)
    assert sys.stderr is not before
    engine.close()
    engine.close()
    assert (sys.stderr, cluster.n_closed) == (before, 1)


def test_memory_that_ran_out_is_told_with_what_was_in_use() -> None:
    """In the numbers of Ray's memory monitor."""
    of_ray = (
        "Task was killed.\nMemory on the node (IP: 10.0.0.1, ID: ab) was 15.21GB used / 15.67GB limit (0.97), which"
    )
    assert how_died(OutOfMemoryError(of_ray)) == "memory ran out (15.21GB of 15.67GB were in use on its node)"


def test_deaths_of_another_kind_keep_their_name() -> None:
    """So that nothing is called what it is not."""
    assert how_died(RaySystemError("odd")) == "RaySystemError: odd"


def test_steps_are_told_now_and_then() -> None:
    """Begin and end always."""
    now, told = [0.0], list[dict[str, Any]]()
    tell = teller(told.append, lambda: now[0])
    for seconds, kind in ((0, "begun"), (0, "step"), (0.5, "step"), (1, "step"), (1.1, "step"), (1.1, "ended")):
        now[0] = seconds
        tell(Event("u", kind, "a", 1, step=int(seconds * 10)))  # type: ignore[arg-type]
    assert [(each["kind"], each["step"]) for each in told] == [("begun", 0), ("step", 0), ("step", 10), ("ended", 11)]


def test_a_process_that_was_lent_another_gpu_cannot_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once CUDA has begun on the first one; before that it can."""
    import torch

    monkeypatch.setattr(working, "_visible", [])
    assert not was_moved({"CUDA_VISIBLE_DEVICES": "0"})
    assert not was_moved({"CUDA_VISIBLE_DEVICES": "1"})
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert not was_moved({"CUDA_VISIBLE_DEVICES": "0"})
    assert was_moved({"CUDA_VISIBLE_DEVICES": "1"})


def test_a_full_disk_is_told_with_its_node() -> None:
    """Every unit would meet it, so it ends the job; a mistake in a recipe concerns one candidate."""
    full = failed(UnwritableError("--workspace: no space left"))
    assert full == Failed("foreign", f"node {platform.node()}: --workspace: no space left")
    assert failed(ForeignNodeError("node a has other weights")) == Failed("foreign", "node a has other weights")
    assert failed(TrainingError("the loss became NaN")) == Failed("mistake", "the loss became NaN")


def test_a_process_without_a_usable_gpu_is_not_used_again() -> None:
    """Memory that ran out, and an error that all later calls would repeat; no other fault."""
    import torch

    assert spoils_process(torch.OutOfMemoryError("CUDA out of memory"))
    assert spoils_process(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not spoils_process(RuntimeError("shapes do not match"))
    assert not spoils_process(ValueError("CUDA error"))
