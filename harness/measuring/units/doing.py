"""Do one unit, in any process."""

from collections.abc import Sequence

from harness.measuring.units.unit import Event, Job, Outcome, Parcel, Tell, Unit


def _untold(_event: Event) -> None:
    """Tells nobody."""


def do_unit(job: Job, unit: Unit, parcels: Sequence[Parcel] = (), tell: Tell = _untold) -> Outcome:
    """Does a unit and returns what came of it; opens none of the driver's stores.

    The process prepares the job at its first unit, and keeps rows, base and suite for the next. It does not matter what
    it did before: adapters of other units are taken off. It tells of "begun" first and of "ended" last, and of a
    training's steps in between.

    Args:
        job: The same object content for all units of a process; another job's is prepared anew.
        unit: What to do.
        parcels: Those that the unit names, in any order.
        tell: Takes events; it must not wait.

    Raises:
        ForeignNodeError: The job cannot be prepared here, or what was read is not what the driver read.
        UserError: A mistake in the unit's variant or subject, such as a loss that became NaN.
        torch.OutOfMemoryError: A GPU's memory ran out in training; the process should do no further unit.
    """
    raise NotImplementedError
