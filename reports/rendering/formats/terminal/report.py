"""The text of a run for the terminal: what the first screen holds, and before it everything else if it is asked for."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reports.rendering.content.differences import NO_CANDIDATE, DifferenceRow, DifferenceTable, Matrix
from reports.rendering.content.display import OUTCOME_MARKS, plain
from reports.rendering.content.footnotes import Footnotes
from reports.rendering.content.headline import Headline, HeadlineKind
from reports.rendering.content.legend import DIRECTIONS
from reports.rendering.content.report import Report
from reports.rendering.content.title import NOT_COMPLETE
from reports.rendering.formats.terminal.everything import everything_else
from reports.rendering.formats.terminal.matrix import matrix_blocks
from reports.rendering.formats.terminal.rows import Line, Part, rows_table, shows_words
from reports.rendering.formats.terminal.screen import (
    Screen,
    footnote_lines,
    legend,
    noted,
    rendered,
)

_MARKS: dict[HeadlineKind, str] = {
    "gained": OUTCOME_MARKS["better"],
    "lost": OUTCOME_MARKS["worse"],
    "no change seen": OUTCOME_MARKS["no change seen"],
    "cannot tell": OUTCOME_MARKS["cannot tell"],
    "believe it?": " ",
}
_BELOW = " below"
"""End of the headline's last line, which says where the other limits are: on the terminal, not below."""


def terminal_report(report: Report, screen: Screen, *, verbose: bool = False) -> str:
    """Return headline and first table, wrapped to the screen; if verbose, before them all other rows and limits.

    Args:
        report: What was measured, compared.
        screen: What the reader's terminal can show.
        verbose: Whether to print everything.
    """
    run, table, found = report.run, report.table, report.headline
    blocks: list[RenderableType] = []
    if verbose and found is not None:
        blocks += everything_else(run, report.comparisons, found, screen, has_matrix=isinstance(table, Matrix))
    blocks += [Text(plain(run.headline)), Text("")] if run.headline else []
    missing = (NOT_COMPLETE, *run.not_measured, "") if run.not_measured else ()
    blocks += [Text(plain(line)) for line in missing]
    if found is not None:
        blocks += [*_headline(found, verbose=verbose), Text("")]
    if table is None:
        return rendered([*blocks, Text(NO_CANDIDATE)], screen)
    blocks += _table(table, screen) if isinstance(table, DifferenceTable) else _matrix(table, screen)
    return rendered(blocks, screen)


def _headline(found: Headline, *, verbose: bool) -> list[RenderableType]:
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for line in found.lines:
        text = plain(line.text)
        if text.endswith(_BELOW) and not verbose:
            text = f"{text.removesuffix(' below')} with -v"
        grid.add_row(Text(f"{_MARKS[line.kind]} {line.kind}", "bold", no_wrap=True), Text(text))
    return [Text(plain(found.sentence), "bold"), grid]


def _table(table: DifferenceTable, screen: Screen) -> list[RenderableType]:
    footnotes = Footnotes()
    title = noted(table.subject, table.subject_notes, footnotes) + Text(f" against {plain(table.baseline)}")
    parts = [Part(part.title, tuple(_line(row, footnotes) for row in part.rows)) for part in table.parts]
    outcomes = [row.outcome for part in table.parts for row in part.rows]
    blocks: list[RenderableType] = [title, *(rows_table(parts, screen) if parts else [])]
    marks = legend(outcomes, table.legend, has_words=shows_words(screen))
    blocks += [marks] if marks.plain else []
    return [*blocks, *footnote_lines(footnotes, table.notes)]


def _line(row: DifferenceRow, footnotes: Footnotes) -> Line:
    name = noted(row.name, row.notes, footnotes)
    detail = "; ".join(filter(None, (row.detail, row.seeds)))
    return Line(name, row.comparison, row.cells, detail, row.seeds)


def _matrix(matrix: Matrix, screen: Screen) -> list[RenderableType]:
    footnotes = Footnotes()
    grid = matrix_blocks(matrix, footnotes, screen)
    outcomes = [cell.outcome for row in matrix.rows for cell in row.cells]
    marks = legend(outcomes, (*matrix.legend, DIRECTIONS))
    title = Text(f"Differences from {plain(matrix.baseline)}")
    return [title, *grid, marks, *footnote_lines(footnotes, matrix.notes)]
