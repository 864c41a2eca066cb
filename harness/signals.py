"""Signals that ask a command to stop, of keyboards, schedulers and closed terminals: a line, nothing half-written."""

import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import current_thread, main_thread
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Ctrl-C, what batch systems and `kill` send, what a closed terminal sends, and Ctrl-Break of Windows."""
ONCE_SECONDS = 2.0
"""Time in which all signals count as one: a terminal sends them to a shell and its job, and the shell once more."""


@dataclass(slots=True)
class Stop:
    """What asked this process to stop, if anything did."""

    taken: Collection[signal.Signals] = ()
    """Signals that raise KeyboardInterrupt."""
    held: Collection[signal.Signals] = ()
    """Those among them that wait for `release`."""
    clock: Callable[[], float] = time.monotonic
    """Seconds since an arbitrary moment."""
    by: signal.Signals | None = None
    """The first signal that came."""
    _last: float = field(default=float("-inf"), repr=False)
    _raised: BaseException | None = field(default=None, repr=False)

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Raises KeyboardInterrupt, unless an earlier one is still on its way, so that all is cleared up behind it.

        One that a library swallows, in a callback or an import, is raised again.
        """
        now = self.clock()
        if now - self._last < ONCE_SECONDS or self._is_on_its_way():
            return
        if self.by is None:
            self.by = signal.Signals(number)
            self._remind(ONCE_SECONDS)
        self._last, self._raised = now, KeyboardInterrupt()
        raise self._raised

    def release(self) -> None:
        """Lets the signals come that were held back while the command line was imported."""
        if self.held:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.held)

    def ignore_more(self) -> None:
        """Ignores further signals until the process ends, which leaves already."""
        if self.by is not None:
            self._remind(0)
        for each in self.taken:
            signal.signal(each, signal.SIG_IGN)

    def _is_on_its_way(self) -> bool:
        """Whether the exception that was raised last is being handled now."""
        error = sys.exc_info()[1]
        while error is not None and error is not self._raised:
            error = error.__context__
        return error is not None

    def _remind(self, seconds: float) -> None:
        """Calls `interrupt` so often from now on; 0 is never again. Windows has no such timer."""
        if self.taken and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self.interrupt if seconds else signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, seconds, seconds)


def hold_signals() -> set[signal.Signals]:
    """Holds these signals back, for imports that would wrap what a handler raises; returns those that are held.

    Windows cannot.
    """
    if not hasattr(signal, "pthread_sigmask") or current_thread() is not main_thread():
        return set()
    numbers = set(_numbers())
    return numbers - set(signal.pthread_sigmask(signal.SIG_BLOCK, numbers))


@contextmanager
def signals_interrupt(held: Collection[signal.Signals] = ()) -> Iterator[Stop]:
    """Lets these signals raise KeyboardInterrupt within the block; yields whether one has come.

    A signal that is ignored already, as SIGHUP under nohup, stays ignored. Behind the block all is as before, unless
    one has come: then the process is about to end, and the rest are ignored.

    Args:
        held: Signals that `hold_signals` holds back until `Stop.release`.
    """
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {each: signal.getsignal(each) for each in _numbers()}
    is_main = current_thread() is main_thread()  # Python lets it alone set handlers
    taken = [each for each, handler in before.items() if handler in usual and is_main]
    stop = Stop(taken, held)
    for each in taken:
        signal.signal(each, stop.interrupt)
    try:
        yield stop
    finally:
        if stop.by is not None:
            stop.ignore_more()
        else:
            for each in taken:
                signal.signal(each, before[each])


def _numbers() -> list[signal.Signals]:
    return [number for name in _NAMES if (number := getattr(signal, name, None)) is not None]
