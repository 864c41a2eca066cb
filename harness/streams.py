"""Standard output and standard error: what is printed reaches every terminal, pipe and file, and steers none."""

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from reports.plain_text import for_encoding, visible

ENCODING_ERRORS = "ascii_form"
"""Name of the error handler that writes what an encoding lacks in ASCII."""
codecs.register_error(ENCODING_ERRORS, for_encoding)


class PlainStream(io.TextIOBase):
    """A text stream that shows control characters instead of passing them on.

    It has no `buffer`: click would write past it where the encoding is ASCII.
    """

    def __init__(self, underlying: TextIO, *, may_be_gone: bool) -> None:
        """Takes the stream below.

        Args:
            underlying: The stream below.
            may_be_gone: Whether a line that nobody can read any more (a closed terminal, a full disk) is dropped.
        """
        self.rich_proxied_file = underlying  # rich writes its bars there; `Terminal` cleans the texts in them
        self._underlying = underlying
        self._dropped: tuple[type[OSError], ...] = (OSError,) if may_be_gone else ()

    def write(self, text: str) -> int:
        """Writes the text with its control characters escaped; returns the number of characters given."""
        with suppress(*self._dropped):
            self._underlying.write(visible(text))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream below."""
        with suppress(*self._dropped):
            self._underlying.flush()

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return self._underlying.isatty()

    def fileno(self) -> int:
        """The file descriptor of the stream below."""
        return self._underlying.fileno()

    def writable(self) -> bool:
        """Always true."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return self._underlying.encoding


@contextmanager
def plain_streams() -> Iterator[None]:
    """Lets both streams take every text within the block: none fails for its encoding, none steers the terminal."""
    before = sys.stdout, sys.stderr
    for name, may_be_gone in (("stdout", False), ("stderr", True)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODING_ERRORS)
            setattr(sys, name, PlainStream(stream, may_be_gone=may_be_gone))
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        sys.stdout, sys.stderr = before


@contextmanager
def steering_streams() -> Iterator[None]:
    """Lets what is printed within the block steer the terminal: for another program's own command line and bars."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (getattr(stream, "rich_proxied_file", stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
