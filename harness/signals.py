"""Signals of schedulers and closed terminals, which end a command like Ctrl-C: a line, and nothing half-written."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")
"""What batch systems and `kill` send, what a closed terminal sends, and Ctrl-Break of Windows."""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Lets these signals raise KeyboardInterrupt within the block.

    A signal that is ignored already, as SIGHUP under nohup, stays ignored.
    """
    there = [number for name in _NAMES if (number := getattr(signal, name, None)) is not None]
    taken = [each for each in there if signal.getsignal(each) is signal.SIG_DFL]
    if current_thread() is not main_thread():
        taken = []  # Python lets the main thread alone set handlers
    for each in taken:
        signal.signal(each, _interrupt)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
