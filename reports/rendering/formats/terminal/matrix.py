"""Several candidates on the terminal: a line a metric for a few of them, a line a candidate for more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reports.rendering.content.differences import Matrix, MatrixCell
from reports.rendering.content.display import ARROWS, outcome_mark, plain
from reports.rendering.content.footnotes import Footnotes
from reports.rendering.content.names import short_names
from reports.rendering.formats.terminal.screen import (
    Screen,
    longest_word,
    noted,
    outcome_style,
    superscript,
    width_of,
)

MOST_SIDE_BY_SIDE = 4
"""Most candidates whose differences stand beside each other on a metric's line."""
_NARROWEST_METRIC = 20
_NARROWEST_NAME = 16
_WIDEST_NAME = 30
_MOST_LINES_OF_A_NAME = 5
_CHOSEN = "\u2605"


@dataclass(frozen=True, slots=True)
class _Column:
    heading: Text
    cells: tuple[Text, ...]
    width: int


def matrix_blocks(matrix: Matrix, footnotes: Footnotes, screen: Screen) -> list[RenderableType]:
    """Return the differences of all candidates, in as few lines as the screen allows."""
    names = _candidate_names(matrix)
    for notes in _notes_as_they_are_read(matrix):
        footnotes.numbers(notes)
    if len(matrix.rows) <= MOST_SIDE_BY_SIDE:
        grid = _line_a_metric(matrix, names, footnotes, screen)
        if grid is not None:
            return [grid]
    return _line_a_candidate(matrix, names, footnotes, screen)


def _notes_as_they_are_read(matrix: Matrix) -> Iterator[tuple[str, ...]]:
    """Yield the footnotes of the metrics, then of each candidate and its cells, so that they are numbered in order."""
    yield from matrix.metric_notes
    for row in matrix.rows:
        yield row.notes
        yield from (cell.notes for cell in row.cells)


def _candidate_names(matrix: Matrix) -> list[str]:
    """Return the names of the candidates: settings by what differs, with seeds, and what is chosen or a base model."""
    short = short_names([row.subject for row in matrix.rows])
    return [
        short[row.subject]
        + (f", {row.n_seeds} seeds" if row.n_seeds > 1 else "")
        + (" (base model)" if row.is_base else "")
        + (f" {_CHOSEN}" if row.is_chosen else "")
        for row in matrix.rows
    ]


def _line_a_metric(matrix: Matrix, names: Sequence[str], footnotes: Footnotes, screen: Screen) -> Table | None:
    """Return a line a metric with a column a candidate, or None if the screen is too narrow for them."""
    candidates = []
    for name, row in zip(names, matrix.rows, strict=True):
        cells = _cells(row.cells, footnotes)
        heading = noted(name, row.notes, footnotes)
        candidates.append(_Column(heading, cells, max(width_of(cells), longest_word(name), min(cell_len(name), 12))))
    width = width_of(["baseline", *matrix.baseline_values])
    rest = screen.columns - width - 2 - sum(column.width + 2 for column in candidates)
    if rest < _NARROWEST_METRIC:
        return None
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="")
    metrics = [
        noted(f"{name} {ARROWS[is_better]}", notes, footnotes)
        for name, is_better, notes in zip(matrix.metrics, matrix.higher_is_better, matrix.metric_notes, strict=True)
    ]
    grid.add_column("", width=min(rest, width_of(metrics)))
    grid.add_column("baseline", justify="right", width=width)
    for column in candidates:
        grid.add_column(column.heading, justify="right", width=column.width)
    for place, metric in enumerate(metrics):
        grid.add_row(metric, matrix.baseline_values[place], *(column.cells[place] for column in candidates))
    return grid


def _line_a_candidate(
    matrix: Matrix, names: Sequence[str], footnotes: Footnotes, screen: Screen
) -> list[RenderableType]:
    """Return a line a candidate with a column a metric, which has a letter if its name takes too many lines."""
    metrics = [
        noted(f"{name}{f', {unit}' if unit else ''} {ARROWS[is_better]}", notes, footnotes)
        for name, unit, is_better, notes in zip(
            matrix.metrics, matrix.units, matrix.higher_is_better, matrix.metric_notes, strict=True
        )
    ]
    cells = [
        _cells([row.cells[place] for row in matrix.rows], footnotes, without=unit)
        for place, unit in enumerate(matrix.units)
    ]
    candidates = [noted(name, row.notes, footnotes) for name, row in zip(names, matrix.rows, strict=True)]
    widest = min(width_of(candidates), _WIDEST_NAME)
    named = _named_columns(metrics, cells, matrix.baseline_values, screen.columns - widest)
    if named is not None:
        return [_candidate_grid(["baseline", *candidates], named, screen)]
    letters = [ascii_lowercase[place % 26] * (1 + place // 26) for place in range(len(metrics))]
    key = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for letter, metric, value in zip(letters, metrics, matrix.baseline_values, strict=True):
        key.add_row(letter, metric, Text(f"baseline {value}"))
    columns = [
        _Column(Text(letter), column, max(width_of(column), len(letter)))
        for letter, column in zip(letters, cells, strict=True)
    ]
    blocks = list(_blocks(columns, screen.columns - min(max(widest, 8), _NARROWEST_NAME)))
    return [key, *(_candidate_grid(candidates, block, screen) for block in blocks)]


def _named_columns(
    metrics: Sequence[Text], cells: Sequence[tuple[Text, ...]], values: Sequence[str], width: int
) -> list[_Column] | None:
    """Return columns with the metrics' names above them, or None if these are too long for the width."""
    narrowest = [
        max(width_of([value, *column]), longest_word(metric.plain))
        for metric, column, value in zip(metrics, cells, values, strict=True)
    ]
    spare = (width - sum(each + 2 for each in narrowest)) // max(len(narrowest), 1)
    if spare < 0:
        return None
    widths = [min(each + spare, max(each, metric.cell_len)) for each, metric in zip(narrowest, metrics, strict=True)]
    if any(metric.cell_len > 0.8 * _MOST_LINES_OF_A_NAME * each for metric, each in zip(metrics, widths, strict=True)):
        return None
    return [
        _Column(metric, (Text(value), *column), each)
        for metric, column, value, each in zip(metrics, cells, values, widths, strict=True)
    ]


def _blocks(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """Yield the columns in blocks that fit the width."""
    block: list[_Column] = []
    for column in columns:
        if block and sum(each.width + 1 for each in (*block, column)) > width:
            yield block
            block = []
        block.append(column)
    if block:
        yield block


def _candidate_grid(names: Sequence[Text | str], columns: Sequence[_Column], screen: Screen) -> Table:
    """Return a line a candidate."""
    gap = 2 if sum(column.width + 2 for column in columns) + width_of(names) <= screen.columns else 1
    rest = screen.columns - sum(column.width + gap for column in columns)
    grid = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="")
    grid.add_column("", width=min(max(rest, _NARROWEST_NAME), width_of(names)))
    for column in columns:
        grid.add_column(column.heading, justify="right", width=column.width)
    for place, name in enumerate(names):
        grid.add_row(name, *(column.cells[place] for column in columns))
    return grid


def _cells(cells: Sequence[MatrixCell], footnotes: Footnotes, *, without: str = "") -> tuple[Text, ...]:
    """Return differences with their marks and footnotes, marks below each other; without a unit that a heading has."""
    notes = [superscript(footnotes.numbers(cell.notes)) for cell in cells]
    room = max(map(len, notes), default=0)
    return tuple(_cell(cell, note.ljust(room), without) for cell, note in zip(cells, notes, strict=True))


def _cell(cell: MatrixCell, note: str, without: str) -> Text:
    text = "" if cell.outcome == "not measured" else plain(cell.text)
    if without:
        text = text.removesuffix(f" {without}")
    elif text:
        text += " "
    shown = Text(text + outcome_mark(cell.comparison, cell.outcome), outcome_style(cell.comparison))
    return shown.append(note, "not bold")
