"""What a reader sees of the blocks of a section: plain text, cells of tables, footnotes."""

from collections.abc import Iterator

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
    Words,
    words_of,
)


def text_of(words: Words) -> str:
    """Return words as plain text, small ones in brackets."""
    found = []
    for word in words_of(words):
        match word:
            case Strong(text) | Code(text):
                found.append(text)
            case Small(text):
                found.append(f" ({text})")
            case Noted():
                found.append(text_of(word.words))
            case str():
                found.append(word)
    return "".join(found)


def notes_in(words: Words) -> list[str]:
    """Return the footnotes of words."""
    return [note for word in words_of(words) if isinstance(word, Noted) for note in word.notes]


def tables_of(section: Section) -> list[list[list[str]]]:
    """Return the tables of a section, folded ones too, as rows of cells; the first row has the headings."""
    tables = [block for block in flat(section.blocks) if isinstance(block, Table)]
    return [[list(table.header), *([text_of(cell) for cell in row] for row in table.rows)] for table in tables]


def lines_of(section: Section) -> list[str]:
    """Return paragraphs, items, headings and quotes of a section, folded ones too."""
    lines: list[str] = []
    for block in flat(section.blocks):
        match block:
            case Paragraph(words):
                lines.append(text_of(words))
            case Bullets(items):
                lines += [text_of(item) for item in items]
            case Subheading(text) | Quote(text):
                lines.append(text)
    return lines


def flat(blocks: tuple[Block, ...]) -> Iterator[Block]:
    """Yield blocks, and those within folded ones."""
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from flat(block.blocks)
