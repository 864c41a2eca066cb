"""Keep Ray's own paragraphs off standard error: what they tell of, the status line tells in a line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, get_ident
from typing import TextIO, cast

from harness.streams import StreamAbove

_OF_RAY = re.compile(r"(\x1b\[[0-9;]*m)*\((raylet|autoscaler|gcs_server)\b")
"""How a text begins that Ray prints by itself: a worker or a node died, and then up to forty lines of a log."""
_THREADS = "ray_"
"""How the names of Ray's threads begin, which print nothing else."""


class WithoutRay(StreamAbove):
    """A stream that drops what Ray prints by itself, and passes on all else."""

    def __init__(self, underlying: TextIO) -> None:
        """Takes the stream below."""
        super().__init__(underlying)
        self.rich_proxied_file = getattr(underlying, "rich_proxied_file", underlying)
        self._dropped: set[int] = set()
        """Threads whose last text was dropped, so that its line break is still to come."""

    def write(self, text: str) -> int:
        """Writes to the stream below, unless Ray prints it; returns the number of characters given."""
        thread = get_ident()
        is_rest = text == "\n" and thread in self._dropped
        self._dropped.discard(thread)
        if is_rest:
            return len(text)
        if _OF_RAY.match(text) or current_thread().name.startswith(_THREADS):
            self._dropped.add(thread)
            return len(text)
        return super().write(text)


@contextmanager
def silent_ray() -> Iterator[None]:
    """Keeps what Ray prints by itself off both streams within the block; its logs have it."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, WithoutRay(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
