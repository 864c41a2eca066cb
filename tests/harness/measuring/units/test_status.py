"""The line that says how far units are, and what it is counted from."""

import pytest

from harness.measuring.units.engine import Done, ForeignNodeError, UnitDied
from harness.measuring.units.status import LONGEST_SILENCE, Counts, Tally, Watch, status_line
from harness.measuring.units.unit import Event, ReferenceUnit, ScoreUnit, TrainUnit
from suites.engine.plan import plan_within

TRAINING = TrainUnit("train: adapter", "adapter")
SCORING = ScoreUnit("safety: baseline", "safety", None, plan_within("cpu", 2**40, 64))
REFERENCE = ReferenceUnit("reference: baseline", ("adapter",))


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (
            Counts(54, 37, 3, 5, 1, 0, 210, 400, 0.514),
            "units 37/54 · 3 training (step 210/400, loss 0.51) · 5 scoring · 1 again · 0 failed",
        ),
        (Counts(2, 0, 1), "units 0/2 · 1 training · 0 scoring · 0 again · 0 failed"),
        (Counts(2, 0, 1, step=3, n_steps=9), "units 0/2 · 1 training (step 3/9) · 0 scoring · 0 again · 0 failed"),
        (Counts(9, 9, n_failed=2), "units 9/9 · 0 training · 0 scoring · 0 again · 2 failed"),
    ],
)
def test_the_line_says_what_is_counted(counts: Counts, line: str) -> None:
    """Steps and loss only while something is trained."""
    assert status_line(counts) == line


def event(unit: str, kind: str, process: int = 1, **more: object) -> Event:
    """What a process tells."""
    return Event(unit, kind, "node-a", process, **more)  # type: ignore[arg-type]


def test_units_are_counted_from_what_is_told() -> None:
    """Begun, at its steps, ended, and back at the driver."""
    tally = Tally()
    for unit in (TRAINING, SCORING, REFERENCE):
        tally.submitted(unit)
    tally.expect(3)
    tally.told(event(TRAINING.key, "begun"))
    tally.told(event(TRAINING.key, "step", step=2, n_steps=8, numbers={"loss": 0.5}))
    tally.told(event(SCORING.key, "begun", 2))
    tally.told(event(SCORING.key, "step", 2, step=40, n_steps=90))
    tally.told(event(REFERENCE.key, "begun", 3))

    assert tally.counts == Counts(3, 0, 2, 1, 0, 0, 2, 8, 0.5)
    tally.told(event(TRAINING.key, "ended"))
    tally.done(Done(TRAINING))
    tally.expect(4)
    assert tally.counts == Counts(5, 1, 1, 1)


def test_what_a_training_says_is_said_with_its_name() -> None:
    """Also where it is heard after the unit came back."""
    said: list[str] = []
    watch = Watch(lambda _line: None, said.append)
    watch.tell(event(TRAINING.key, "said", line="out of memory"))
    assert said == ["train: adapter: out of memory"]


def test_a_unit_that_begins_twice_was_begun_again() -> None:
    """Nothing else tells the driver of a process that died."""
    tally = Tally()
    tally.submitted(SCORING)
    assert tally.told(event(SCORING.key, "begun", 7)) is None
    assert tally.told(event(SCORING.key, "begun", 8)) == (
        "safety: baseline is begun again on node node-a: its process 7 on node node-a died"
    )
    assert (tally.counts.n_again, tally.counts.n_scoring) == (1, 1)


def test_a_unit_that_failed_is_told_in_a_line() -> None:
    """With its reason, beside the status line."""
    shown: list[str] = []
    said: list[str] = []
    watch = Watch(shown.append, said.append)
    watch.expect(1)
    watch.submitted(TRAINING)
    watch.done(Done(TRAINING, failure=UnitDied(TRAINING.key, "its process died", 3, "b")))

    assert said == ["train: adapter failed: its process died 3 times, last on node b"]
    assert shown[-1] == "units 1/1 · 0 training · 0 scoring · 0 again · 1 failed"
    watch.done(Done(SCORING, failure=ForeignNodeError("node b has other weights")))
    assert len(said) == 1  # the command ends with that line


def test_what_nobody_has_is_told_once() -> None:
    """And again where it changes, or is missing once more."""
    said: list[str] = []
    watch = Watch(str, said.append)
    for lack in ("", "needs 1 GPU", "needs 1 GPU", "", "needs 1 GPU", "needs 2 GPUs"):
        watch.tell(Event("", "waiting", "node-a", 1, lack=lack))
    assert said == ["waiting: needs 1 GPU", "waiting: needs 1 GPU", "waiting: needs 2 GPUs"]


def test_a_unit_that_is_silent_for_long_is_told_once_until_it_speaks() -> None:
    """One that came back, or ended, or speaks after it came back, is not."""
    now, said = [0.0], list[str]()
    watch = Watch(str, said.append, clock=lambda: now[0])
    waiting = Event("", "waiting", "node-a", 1)
    line = "train: adapter: no sign of life for 20 min from process 7 on node node-a"
    for unit in (TRAINING, SCORING, REFERENCE):
        watch.submitted(unit)
        watch.tell(event(unit.key, "begun", 7))
    watch.tell(event(SCORING.key, "ended", 7))
    watch.done(Done(REFERENCE))
    watch.tell(event(REFERENCE.key, "step", 7))

    for seconds, n_lines in ((LONGEST_SILENCE - 1, 0), (LONGEST_SILENCE, 1), (2 * LONGEST_SILENCE, 1)):
        now[0] = seconds
        watch.tell(waiting)
        assert said == [line] * n_lines
    watch.tell(event(TRAINING.key, "step", 7))
    now[0] += LONGEST_SILENCE
    watch.tell(waiting)
    assert said == [line, line]
