"""Regular expressions from outside, with a bound on their time: nested repeats can take longer than anybody waits."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class PatternTimeError(ValueError):
    """A regular expression takes too long."""


@contextmanager
def patterns_in_time(what: str, seconds: float) -> Iterator[None]:
    """Ends the block if it goes on for too long, also within a regular expression, which looks for signals.

    Only the main thread gets signals; in others, and where a timer runs already, there is no bound.

    Args:
        what: What a message begins with.
        seconds: How long the block may go on.

    Raises:
        PatternTimeError: The block went on for too long.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise PatternTimeError(f"{what} takes more than {seconds:g} s; look for repeats within repeats in it")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
