"""The first two sections of a report: the headline, and the table of differences."""

from collections.abc import Sequence

from reports.records import Run
from reports.rendering.content.blocks import (
    Block,
    Bullets,
    Noted,
    Paragraph,
    Section,
    Small,
    Strong,
    Table,
    Word,
    Words,
)
from reports.rendering.content.differences import (
    NO_CANDIDATE,
    DifferenceRow,
    DifferenceTable,
    Matrix,
    MatrixCell,
    MatrixRow,
)
from reports.rendering.content.display import ARROWS, OUTCOME_MARKS, low_to_high, outcome_mark
from reports.rendering.content.headline import Headline, HeadlineKind
from reports.rendering.content.headline.words import opened
from reports.rendering.content.legend import CHOSEN_MARK, DIRECTIONS, SEED_RANGE
from reports.rendering.content.title import NOT_COMPLETE, report_title

MOST_COLUMNS = 4
"""Most candidates that are columns of a matrix; more are its rows."""
CHOSEN = f"{CHOSEN_MARK} chosen"
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
    blocks += [Paragraph(facts), *missing_blocks(run), *headline_blocks(headline)]
    return Section("headline", title.text, tuple(blocks))


def missing_blocks(run: Run) -> tuple[Block, ...]:
    """Return a list of the subjects that were asked for and are not there, with the reasons; nothing without any."""
    return (Paragraph(Strong(NOT_COMPLETE)), Bullets(run.not_measured)) if run.not_measured else ()


def headline_blocks(headline: Headline | None) -> tuple[Block, ...]:
    """Return the sentence of the headline, and its lines as a list."""
    if headline is None:
        return (Paragraph(NO_CANDIDATE),)
    lines = tuple((Strong(LINE_NAMES[line.kind]), f": {line.text}") for line in headline.lines)
    return (Paragraph(Strong(headline.sentence)), *([Bullets(lines)] if lines else []))


def differences_section(run: Run, table: DifferenceTable | Matrix | None) -> Section:
    """Return the table of primary metrics: a row a metric for one candidate, a matrix for several."""
    title = f"Differences from {'the baseline' if run.base is None else run.baseline.name}"
    return Section("differences", title, differences_blocks(table) if table else ())


def differences_blocks(table: DifferenceTable | Matrix) -> tuple[Block, ...]:
    """Return the blocks of a table of differences, and below it what was not measured and how to read it."""
    if isinstance(table, DifferenceTable):
        notes = (*(f"{table.subject}: {note}" for note in table.subject_notes), *table.notes)
        if not table.parts:
            return tuple(map(Paragraph, ("No primary metric has a difference.", *notes)))
        return (_one_candidate(table), *_legend(table.legend), *map(Paragraph, notes), Paragraph(_READING))
    is_turned = len(table.rows) > MOST_COLUMNS
    matrix = _candidates_as_rows(table) if is_turned else _candidates_as_columns(table)
    names = [f"{row.subject}: {note}" for row in table.rows for note in row.notes if not is_turned]
    words = (*table.legend, DIRECTIONS, *([SEED_RANGE] if table.has_spreads else []))
    notes = (*names, *table.notes)
    return (matrix, *_legend(words), *map(Paragraph, notes), Paragraph(f"{_MATRIX_READING} {_READING}"))


def _legend(words: Sequence[str]) -> tuple[Block, ...]:
    """Return what the words and marks of the table mean, in one paragraph."""
    return (Paragraph(opened(f"{'; '.join(words)}.")),) if words else ()


_READING = (
    "Differences are paired by example and judged by group; a verdict is corrected for the number of comparisons. "
    "\u201cNo change seen\u201d is not \u201cno change\u201d."
)
_MATRIX_READING = "Bold: better or worse than the baseline."


def _one_candidate(table: DifferenceTable) -> Table:
    rows: list[tuple[Words, ...]] = []
    for part in table.parts:
        rows.append((Strong(part.title), "", "", "", "", ""))
        rows += map(_row, part.rows)
    header = ("Metric", table.baseline, table.subject, "Difference", "95 % interval", "Verdict")
    return Table(header, tuple(rows), "lrrrrl")


def _row(row: DifferenceRow) -> tuple[Words, ...]:
    verdict = f"{outcome_mark(row.comparison, row.outcome)} {row.outcome}"
    is_claim = row.comparison.is_claim and row.outcome in ("better", "worse")
    return (
        _with_detail(_noted(row.name, row.notes), row.detail),
        row.cells.baseline,
        row.cells.candidate,
        _with_detail(row.cells.difference, row.seeds),
        low_to_high(row.cells),
        _with_detail(Strong(verdict) if is_claim else verdict, row.remark),
    )


def _candidates_as_rows(table: Matrix) -> Table:
    baseline = (_noted(value, notes) for value, notes in zip(table.baseline_values, table.metric_notes, strict=True))
    rows: list[tuple[Words, ...]] = [(table.baseline, *baseline)]
    for row in table.rows:
        name = _heading(row)
        rows.append((_noted(Strong(name) if row.is_chosen else name, row.notes), *map(_cell, row.cells)))
    return Table(("Candidate", *_metric_headings(table)), tuple(rows), "l" + "r" * len(table.metrics))


def _candidates_as_columns(table: Matrix) -> Table:
    header = ("Metric", table.baseline, *map(_heading, table.rows))
    rows = tuple(
        (
            _with_detail(_noted(name, table.metric_notes[place]), table.details[place]),
            table.baseline_values[place],
            *(_cell(row.cells[place]) for row in table.rows),
        )
        for place, name in enumerate(_metric_headings(table))
    )
    return Table(header, rows, "l" + "r" * (1 + len(table.rows)))


def _metric_headings(table: Matrix) -> list[str]:
    """Return the names of the metrics, each with an arrow in the direction that is better."""
    return [
        f"{name} {ARROWS[is_better]}" for name, is_better in zip(table.metrics, table.higher_is_better, strict=True)
    ]


def _heading(row: MatrixRow) -> str:
    seeds = f", {row.n_seeds} seeds" if row.n_seeds > 1 else ""
    return row.subject + seeds + (f" {CHOSEN}" if row.is_chosen else "")


def _cell(cell: MatrixCell) -> Words:
    is_claim = cell.comparison is not None and cell.comparison.is_claim
    text = f"{cell.text} {cell.mark}" if cell.mark else cell.text
    is_clear = is_claim and cell.outcome in ("better", "worse")
    return _with_detail(_noted(Strong(text) if is_clear else text, cell.notes), cell.spread)


def _noted(words: str | Strong, notes: tuple[str, ...]) -> Word:
    return Noted(words, notes) if notes else words


def _with_detail(word: Word, detail: str) -> Words:
    return (word, Small(detail)) if detail else word
