"""How far the units of a job are: one line, from what engines tell of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.measuring.units.engine import Done, ForeignNodeError
from harness.measuring.units.unit import Event, ScoreUnit, Unit
from reports.errors import first_line

LONGEST_SILENCE = 20 * 60.0
"""Seconds without an event after which a unit that was begun is told of."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the status line shows."""

    n_units: int
    n_done: int
    n_training: int = 0
    """Units that train, or score rows by a reference, now."""
    n_scoring: int = 0
    n_again: int = 0
    """How often a unit was begun again because its process died."""
    n_failed: int = 0
    step: int = 0
    """Steps of the training that was told of last."""
    n_steps: int = 0
    loss: float | None = None


def status_line(counts: Counts) -> str:
    """One line: `units 37/54 · 3 training (step 210/400, loss 0.51) · 5 scoring · 1 again · 0 failed`."""
    training = f"{counts.n_training} training"
    if counts.n_training and counts.n_steps:
        loss = "" if counts.loss is None else f", loss {counts.loss:.2f}"
        training += f" (step {counts.step}/{counts.n_steps}{loss})"
    parts = (
        f"units {counts.n_done}/{counts.n_units}",
        training,
        f"{counts.n_scoring} scoring",
        f"{counts.n_again} again",
        f"{counts.n_failed} failed",
    )
    return " · ".join(parts)


@dataclass(slots=True)
class Tally:
    """Counts units from what is told of them."""

    _n_units: int = 0
    _n_done: int = 0
    _n_failed: int = 0
    _n_again: int = 0
    _trains: dict[str, bool] = field(default_factory=dict)
    """Key of a unit that was submitted -> whether it comes before scoring."""
    _at_work: dict[str, Event] = field(default_factory=dict)
    """Key of a unit that was begun -> the event that told so."""
    _latest: Event | None = None
    """The latest step of a training."""

    def expect(self, n_left: int) -> None:
        """Takes how many units are still to come back; those that were done by earlier commands are none of them."""
        self._n_units = self._n_done + n_left

    def submitted(self, unit: Unit) -> None:
        """Takes a unit that was given to the engine."""
        self._trains[unit.key] = not isinstance(unit, ScoreUnit)

    def is_out(self, key: str) -> bool:
        """Whether a unit was submitted and has not come back."""
        return key in self._trains

    def told(self, event: Event) -> str | None:
        """Takes an event; returns a line for the user where a unit was begun again."""
        before = self._at_work.get(event.unit)
        if event.kind == "begun":
            self._at_work[event.unit] = event
            if before is not None:  # it never ended
                self._n_again += 1
                return (
                    f"{event.unit} is begun again on node {event.node}: its process {before.process} on node "
                    f"{before.node} died"
                )
        elif event.kind == "ended":
            self._at_work.pop(event.unit, None)
        elif self._trains.get(event.unit, False):
            self._latest = event
        return None

    def done(self, done: Done) -> None:
        """Takes a unit that came back."""
        self._at_work.pop(done.unit.key, None)
        self._trains.pop(done.unit.key, None)
        self._n_done += 1
        self._n_failed += done.failure is not None

    @property
    def counts(self) -> Counts:
        """What the status line shows now."""
        training = [key for key in self._at_work if self._trains.get(key, False)]
        latest = self._latest if self._latest is not None and self._latest.unit in training else None
        numbers: Mapping[str, float] = {} if latest is None else latest.numbers
        return Counts(
            self._n_units,
            self._n_done,
            len(training),
            len(self._at_work) - len(training),
            self._n_again,
            self._n_failed,
            0 if latest is None else latest.step,
            0 if latest is None else latest.n_steps,
            numbers.get("loss"),
        )


@dataclass(slots=True)
class Silence:
    """Finds units at work that have told nothing for long; a process that hangs looks like one that computes."""

    _heard: dict[str, tuple[float, Event]] = field(default_factory=dict)
    """Key of a unit at work -> when it told something last, and what."""
    _told: set[str] = field(default_factory=set)

    def heard(self, event: Event, now: float) -> None:
        """Takes an event of a unit, at a time in seconds."""
        self._told.discard(event.unit)
        if event.kind == "ended":
            self._heard.pop(event.unit, None)
        else:
            self._heard[event.unit] = (now, event)

    def done(self, key: str) -> None:
        """Takes a unit that came back."""
        self._heard.pop(key, None)
        self._told.discard(key)

    def lines(self, now: float) -> list[str]:
        """A line for every unit that has been silent for too long, once until it tells something again."""
        silent = {key: event for key, (heard, event) in self._heard.items() if now - heard >= LONGEST_SILENCE}
        new = [event for key, event in silent.items() if key not in self._told]
        self._told.update(silent)
        minutes = round(LONGEST_SILENCE / 60)
        return [
            f"{event.unit}: no sign of life for {minutes} min from process {event.process} on node {event.node}"
            for event in new
        ]


@dataclass(slots=True)
class Watch:
    """Shows the user how far units are, and says what is out of the ordinary."""

    show: Callable[[str], object]
    """Shows a status line in place of the one before."""
    say: Callable[[str], object]
    """Prints a line that stays."""
    tally: Tally = field(default_factory=Tally)
    clock: Callable[[], float] = time.monotonic
    """Seconds since an arbitrary moment."""
    _silence: Silence = field(default_factory=Silence)
    _lack: str = ""
    """What was missing when it was told last."""

    def tell(self, event: Event) -> None:
        """Takes an event of an engine."""
        if event.kind == "waiting":
            self._waiting(event.lack)
            return
        if event.kind == "said":
            self.say(f"{event.unit}: {event.line}")
            return
        if not self.tally.is_out(event.unit):  # told before the unit came back, and heard after that
            return
        self._silence.heard(event, self.clock())
        line = self.tally.told(event)
        if line is not None:
            self.say(line)
        self.show(status_line(self.tally.counts))

    def _waiting(self, lack: str) -> None:
        """Says what is missing where that is new, and who is silent."""
        if lack and lack != self._lack:
            self.say(f"waiting: {lack}")
        self._lack = lack
        for line in self._silence.lines(self.clock()):
            self.say(line)

    def expect(self, n_left: int) -> None:
        """Takes how many units are still to come back."""
        self.tally.expect(n_left)

    def submitted(self, unit: Unit) -> None:
        """Takes a unit that was given to the engine."""
        self.tally.submitted(unit)
        self.show(status_line(self.tally.counts))

    def done(self, done: Done) -> None:
        """Takes a unit that came back."""
        self.tally.done(done)
        self._silence.done(done.unit.key)
        if done.failure is not None and not isinstance(done.failure, ForeignNodeError):  # which ends the job by itself
            self.say(f"{done.unit.key} failed: {first_line(done.failure)}")
        self.show(status_line(self.tally.counts))
