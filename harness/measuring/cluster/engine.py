"""The engine that does units in the processes of a Ray cluster."""

import os
import platform
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from harness.measuring.cluster.connecting import Cluster
from harness.measuring.cluster.ranks import train_in_ranks
from harness.measuring.cluster.request import Needs, lack_of, lack_of_ranks
from harness.measuring.cluster.silence import silent_ray
from harness.measuring.cluster.working import ATTEMPTS, Box, Failed, work
from harness.measuring.units.engine import Done, ForeignNodeError, UnitDied
from harness.measuring.units.unit import Event, Job, Parcel, Tell, TrainUnit, Unit
from reports.errors import UserError, first_line

SECONDS_BETWEEN_LOOKS = 1.0
"""Time after which events are fetched while nothing comes back."""
SECONDS_BETWEEN_COUNTS = 10.0
"""Time after which the nodes are counted anew while nothing comes back."""
ANSWER_SECONDS = 10.0
_IN_USE = re.compile(r"was ([\d.]+GB) used / ([\d.]+GB) limit")
"""What Ray's memory monitor says where it ends a process."""
MOST_HANDED = 10
"""How often a unit is handed to Ray at most, whose processes leave before they begin it (see `was_moved`)."""


class ClusterLostError(UserError):
    """The cluster is gone in the middle of a job."""


class UnitMistakeError(UserError):
    """A mistake of the user's that a process found in one variant or subject, in its words."""


class RayEngine:
    """Does units in any process of a cluster that is free; Ray begins them again where a process or a node dies."""

    def __init__(self, cluster: Cluster, job: Job, needs: Needs, workers: int | None, tell: Tell) -> None:
        """Sends the job to the cluster.

        Args:
            cluster: Where units are done; it is closed with the engine, so that its processes leave memory free.
            job: The same for all units.
            needs: What one unit occupies.
            workers: Units that are worked on at a time, at most; None is as many as there is room for.
            tell: Takes events.
        """
        self._cluster, self._ray, self._needs, self._tell = cluster, cluster.ray, needs, tell
        self._n_ranks = job.options.n_ranks
        self._n_at_a_time = workers
        self._open = ExitStack()
        self._open.callback(cluster.close)
        self._open.enter_context(silent_ray())
        self._job = self._ray.put(job)
        options = {"num_cpus": needs.n_cpus, "num_gpus": needs.n_gpus, "max_calls": 0}  # 0: the base stays
        self._work = self._ray.remote(scheduling_strategy="SPREAD", **options)(work)
        self._together: Any = None
        """Trains an adapter in processes of its own; None where one process does."""
        if self._n_ranks > 1:
            self._together = self._ray.remote(num_cpus=0)(train_in_ranks)
        beside = cluster.on_node(cluster.own_node, or_elsewhere=True)
        self._box = self._ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=beside)(Box).remote()
        self._sent: dict[str, tuple[Parcel, Any]] = {}
        """Key -> a parcel that was sent, and Ray's reference to it."""
        self._waiting: deque[tuple[Unit, list[Any]]] = deque()
        self._at_work: dict[Any, tuple[Unit, list[Any]]] = {}
        self._n_begun, self._n_handed = Counter[str](), Counter[str]()
        """Key of a unit -> how often it was begun, and handed to Ray, since it was submitted."""
        self._nodes: dict[str, str] = {}
        """Key of a unit -> the node where it was begun last."""
        self._counted = time.monotonic()

    def submit(self, unit: Unit, parcels: Sequence[Parcel] = ()) -> None:
        """Sends a unit with its parcels, or keeps it until fewer are worked on."""
        self._n_begun[unit.key] = self._n_handed[unit.key] = 0
        self._waiting.append((unit, [self._reference(parcel) for parcel in parcels]))
        self._begin()

    def next_done(self) -> Done:
        """Waits for a unit to come back; tells events in the meantime.

        Raises:
            ClusterLostError: Nothing can come back any more.
        """
        while True:
            ready = self._asked(lambda: self._ray.wait([*self._at_work], timeout=SECONDS_BETWEEN_LOOKS))[0]
            self._tell_events()
            if ready:
                unit, parcels = self._at_work.pop(ready[0])
                done = self._done(unit, ready[0])
                if isinstance(done.failure, UnitDied) and self._may_begin_again(unit):
                    self._hand(unit, parcels)
                    continue
                self._begin()
                return done
            self._tell_lack()

    def close(self) -> None:
        """Ends processes and connection; a second call does nothing."""
        self._waiting.clear()
        self._at_work.clear()
        self._sent.clear()
        self._open.close()

    def _begin(self) -> None:
        """Hands units to Ray, which has a queue of its own, unless only some may be worked on at a time."""
        while self._waiting and (self._n_at_a_time is None or len(self._at_work) < self._n_at_a_time):
            self._hand(*self._waiting.popleft())

    def _hand(self, unit: Unit, parcels: list[Any]) -> None:
        """Hands a unit to Ray, which begins it again where its process dies, as often as attempts are left."""
        self._n_handed[unit.key] += 1
        options = {"name": unit.key, "max_retries": ATTEMPTS - 1 - self._n_begun[unit.key]}
        sent = (str(Path.cwd()), self._box, self._job, unit)
        if self._together is not None and isinstance(unit, TrainUnit):  # what it starts from is in the workspace
            reference = self._together.options(**options).remote(self._needs.of_rank, *sent)
        else:
            reference = self._work.options(**options).remote(*sent, *parcels)
        self._at_work[reference] = unit, parcels

    def _may_begin_again(self, unit: Unit) -> bool:
        """Whether processes that died were not all at work on it: on GPUs some leave before they begin."""
        return self._needs.n_gpus > 0 and self._n_begun[unit.key] < ATTEMPTS and self._n_handed[unit.key] < MOST_HANDED

    def _reference(self, parcel: Parcel) -> Any:
        """A parcel's reference: an adapter goes to a node once, however many units need it."""
        sent = self._sent.get(parcel.key)
        if sent is None or not (parcel is sent[0] or parcel.files):  # scores of one key may have become more
            sent = self._sent[parcel.key] = parcel, self._ray.put(parcel)
        return sent[1]

    def _done(self, unit: Unit, reference: Any) -> Done:
        errors = self._ray.exceptions
        try:
            result = self._ray.get(reference)
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            return Done(unit, failure=cause, traceback=str(error))  # whose words are the traceback of the process
        except errors.RayError as error:
            died = UnitDied(unit.key, how_died(error), ATTEMPTS, self._nodes.get(unit.key, ""))
            return Done(unit, failure=died)
        if isinstance(result, Failed):
            kinds: dict[str, type[UserError]] = {"foreign": ForeignNodeError, "mistake": UnitMistakeError}
            return Done(unit, failure=kinds[result.kind](result.message))
        return Done(unit, result)

    def _tell_events(self) -> None:
        """Hands on what processes have told since the last time."""
        with suppress(self._ray.exceptions.GetTimeoutError, self._ray.exceptions.RayActorError):
            for told in self._asked(lambda: self._ray.get(self._box.take.remote(), timeout=ANSWER_SECONDS)):
                event = Event(**told)
                if event.kind == "begun":
                    self._nodes[event.unit] = event.node
                    self._n_begun[event.unit] += 1
                self._tell(event)

    def _tell_lack(self) -> None:
        """Tells now and then what is missing, where no node is left that a unit fits on."""
        if time.monotonic() - self._counted >= SECONDS_BETWEEN_COUNTS:
            self._counted = time.monotonic()
            nodes = self._asked(self._cluster.nodes)
            lack = lack_of(nodes, self._needs) or lack_of_ranks(nodes, self._needs.of_rank, self._n_ranks)
            self._tell(Event("", "waiting", platform.node(), os.getpid(), lack=lack))

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """What Ray answers.

        Raises:
            ClusterLostError: It is not there any more.
        """
        errors = self._ray.exceptions
        try:
            return ask()
        except (errors.GetTimeoutError, errors.RayActorError):
            raise
        except (errors.RayError, ConnectionError) as error:
            raise ClusterLostError(
                f"the Ray cluster was lost ({first_line(error)}); what was computed is kept: the same command goes on"
            ) from error


def how_died(error: BaseException) -> str:
    """How the processes of a unit died, as a clause."""
    name = type(error).__name__
    if "OutOfMemory" in name:
        used = _IN_USE.search(str(error))
        return "memory ran out" + (f" ({used[1]} of {used[2]} were in use on its node)" if used else "")
    if "Node" in name or "Lost" in name:
        return "its node was lost"
    return "its process died" if "Worker" in name else f"{name}: {first_line(error)}"
