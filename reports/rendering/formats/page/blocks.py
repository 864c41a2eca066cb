"""Sections of a report as HTML; every text of theirs is data, and is escaped."""

from collections.abc import Sequence
from html import escape

from reports.rendering.content.blocks import (
    Block,
    Bullets,
    Code,
    Folded,
    Noted,
    Paragraph,
    Quote,
    Section,
    Small,
    Strong,
    Subheading,
    Table,
    Word,
    Words,
    words_of,
)
from reports.rendering.formats.page.footnotes import Footnotes

_ALIGNMENTS = {"l": "", "r": ' class="number"', "c": ' class="middle"'}


def sections_part(sections: Sequence[Section]) -> str:
    """Return sections that open with a click on their titles."""
    return "\n".join(map(_folded_section, sections))


def _folded_section(section: Section) -> str:
    name = escape(section.name)
    footnotes = Footnotes()
    body = blocks_html(section.blocks, footnotes, section.title)
    summary = f' <span class="note" dir="auto">{escape(section.summary)}</span>' if section.summary else ""
    return (
        f'<details class="section" id="{name}"><summary><h3>{escape(section.title)}</h3>{summary}</summary>\n'
        f"{body}{footnotes.texts()}</details>"
    )


def blocks_html(blocks: tuple[Block, ...], footnotes: Footnotes, title: str) -> str:
    """Return blocks in their order; `title` is what they are about, for tables without a caption of their own."""
    parts = []
    for block in blocks:
        if isinstance(block, Subheading):
            title = block.text
        parts.append(_block(block, footnotes, title))
    return "\n".join(parts)


def _block(block: Block, footnotes: Footnotes, title: str) -> str:
    match block:
        case Paragraph(words):
            return f'<p dir="auto">{words_html(words, footnotes)}</p>'
        case Bullets(items):
            lines = [f'<li dir="auto">{words_html(item, footnotes)}</li>' for item in items]
            return f"<ul>{''.join(lines)}</ul>"
        case Quote(text):
            return f'<blockquote dir="auto">{escape(text) or "<em>(empty)</em>"}</blockquote>'
        case Subheading(text):
            return f'<h4 dir="auto">{escape(text)}</h4>'
        case Folded(summary, blocks):
            inner = blocks_html(blocks, footnotes, summary)
            return f'<details><summary dir="auto">{escape(summary)}</summary>{inner}</details>'
        case Table():
            return _table(block, footnotes, title)


def words_html(words: Words, footnotes: Footnotes) -> str:
    """Return the content of a cell, an item or a paragraph."""
    return "".join(_word(word, footnotes) for word in words_of(words))


def _word(word: Word, footnotes: Footnotes) -> str:
    match word:
        case Strong(text):
            return f"<strong><bdi>{escape(text)}</bdi></strong>"
        case Code(text):
            return f"<code><bdi>{escape(text)}</bdi></code>"
        case Small(text):
            return f"<small><bdi>{escape(text)}</bdi></small>"
        case Noted(inner, notes):
            return _word(inner, footnotes) + footnotes.marks(notes)
        case str():
            return escape(word)


def _table(table: Table, footnotes: Footnotes, title: str) -> str:
    """Return a table within a box of its own, which scrolls by keyboard where the table is wider than the page."""
    classes = [_ALIGNMENTS[letter] for letter in table.alignment]
    heads = [
        f'<th scope="col" dir="auto"{kind}>{escape(text)}</th>' if text else f"<td{kind}></td>"
        for text, kind in zip(table.header, classes, strict=True)
    ]
    rows = [
        "<tr>"
        + "".join(
            f'<td dir="auto"{kind}>{words_html(words, footnotes)}</td>'
            for words, kind in zip(row, classes, strict=True)
        )
        + "</tr>"
        for row in table.rows
    ]
    caption = f'<caption dir="auto">{escape(table.caption)}</caption>' if table.caption else ""
    label = escape(table.caption or title)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{label}"><table>{caption}'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
