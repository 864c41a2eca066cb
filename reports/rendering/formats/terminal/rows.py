"""Rows of differences on the terminal: beside each other where it is wide, below their names where it is narrow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reports.comparing.compare import Comparison
from reports.rendering.content.display import NOTHING, Cells, plain
from reports.rendering.formats.terminal.screen import Screen, outcome_style, outcome_text, width_of

_SIDE_BY_SIDE = 76
"""Columns from which a row's numbers stand beside its name."""
_WITH_WORDS = 100
"""Columns from which an outcome has a word beside its mark."""
_WITH_DETAILS = 140
"""Columns from which a column says what was measured on."""
_WIDEST_DETAIL = 34
_NARROWEST_NAME = 16


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table."""

    name: Text
    row: Comparison
    cells: Cells
    detail: str = ""
    remark: str = ""
    """What is said of the row beside its name wherever there is no column for details."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows below a title."""

    title: str
    lines: tuple[Line, ...]


def shows_words(screen: Screen) -> bool:
    """Whether outcomes have words beside their marks."""
    return screen.columns >= _WITH_WORDS


def rows_table(parts: Sequence[Part], screen: Screen) -> list[RenderableType]:
    """Return parts of rows below one heading, with their columns below each other."""
    if screen.columns < _SIDE_BY_SIDE:
        return [block for part in parts for block in (Text(part.title, "bold"), *map(_stacked, part.lines))]
    lines = [line for part in parts for line in part.lines]
    columns = _columns(lines, screen)
    widest_name = width_of(_named(line, screen) for line in lines)
    blocks: list[RenderableType] = [_grid(columns, (), screen, widest_name)]
    for part in parts:
        blocks += [Text(part.title, "bold")] if part.title else []
        blocks.append(_grid(columns, part.lines, screen, widest_name))
    return blocks


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    content: Callable[[Line], Text]
    justify: Literal["left", "right"]
    width: int


def _columns(lines: Sequence[Line], screen: Screen) -> list[_Column]:
    """Return the columns of numbers behind the names: the wider the screen, the more."""
    numbers: list[tuple[str, Callable[[Line], Text], Literal["left", "right"]]] = [
        ("baseline", lambda line: Text(line.cells.baseline), "right"),
        ("candidate", lambda line: Text(line.cells.candidate), "right"),
        ("difference", _difference, "right"),
        ("95 % interval", lambda line: Text(line.cells.interval), "right"),
    ]
    if shows_words(screen):
        numbers.append(("outcome", lambda line: outcome_text(line.row, word=True), "left"))
    else:
        numbers.insert(2, ("", lambda line: outcome_text(line.row, word=False), "left"))
    columns = [
        _Column(title, content, justify, width_of([title, *map(content, lines)])) for title, content, justify in numbers
    ]
    if screen.columns >= _WITH_DETAILS:
        columns.append(_Column("measured on", lambda line: Text(plain(line.detail)), "left", _WIDEST_DETAIL))
    return columns


def _grid(columns: Sequence[_Column], lines: Sequence[Line], screen: Screen, widest_name: int) -> Table:
    """Return lines as a table without rules; without lines, the heading."""
    gap = 2 if shows_words(screen) else 1
    rest = screen.columns - sum(column.width + gap for column in columns)
    grid = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, show_header=not lines, header_style="")
    grid.add_column("", width=max(min(rest, widest_name), _NARROWEST_NAME))
    for column in columns:
        grid.add_column(column.title, justify=column.justify, width=column.width, no_wrap=column.title != "measured on")
    for line in lines:
        grid.add_row(_named(line, screen), *(column.content(line) for column in columns))
    return grid


def _named(line: Line, screen: Screen) -> Text:
    """Return a name, with its remark where no column has it."""
    return _with_remark(line.name, "" if screen.columns >= _WITH_DETAILS else line.remark)


def _with_remark(name: Text, remark: str) -> Text:
    return name + Text(f" ({plain(remark)})", "dim") if remark else name


def _difference(line: Line) -> Text:
    return Text(line.cells.difference, outcome_style(line.row))


def _stacked(line: Line) -> RenderableType:
    """Return a name with its numbers below it."""
    shown = line.cells
    numbers = Text(f"{shown.baseline} \u2192 {shown.candidate}  ")
    numbers.append_text(outcome_text(line.row, word=False)).append(" ").append_text(_difference(line))
    if shown.interval != NOTHING:
        numbers.append(f"  {shown.interval}")
    return Group(_with_remark(line.name, line.remark), Padding(numbers, (0, 0, 0, 2)))
