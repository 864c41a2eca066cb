"""Standard output and standard error: what is printed reaches every terminal, pipe and file, and steers none."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from reports.errors import UserError
from reports.plain_text import for_encoding, visible

ENCODING_ERRORS = "ascii_form"
"""Name of the error handler that writes what an encoding lacks in ASCII."""
codecs.register_error(ENCODING_ERRORS, for_encoding)


class StreamError(UserError):
    """Standard output cannot be written."""


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Turns errors of writing into one line, but for a pipe whose reader left, at which click ends without a word."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StreamError(f"standard output cannot be written: {error.strerror or error}") from error


class StreamAbove(io.TextIOBase):
    """A text stream on top of another one."""

    def __init__(self, underlying: TextIO) -> None:
        self._underlying = underlying

    def write(self, text: str) -> int:
        """Writes to the stream below; returns the number of characters given."""
        self._underlying.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes the stream below."""
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


class LastingStream(StreamAbove):
    """A stream that drops what nobody can read any more, because its terminal is closed or its disk is full."""

    def write(self, text: str) -> int:
        """Writes to the stream below if that is possible; returns the number of characters given."""
        with suppress(OSError):
            self._underlying.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes the stream below if that is possible."""
        with suppress(OSError):
            self._underlying.flush()


class PlainStream(StreamAbove):
    """A stream that shows control characters instead of passing them on.

    It has no `buffer`: click would write past it where the encoding is ASCII.
    """

    def __init__(self, underlying: TextIO) -> None:
        """Takes the stream below."""
        super().__init__(underlying)
        self.rich_proxied_file = underlying  # rich writes its bars there; `Terminal` cleans the texts in them

    def write(self, text: str) -> int:
        """Writes the text with its control characters escaped; returns the number of characters given.

        Raises:
            StreamError: The stream cannot be written, for another reason than a reader that left.
        """
        with _told_in_one_line():
            self._underlying.write(visible(text))
        return len(text)

    def flush(self) -> None:
        """Flushes the stream below.

        Raises:
            StreamError: As `write`.
        """
        with _told_in_one_line():
            self._underlying.flush()


@contextmanager
def plain_streams() -> Iterator[None]:
    """Lets both streams take every text within the block: none fails for its encoding, none steers the terminal."""
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODING_ERRORS)
            below = cast(TextIO, stream if name == "stdout" else LastingStream(stream))
            setattr(sys, name, PlainStream(below))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            if stream is not None:  # closed from the start
                _flush_or_drop(stream)


def _flush_or_drop(stream: TextIO) -> None:
    """Writes what a stream still holds, or drops it: Python ends with code 120 where its own last flush fails."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextmanager
def steering_streams() -> Iterator[None]:
    """Lets what is printed within the block steer the terminal: for another program's own command line and bars."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (getattr(stream, "rich_proxied_file", stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
