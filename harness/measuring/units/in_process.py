"""The engine that does units in the driver's own process, one after another, in the order in which they came."""

import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from harness.measuring.experiment import Experiment
from harness.measuring.units.doing import Bench, scratch, telling
from harness.measuring.units.engine import Done
from harness.measuring.units.unit import Parcel, Tell, Unit
from reports.errors import UserError


class InProcess:
    """Does what every engine does, on what the driver has loaded already."""

    def __init__(self, experiment: Experiment, inputs: Mapping[str, str], tell: Tell) -> None:
        """Takes what the driver read, as objects and as hashes, and what takes events."""
        self._open = ExitStack()
        self._bench = Bench(experiment, inputs, self._open.enter_context(scratch()), keeps_base=True)
        self._tell = lambda event: None if event.kind == "said" else tell(event)  # whose lines are on this terminal
        self._waiting: deque[tuple[Unit, Sequence[Parcel]]] = deque()

    def submit(self, unit: Unit, parcels: Sequence[Parcel] = ()) -> None:
        """Puts a unit behind those that wait."""
        self._waiting.append((unit, parcels))

    def next_done(self) -> Done:
        """Does the unit that has waited longest."""
        unit, parcels = self._waiting.popleft()
        try:
            with telling(unit, self._tell):
                return Done(unit, self._bench.do(unit, parcels, self._tell))
        except UserError as mistake:
            return Done(unit, failure=mistake)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it concerns this unit, and the others go on
            return Done(unit, failure=fault, traceback=traceback.format_exc())

    def close(self) -> None:
        """Takes the adapters off the driver's base, and removes their folder."""
        self._waiting.clear()
        self._bench.take_adapters_off()
        self._open.close()
