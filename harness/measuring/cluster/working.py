"""What runs in the processes of a cluster: a unit, an account of a node, and the box that events are put into."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.measuring.units.doing import do_unit
from harness.measuring.units.engine import ForeignNodeError
from harness.measuring.units.unit import Event, Job, Outcome, Parcel, Unit
from harness.models.provenance import PACKAGES, hash_of_code, package_versions
from harness.training.checkpoints import UnwritableError
from harness.workspace import WorkspaceError
from reports.errors import UserError

ATTEMPTS = 3
"""How often a unit is begun whose processes die."""
SECONDS_BETWEEN_STEPS = 1.0
"""Shortest time between two steps that a process tells of; a begin and an end are always told."""
UNUSABLE = 70
"""Exit code of a process that can do no further unit on its GPU."""
_is_set_up = False


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a unit came to nothing, by a mistake of the user's: its words, since not every error can be sent."""

    kind: Literal["mistake", "foreign"]
    """Whether it concerns the one variant, or would every unit and so ends the job."""
    message: str


def failed(error: UserError) -> Failed:
    """What a process tells of a mistake; a disk that is full is full for every unit, and may be of this node alone."""
    if isinstance(error, UnwritableError | WorkspaceError):
        return Failed("foreign", f"node {platform.node()}: {error}")
    return Failed("foreign" if isinstance(error, ForeignNodeError) else "mistake", str(error))


def work(folder: str, box: Any, job: Job, unit: Unit, *parcels: Parcel) -> Outcome | Failed:
    """Does a unit in a process of a cluster; what is no mistake of the user's is raised.

    Args:
        folder: The driver's working folder, which relative paths start from.
        box: The actor that takes events.
        job: The job.
        unit: What to do.
        parcels: Those that the unit needs.
    """
    set_up(folder)
    if was_moved(os.environ):
        os._exit(UNUSABLE)
    try:
        return do_unit(job, unit, parcels, teller(box.put.remote))
    except UserError as error:
        return failed(error)
    except Exception as error:
        if spoils_process(error):
            os._exit(UNUSABLE)  # Ray would give this process further units; that it died counts as an attempt
        raise


_visible: list[str | None] = []
"""GPUs that this process saw at its first unit."""


def was_moved(environment: Mapping[str, str]) -> bool:
    """Whether Ray has lent this process another GPU than the one that it holds the base on, which CUDA cannot leave.

    It would compute beside another process on the one, while the other GPU is idle. On a node of several GPUs this is
    common: Ray gives a unit to any idle process and any free GPU. That the process leaves is no attempt at the unit.
    """
    seen = environment.get("CUDA_VISIBLE_DEVICES")
    if not _visible:
        _visible.append(seen)
    torch: Any = sys.modules.get("torch")
    return _visible[0] != seen and torch is not None and bool(torch.cuda.is_initialized())


def spoils_process(error: BaseException) -> bool:
    """Whether a process can do no further unit: its GPU's memory ran out, or CUDA gives nothing but errors from now."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def set_up(folder: str) -> None:
    """Does once what the command line does before it computes anything."""
    global _is_set_up  # noqa: PLW0603 - as what it sets is the process's
    if _is_set_up:
        return
    from harness.allocator import keep_freed_memory
    from harness.offline import forbid_requests
    from harness.terminal import quiet_libraries

    keep_freed_memory()
    quiet_libraries()
    forbid_requests(os.environ)
    if Path(folder).is_dir():
        os.chdir(folder)
    _is_set_up = True


def teller(
    put: Callable[[dict[str, Any]], object], clock: Callable[[], float] = time.monotonic
) -> Callable[[Event], None]:
    """Sends events without waiting, steps only now and then."""
    latest = [float("-inf")]

    def tell(event: Event) -> None:
        if event.kind == "step":
            if clock() - latest[0] < SECONDS_BETWEEN_STEPS:
                return
            latest[0] = clock()
        put(asdict(event))

    return tell


class Box:
    """Takes events from all processes until the driver fetches them; an actor, which has one process of its own."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []

    def put(self, event: dict[str, Any]) -> None:
        """Takes an event."""
        self._events.append(event)

    def take(self) -> list[dict[str, Any]]:
        """Hands over what has come since the last call."""
        events, self._events = self._events, []
        return events


def account(mark: str) -> dict[str, Any]:
    """What a node says of itself, in types that every version of this project can read.

    Args:
        mark: Absolute path of a file that the driver has made in its workspace.
    """
    return {
        "name": platform.node(),
        "versions": versions_here(),
        "sees_workspace": Path(mark).is_file(),
    }


def versions_here() -> dict[str, str | None]:
    """Package -> version of what computes here; "code" is a hash of this project's own files."""
    return {"Python": platform.python_version(), **package_versions(PACKAGES), "code": hash_of_code()}
