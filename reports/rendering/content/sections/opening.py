"""The first two sections of a report: the headline, and the table of differences."""

from reports.records import Run
from reports.rendering.content.blocks import Block, Bullets, Noted, Paragraph, Section, Small, Strong, Table, Words
from reports.rendering.content.differences import DifferenceRow, DifferenceTable, Matrix, MatrixCell, MatrixRow
from reports.rendering.content.display import OUTCOME_MARKS, low_to_high
from reports.rendering.content.headline import Headline, HeadlineKind
from reports.rendering.content.results import NO_CANDIDATE
from reports.rendering.content.title import report_title

MOST_COLUMNS = 4
"""Most candidates that are columns of a matrix; more are its rows."""
CHOSEN = "\u2605 chosen"
LINE_NAMES: dict[HeadlineKind, str] = {
    "gained": f"{OUTCOME_MARKS['better']} Gained",
    "lost": f"{OUTCOME_MARKS['worse']} Lost",
    "no change seen": f"{OUTCOME_MARKS['no change seen']} No change seen",
    "cannot tell": f"{OUTCOME_MARKS['cannot tell']} Cannot tell",
    "believe it?": "Believe it?",
}
"""Line of the headline -> what stands before it."""


def headline_section(run: Run, headline: Headline | None) -> Section:
    """Return what was not measured, what was compared, and the headline, under the title of the report."""
    title = report_title(run)
    facts = " \u00b7 ".join((*title.training, *title.run))
    blocks: list[Block] = [Paragraph(run.headline)] if run.headline else []
    blocks += [Paragraph(facts), *headline_blocks(headline)]
    return Section("headline", title.text, tuple(blocks))


def headline_blocks(headline: Headline | None) -> tuple[Block, ...]:
    """Return the sentence of the headline, and its lines as a list."""
    if headline is None:
        return (Paragraph(NO_CANDIDATE),)
    lines = tuple((Strong(LINE_NAMES[line.kind]), f": {line.text}") for line in headline.lines)
    return (Paragraph(Strong(headline.sentence)), *([Bullets(lines)] if lines else []))


def differences_section(table: DifferenceTable | Matrix | None) -> Section:
    """Return the table of primary metrics: a row a metric for one candidate, a matrix for several."""
    title = "Differences from the baseline"
    return Section("differences", title, differences_blocks(table) if table else ())


def differences_blocks(table: DifferenceTable | Matrix) -> tuple[Block, ...]:
    """Return the blocks of a table of differences; its sentence on reading it stands below."""
    if isinstance(table, DifferenceTable):
        return (_one_candidate(table), Paragraph(_READING))
    matrix = _candidates_as_rows(table) if len(table.rows) > MOST_COLUMNS else _candidates_as_columns(table)
    return (matrix, *map(Paragraph, table.notes), Paragraph(f"{_MATRIX_READING} {_READING}"))


_READING = (
    "Differences are paired by example and judged by group; a verdict is corrected for the number of comparisons. "
    "\u201cNo change seen\u201d is not \u201cno change\u201d."
)
_MATRIX_READING = "Bold: better or worse than the baseline."


def _one_candidate(table: DifferenceTable) -> Table:
    rows: list[tuple[Words, ...]] = []
    for part in table.parts:
        if len(table.parts) > 1:
            rows.append((Strong(part.title), "", "", "", "", ""))
        rows += [_row(row) for row in part.rows]
    header = ("Metric", table.baseline, table.subject, "Difference", "95 % interval", "Verdict")
    return Table(header, tuple(rows), "lrrrrl")


def _row(row: DifferenceRow) -> tuple[Words, ...]:
    name: Words = Noted(row.name, row.notes) if row.notes else row.name
    verdict = f"{OUTCOME_MARKS[row.outcome]} {row.outcome}"
    is_claim = row.comparison.is_claim and row.outcome in ("better", "worse")
    cells = row.cells
    return (
        (name, Small(row.detail)) if row.detail else name,
        cells.baseline,
        cells.candidate,
        cells.difference,
        low_to_high(cells),
        Strong(verdict) if is_claim else verdict,
    )


def _candidates_as_rows(table: Matrix) -> Table:
    rows: list[tuple[Words, ...]] = [(table.baseline, *table.baseline_values)]
    rows += [(Strong(_heading(row)) if row.is_chosen else _heading(row), *map(_cell, row.cells)) for row in table.rows]
    return Table(("Candidate", *table.metrics), tuple(rows), "l" + "r" * len(table.metrics))


def _candidates_as_columns(table: Matrix) -> Table:
    header = ("Metric", table.baseline, *map(_heading, table.rows))
    rows = tuple(
        (name, value, *(_cell(row.cells[place]) for row in table.rows))
        for place, (name, value) in enumerate(zip(table.metrics, table.baseline_values, strict=True))
    )
    return Table(header, rows, "l" + "r" * (1 + len(table.rows)))


def _heading(row: MatrixRow) -> str:
    seeds = f", {row.n_seeds} seeds" if row.n_seeds > 1 else ""
    return row.subject + seeds + (f" {CHOSEN}" if row.is_chosen else "")


def _cell(cell: MatrixCell) -> Words:
    is_claim = cell.comparison is not None and cell.comparison.is_claim
    is_clear = is_claim and cell.outcome in ("better", "worse")
    text = (
        cell.text
        if cell.outcome in ("no change seen", "not measured")
        else f"{cell.text} {OUTCOME_MARKS[cell.outcome]}"
    )
    words = Strong(text) if is_clear else text
    return Noted(words, cell.notes) if cell.notes else words
