"""Where standard error is no terminal a stage is told in plain lines, often enough to see that it lives."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from harness.streams import LastingStream, PlainStream
from harness.terminal import SECONDS_BETWEEN_LINES, Terminal


class Clock:
    """A clock that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        """Its seconds."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """At 0."""
    return Clock()


@pytest.fixture
def log(clock: Clock) -> tuple[Terminal, Callable[[], list[str]]]:
    """A terminal that writes to a file, and its lines so far."""
    file = io.StringIO()
    terminal = Terminal(Console(file=file, soft_wrap=True), clock)
    return terminal, lambda: file.getvalue().splitlines()


def test_a_stage_says_what_it_is_and_then_how_far(log: Any, clock: Clock) -> None:
    """One line at the start, one every 30 seconds however often progress is told, with the time that is left."""
    terminal, lines = log
    with terminal.progress("preferences: baseline", 1000) as done:
        for n_done in range(0, 700, 10):
            done(n_done)
            clock.seconds += 1

    assert lines() == [
        "preferences: baseline (1,000)",
        "preferences: baseline: 300/1,000, about 70 s left",
        "preferences: baseline: 600/1,000, about 40 s left",
    ]


def test_a_stage_that_is_over_soon_is_one_line(log: Any, clock: Clock) -> None:
    """Nothing more is said of what takes less than the interval."""
    terminal, lines = log
    with terminal.waiting("loading the model"):
        pass
    with terminal.progress("answers: baseline", 24) as done:
        clock.seconds += SECONDS_BETWEEN_LINES - 1
        done(24)

    assert lines() == ["loading the model", "answers: baseline (24)"]


def test_a_total_may_be_told_late(log: Any, clock: Clock) -> None:
    """lm-eval's tasks know their number of requests only when they ask; a second task begins from 0 again."""
    terminal, lines = log
    with terminal.progress("lm_eval: baseline", None) as done:
        for _task in range(2):
            for n_done in (0, 50):
                done(n_done, 100)
                clock.seconds += 31

    assert lines() == [
        "lm_eval: baseline",
        "lm_eval: baseline: 50/100, about 31 s left",
        "lm_eval: baseline: 0/100",
        "lm_eval: baseline: 50/100, about 31 s left",
    ]


def test_training_tells_its_numbers(log: Any, clock: Clock) -> None:
    """How many rows are scored, by whom, then steps with loss, accuracy and memory."""
    terminal, lines = log
    with terminal.training("adapter") as told:
        clock.seconds += 31
        told(0, 1000, {"kind": "reference", "n_scored": 8, "n_requests": 2_000})
        clock.seconds += 31
        told(0, 1000, {"kind": "scoring", "n_scored": 40, "n_requests": 112})
        clock.seconds += 31
        told(10, 1000, {"kind": "train", "loss": 0.5, "rewards/accuracies": 0.75, "peak_memory_bytes": 2**30})

    assert lines() == [
        "training adapter",
        "training adapter: 0/1,000, scoring rows by the reference 8/2,000",
        "training adapter: 0/1,000, scoring selection rows 40/112",
        "training adapter: 10/1,000, about 51 min left, loss 0.500, reward accuracy 0.750, 1.0 GiB",
    ]


def test_steps_of_an_earlier_process_take_no_time_of_this_one(log: Any, clock: Clock) -> None:
    """A training that goes on from step 900 knows the time that is left from its own steps alone."""
    terminal, lines = log
    with terminal.training("adapter") as told:
        for step in (900, 910):
            clock.seconds += 31
            told(step, 1000, {"kind": "train", "loss": 0.5})

    assert lines()[1:] == [
        "training adapter: 900/1,000, loss 0.500",
        "training adapter: 910/1,000, about 5 min left, loss 0.500",
    ]


class Screen(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return True


def test_on_a_terminal_there_are_bars_and_no_lines(clock: Clock) -> None:
    """A bar that goes away again, whatever is told; a name in square brackets is shown as it is."""
    file = Screen()
    terminal = Terminal(Console(file=file, force_terminal=True, width=100), clock)
    with terminal.training("adapter") as told:
        told(1, 2, {"kind": "train", "loss": 0.5})
    with terminal.progress("answers [/x]", 2) as done:
        done(1)
        done(2, 4)

    assert "training adapter" in file.getvalue()
    assert "training adapter: " not in file.getvalue()
    assert "answers [/x]" in file.getvalue()


def test_colours_that_are_forced_make_no_terminal_of_a_file(clock: Clock) -> None:
    """CI sets FORCE_COLOR; a log still gets plain lines."""
    file = io.StringIO()
    with Terminal(Console(file=file, force_terminal=True), clock).progress("answers", 2):
        pass

    assert file.getvalue() == "answers (2)\n"


class FullDisk(io.StringIO):
    """A file that nothing can be written to."""

    def write(self, _text: str) -> int:
        """Fails."""
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_end_the_job(clock: Clock) -> None:
    """Lines are lost, and the work goes on."""
    terminal = Terminal(Console(file=FullDisk()), clock)
    with terminal.progress("answers", 2) as done:
        clock.seconds += 31
        done(1)


def test_time_before_the_first_step_is_not_counted_as_steps(log: Any, clock: Clock) -> None:
    """Ten minutes of scoring selection rows before the first step do not make the steps look slow."""
    terminal, lines = log
    with terminal.training("adapter") as told:
        for n_scored in (0, 100):
            told(0, 100, {"kind": "scoring", "n_scored": n_scored, "n_requests": 100})
            clock.seconds += 600
        clock.seconds -= 600
        for step in (1, 11, 100):
            clock.seconds += 31
            told(step, 100, {"kind": "train", "loss": 0.5})

    assert lines()[2:] == [
        "training adapter: 1/100, about 51 min left, loss 0.500",
        "training adapter: 11/100, about 8 min left, loss 0.500",
        "training adapter: 100/100, loss 0.500",
    ]


class _Tty(io.StringIO):
    """A terminal, or one that was closed."""

    is_closed = False

    def isatty(self) -> bool:
        """Always true."""
        return True

    def write(self, text: str) -> int:
        """Fails as a closed terminal does."""
        if self.is_closed:
            raise OSError(5, "Input/output error")
        return super().write(text)


def _on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> _Tty:
    """Makes standard error what `plain_streams` leaves on a terminal."""
    tty = _Tty()
    monkeypatch.setattr(sys, "stderr", PlainStream(LastingStream(tty)))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tty


def test_bars_steer_a_terminal_and_texts_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar moves the cursor by the terminal's own sequences, and those in a description are shown."""
    tty = _on_a_terminal(monkeypatch)
    terminal = Terminal()
    with terminal.waiting("loading \x1b]0;title\x07"):
        pass
    with terminal.progress("pairs", 10) as done:
        done(3)
        terminal.say("a line \x1b[2J")
    shown = tty.getvalue()
    assert r"loading \x1b]0;title\x07" in shown
    assert r"a line \x1b[2J" in shown
    assert "\x1b[2K" in shown
    assert r"\x1b[2K" not in shown
    assert "\x1b[2J" not in shown
    assert "\x1b]0;" not in shown


def test_a_terminal_that_closes_costs_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that goes on without its terminal, behind `disown`, loses its bars alone."""
    tty = _on_a_terminal(monkeypatch)
    terminal = Terminal()
    n_done = 0
    with terminal.progress("pairs", 10) as done:
        tty.is_closed = True
        for n_done in range(10):
            done(n_done)
        terminal.say("a line")
    with terminal.waiting("writing"):
        pass
    assert n_done == 9


def test_a_changing_line_is_said_now_and_then_and_at_the_end(log: Any, clock: Clock) -> None:
    """What was said last is not said twice."""
    terminal, lines = log
    with terminal.changing() as show:
        show("units 0/3")
        show("units 1/3")
        clock.seconds = SECONDS_BETWEEN_LINES
        show("units 2/3")
        show("units 3/3")
    with terminal.changing() as show:
        show("units 0/1")

    assert lines() == ["units 0/3", "units 2/3", "units 3/3", "units 0/1"]
