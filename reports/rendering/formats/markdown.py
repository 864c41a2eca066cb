"""A report as GitHub-flavoured Markdown, rendered from its sections."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape as escape_html
from itertools import groupby

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
from reports.rendering.content.display import plain
from reports.rendering.content.footnotes import Footnotes as NumberedFootnotes
from reports.rendering.content.published import ReportLayout
from reports.rendering.content.report import Report
from reports.rendering.content.sections.order import published_sections
from reports.rendering.formats.markdown_text import code, escape, escape_line, quote

PICTURES_AFTER = "differences"
"""Section that the pictures follow."""
FOLDED_TITLE = "Details"
"""Heading above the folded sections."""
WIDEST_PADDED, MOST_PADDED = 40, 40
"""Widest column and most rows of a table whose cells are padded to one width, for those who read the file itself."""
_RULES = {"l": ":--", "r": "--:", "c": ":-:"}


def markdown_report(report: Report, *, layout: ReportLayout = "differences", figures: Sequence[str] = ()) -> str:
    """Return the whole report: title, headline, table, pictures, and then everything else, folded.

    Args:
        report: What was measured, compared.
        layout: Paired differences, or cross-entropies alone.
        figures: Paths of pictures that are written beside the report, such as "figures/differences.svg".
    """
    found = published_sections(report.run) if layout == "published" else report.sections
    parts: list[str] = []
    for is_folded, group in groupby(found, key=lambda section: bool(section.summary)):
        if is_folded:
            parts.append(f"## {FOLDED_TITLE}")
        for section in group:
            parts.append(markdown_section(section, is_title=section is found[0]))
            if section.name == PICTURES_AFTER:
                parts += [f"![{escape(_title_of(path))}]({path})" for path in figures]
    return "\n\n".join(parts) + "\n"


class Footnotes(NumberedFootnotes):
    """The footnotes of a section as Markdown."""

    def marks(self, notes: Iterable[str]) -> str:
        """Return the numbers of the notes, raised."""
        return f"<sup>{', '.join(map(str, sorted(self.numbers(notes))))}</sup>"

    def lines(self) -> str:
        """Return the notes, each on a line behind its number."""
        lines = (f"<sup>{number}</sup> {escape(note[:1].upper() + note[1:])}" for number, note in self.used)
        return "  \n".join(lines)


def markdown_blocks(blocks: Sequence[Block]) -> str:
    """Return blocks as Markdown, and below them the footnotes that they use, each once."""
    footnotes = Footnotes()
    parts = [part for block in blocks for part in _block(block, footnotes)]
    return "\n\n".join(part for part in (*parts, footnotes.lines()) if part)


def markdown_section(section: Section, *, is_title: bool = False) -> str:
    """Return a section under its heading, or folded if it has a summary."""
    body = markdown_blocks(section.blocks)
    if not section.summary:
        return f"{'#' if is_title else '##'} {escape_line(section.title)}\n\n{body}"
    return _details(f"<b>{_html(section.title)}</b>: {_html(section.summary)}", body)


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _html(text: str) -> str:
    """Return the text for an HTML element, in which Markdown is not read; a forge calls nobody by it."""
    return escape_html(plain(text), quote=False).replace("@", "@<!-- -->")


def _block(block: Block, footnotes: Footnotes) -> Iterator[str]:
    match block:
        case Paragraph():
            yield _line(block.words, footnotes)
        case Bullets():
            yield "\n".join(f"- {_line(item, footnotes)}" for item in block.items)
        case Table():
            if block.caption:
                yield f"**{escape(block.caption)}**"
            yield _table(block, footnotes)
        case Quote():
            yield quote(block.text)
        case Subheading():
            yield f"**{escape(block.text)}**"
        case Folded():
            inner = "\n\n".join(part for each in block.blocks for part in _block(each, footnotes))
            yield _details(_html(block.summary), inner)


def _line(words: Words, footnotes: Footnotes) -> str:
    """Return words on a line of their own, which must not start a list or a heading."""
    first, *rest = words_of(words)
    opening = _spaced(first, escape_line(first)) if isinstance(first, str) else _word(first, footnotes)
    return opening + "".join(_word(word, footnotes) for word in rest)


def _cell(words: Words, footnotes: Footnotes) -> str:
    return "".join(_word(word, footnotes) for word in words_of(words))


def _word(word: Word, footnotes: Footnotes) -> str:
    match word:
        case Strong():
            return f"**{escape(word.text)}**" if plain(word.text) else ""
        case Code():
            return code(word.text)
        case Small():
            return f"<br><sub>{_html(word.text).replace('|', '&#124;')}</sub>"
        case Noted():
            return _word(word.words, footnotes) + footnotes.marks(word.notes)
        case str():
            return _spaced(word, escape(word))


def _spaced(text: str, escaped: str) -> str:
    """Return the escaped text with the spaces at the ends of the text, which part it from the words beside it."""
    if not escaped:
        return ""
    return " " * text.startswith(" ") + escaped + " " * text.endswith(" ")


def _table(table: Table, footnotes: Footnotes) -> str:
    """Return a pipe table; only narrow columns of short tables are padded."""
    cells = [[escape(name) for name in table.header]]
    cells += [[_cell(words, footnotes) for words in row] for row in table.rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    is_short = len(cells) <= MOST_PADDED
    padded = [width if is_short and width <= WIDEST_PADDED else 0 for width in widths]
    rules = [_rule(letter, width) for letter, width in zip(table.alignment, padded, strict=True)]
    lines = [cells[0], rules, *cells[1:]]
    return "\n".join(_table_line(line, table.alignment, padded) for line in lines)


def _table_line(cells: Sequence[str], alignment: str, widths: Sequence[int]) -> str:
    padded = (_pad(cell, letter, width) for cell, letter, width in zip(cells, alignment, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _rule(alignment: str, width: int) -> str:
    left, right = _RULES[alignment][0], _RULES[alignment][-1]
    return left + "-" * max(1, width - 2) + right


def _pad(cell: str, alignment: str, width: int) -> str:
    return cell.rjust(width) if alignment == "r" else cell.center(width) if alignment == "c" else cell.ljust(width)


def _title_of(path: str) -> str:
    """Return what a picture is called, from the name of its file."""
    words = path.rpartition("/")[2].partition(".")[0].replace("-", " ")
    return words[:1].upper() + words[1:]
