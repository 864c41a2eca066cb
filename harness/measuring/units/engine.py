"""An engine does units: in this process, or in many. The order, the stores and the failures are `filling`'s."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.measuring.units.unit import Outcome, Parcel, Unit
from reports.errors import UserError


class ForeignNodeError(UserError):
    """A process cannot prepare the job, or read other data, weights or versions than the driver; it names the node.

    It ends the job: no unit of that node could be used, and another node may be alike.
    """


class UnitDied(Exception):  # noqa: N818 - the process died, which is no mistake of anybody's
    """The processes that worked on a unit died, every time it was begun."""

    def __init__(self, key: str, reason: str, n_attempts: int, node: str = "") -> None:
        """Takes what is known of the deaths.

        Args:
            key: Key of the unit.
            reason: How they died, as a clause: "its process died", "its node was lost", "memory ran out".
            n_attempts: How often it was begun.
            node: Where it was begun last; empty where that is not known.
        """
        super().__init__(key, reason, n_attempts, node)  # all of them, so that it can be pickled
        self.key, self.reason, self.n_attempts, self.node = key, reason, n_attempts, node

    def __str__(self) -> str:
        times = "once" if self.n_attempts == 1 else f"{self.n_attempts} times"
        return f"{self.reason} {times}" + (f", last on node {self.node}" if self.node else "")


@dataclass(frozen=True, slots=True)
class Done:
    """A unit that will not be worked on any more: what came of it, or why nothing did."""

    unit: Unit
    outcome: Outcome | None = None
    failure: Exception | None = None
    """`ForeignNodeError` ends the job. A `UserError` is a mistake in one variant. `UnitDied` says that all attempts
    failed. Any other exception is a fault. None of them is tried again."""
    traceback: str = ""
    """Of a fault, for the log."""


class Engine(Protocol):
    """Does units in any order, each at most as often as its processes die.

    It gets job and `Tell` when it is made, calls `do_unit(job, unit, parcels, tell)` in its processes, and hands every
    `Event` to the driver's `Tell` from within `next_done`, in the driver's thread.
    """

    def submit(self, unit: Unit, parcels: Sequence[Parcel] = ()) -> None:
        """Takes a unit, and what it needs of earlier ones; returns at once."""
        ...

    def next_done(self) -> Done:
        """Waits for a unit that was submitted and not yet returned; each is returned once."""
        ...

    def close(self) -> None:
        """Ends what is still being worked on, and gives everything back; a second call does nothing."""
        ...
