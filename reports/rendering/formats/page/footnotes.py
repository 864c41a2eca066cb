"""Footnotes of one part of the page: numbered in order of first use, and printed once."""

from collections.abc import Iterable
from html import escape

from reports.rendering.content.footnotes import Footnotes as NumberedFootnotes


class Footnotes(NumberedFootnotes):
    """The footnotes of a part as HTML.

    Marks are no links: with one in every cell, the keyboard would have to go through all of them.
    """

    def marks(self, notes: Iterable[str]) -> str:
        """Return the numbers of notes, raised."""
        numbers = ", ".join(map(str, self.numbers(notes)))
        return f'<sup class="marks"><span class="unseen">note </span>{numbers}</sup>' if numbers else ""

    def texts(self) -> str:
        """Return the notes that were used as a numbered list, empty without any."""
        items = [f'<li dir="auto">{escape(note)}</li>' for _, note in self.used]
        return f'<ol class="footnotes">{"".join(items)}</ol>' if items else ""
