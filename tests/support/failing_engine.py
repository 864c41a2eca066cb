"""An engine in this process that does units in another order, or fails where it is told to."""

from collections.abc import Mapping
from typing import Any

from harness.measuring.units.engine import Done
from harness.measuring.units.in_process import InProcess


class Engine(InProcess):
    """Does units in this process, the last one first or the first one first, and fails where it is told to."""

    def __init__(self, *made: Any, fails: Mapping[str, Exception] | None = None, last_first: bool = False) -> None:
        super().__init__(*made)
        self.fails, self.last_first = fails or {}, last_first
        self.done: list[str] = []

    def next_done(self) -> Done:
        """As the engine of a process does, but for order and failures."""
        if self.last_first:
            self._waiting.rotate(1)
        unit = self._waiting[0][0]
        self.done.append(unit.key)
        if unit.key in self.fails:
            self._waiting.popleft()
            return Done(unit, failure=self.fails[unit.key], traceback="Traceback ...")
        return super().next_done()
