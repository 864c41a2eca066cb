"""What a section of a report is made of, before any format: paragraphs, lists, tables, quotes, folded parts.

Texts are data: plain, unescaped, on one line unless a block says otherwise. Each format renders the same blocks in its
own way, and escapes them.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Strong:
    """Words that are set in bold."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A name, command or path that is set as code."""

    text: str


@dataclass(frozen=True, slots=True)
class Small:
    """Words that are set in smaller type on a line of their own, below those before them."""

    text: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Words with footnotes, which a format numbers in order of first use and prints once below the section."""

    words: str | Strong
    notes: tuple[str, ...]


Word = str | Strong | Code | Small | Noted
Words = Word | tuple[Word, ...]
"""The content of a cell, an item or a paragraph."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One paragraph."""

    words: Words


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list without an order."""

    items: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with one line of headings."""

    header: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    alignment: str
    """A letter a column: l, r or c."""
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """A text of an example or an answer, with its line breaks; a format may cut it and say so."""

    text: str


@dataclass(frozen=True, slots=True)
class Subheading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that are shown after a click on the summary."""

    summary: str
    blocks: "tuple[Block, ...]"


Block = Paragraph | Bullets | Table | Quote | Subheading | Folded


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a report; one without blocks is left out."""

    name: str
    """Stable name, such as "training": the anchor on the page, and where the page adds its pictures."""
    title: str
    blocks: tuple[Block, ...] = field(default=())
    summary: str = ""
    """What it holds, in a few words; a section with a summary is shown folded."""


def words_of(words: Words) -> tuple[Word, ...]:
    """Return the words one by one, whether they are one or several."""
    return words if isinstance(words, tuple) else (words,)
