"""Footnotes of one part of the page: numbered in order of first use, and printed once."""

from collections.abc import Iterable
from html import escape


class Footnotes:
    """The footnotes of a part, in order of first use.

    Marks are no links: with one in every cell, the keyboard would have to go through all of them.
    """

    def __init__(self) -> None:
        """Start without footnotes."""
        self._numbers: dict[str, int] = {}

    def marks(self, notes: Iterable[str]) -> str:
        """Return the numbers of notes, raised."""
        numbers = [str(self._numbers.setdefault(note, len(self._numbers) + 1)) for note in notes]
        return f'<sup class="marks"><span class="unseen">note </span>{", ".join(numbers)}</sup>' if numbers else ""

    def texts(self) -> str:
        """Return the notes that were used as a numbered list, empty without any."""
        items = [f'<li dir="auto">{escape(note)}</li>' for note in self._numbers]
        return f'<ol class="footnotes">{"".join(items)}</ol>' if items else ""
