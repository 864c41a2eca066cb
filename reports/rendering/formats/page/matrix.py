"""The matrix of several candidates: the difference on every primary metric, coloured and marked where it is clear."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from reports.rendering.content.differences import Matrix, MatrixCell, MatrixRow
from reports.rendering.content.legend import CHOSEN_MARK, SEED_RANGE
from reports.rendering.formats.page.difference_table import legend_html, outcome_class, remarks
from reports.rendering.formats.page.footnotes import Footnotes

MOST_ROWS = 8
"""Most candidates that are shown at once: as many as the first screen holds; others are unfolded."""
ROWS_BEFORE_THE_FOLD = 7
"""Candidates in sight where some are folded, controls and base models with them, which are never folded."""
LONGEST_WORD = 24
"""Longest word of a candidate's name that is kept on one line."""
_CAPTION = "Difference to the baseline"


@dataclass(frozen=True, slots=True)
class _Column:
    """A metric of the matrix."""

    name: str
    unit: str
    """Of its differences; it stands above the headings, and not in every cell."""
    part: str
    """What it has in common with the metrics beside it; it stands above their headings."""
    best: str
    """"highest" or "lowest": what sorting puts first."""
    notes: tuple[str, ...]
    has_room: bool
    """Whether every cell leaves room for footnotes, because one of them has some."""


def matrix_table(matrix: Matrix) -> str:
    """Return the matrix, a button for the candidates that are folded, and what stands below it."""
    footnotes = Footnotes()
    columns = _columns(matrix)
    heads = "".join(_heading(column, footnotes) for column in columns)
    words = (*matrix.legend, *([SEED_RANGE] if matrix.has_spreads else []))
    values = "".join(f'<td><span class="cell">{escape(value)}</span></td>' for value in matrix.baseline_values)
    first, rest, apart = _folded(matrix.rows)
    bodies = "".join(
        f'<tbody class="{kind}">{_rows(rows, columns, footnotes, are_seeds=matrix.has_spreads)}</tbody>'
        for kind, rows in (("rows", first), ("rows rest", rest), ("rows", apart))
        if rows
    )
    unfold = f'<p class="unfold scripted"><button type="button" id="unfold">{len(rest)} more candidates</button></p>'
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{_CAPTION}">'
        f'<table class="matrix" id="results"><caption>{_CAPTION}{legend_html(words)}</caption>'
        f'<thead><tr class="parts"><td></td>{_part_headings(columns)}</tr>'
        f'<tr><th scope="col">Candidate</th>{heads}</tr></thead>'
        f'<tbody><tr class="baseline"><th scope="row"><bdi>{escape(matrix.baseline)}</bdi></th>{values}</tr></tbody>'
        f"{bodies}</table></div>{unfold if rest else ''}{legend_html(words, is_narrow=True)}"
        f"{remarks(matrix.notes)}{footnotes.texts()}"
    )


def _columns(matrix: Matrix) -> list[_Column]:
    return [
        _Column(
            name,
            matrix.units[place],
            matrix.parts[place],
            "lowest" if matrix.higher_is_better[place] is False else "highest",
            matrix.metric_notes[place],
            has_room=any(row.cells[place].notes for row in matrix.rows),
        )
        for place, name in enumerate(matrix.metrics)
    ]


def _part_headings(columns: Sequence[_Column]) -> str:
    """Return the headings above those of the metrics: unit and better direction of all that share them."""
    parts = [(part, unit, len(list(of_part))) for (part, unit), of_part in groupby(columns, lambda c: (c.part, c.unit))]
    return "".join(
        f'<th scope="colgroup" colspan="{size}"><span dir="auto">{escape(", ".join(filter(None, words)))}</span></th>'
        for *words, size in parts
    )


def _heading(column: _Column, footnotes: Footnotes) -> str:
    name = f"<bdi>{escape(column.name)}</bdi>{footnotes.marks(column.notes)}"
    return f'<th scope="col" data-best="{column.best}">{name}</th>'


def _folded(rows: Sequence[MatrixRow]) -> tuple[Sequence[MatrixRow], Sequence[MatrixRow], Sequence[MatrixRow]]:
    """Return the candidates in sight, those that are folded, and the controls and base models that come after them."""
    if len(rows) <= MOST_ROWS:
        return rows, (), ()
    apart = [row for row in rows if row.is_control or row.is_base]
    others = [row for row in rows if not (row.is_control or row.is_base)]
    n_first = max(1, ROWS_BEFORE_THE_FOLD - len(apart))
    return others[:n_first], others[n_first:], apart


def _rows(rows: Sequence[MatrixRow], columns: Sequence[_Column], footnotes: Footnotes, *, are_seeds: bool) -> str:
    return "".join(_row(row, columns, footnotes, are_seeds=are_seeds) for row in rows)


def _row(row: MatrixRow, columns: Sequence[_Column], footnotes: Footnotes, *, are_seeds: bool) -> str:
    facts = [
        f"{CHOSEN_MARK} chosen" if row.is_chosen else "",
        f"mean and range of {row.n_seeds} seeds"
        if row.n_seeds > 1
        else "one seed"
        if row.is_control and are_seeds
        else "",
        "control" if row.is_control and "control" not in row.subject else "",
    ]
    said = " \u00b7 ".join(fact for fact in facts if fact)
    kind = "chosen" if row.is_chosen else "apart" if row.is_control or row.is_base else ""
    cells = "".join(_cell(cell, column, footnotes) for cell, column in zip(row.cells, columns, strict=True))
    return (
        f'<tr class="{kind}"><th scope="row"><bdi>{_words(row.subject)}</bdi>{footnotes.marks(row.notes)}'
        f"{f' <small>{said}</small>' if said else ''}</th>{cells}</tr>"
    )


def _words(name: str) -> str:
    """Return a name that breaks between its words only, and not at the hyphen of 1e-5, unless a word is long."""
    return " ".join(
        f'<span class="word">{escape(word)}</span>' if len(word) <= LONGEST_WORD else escape(word)
        for word in name.split(" ")
    )


def _cell(cell: MatrixCell, column: _Column, footnotes: Footnotes) -> str:
    difference = cell.comparison.difference if cell.comparison else None
    value = "" if difference is None else f' data-value="{difference!r}"'
    text = escape(cell.text.removesuffix(f" {column.unit}"))
    marks = footnotes.marks(cell.notes) or ('<sup class="marks"></sup>' if column.has_room else "")
    spread = f"<small>{escape(cell.spread.removesuffix(f' {column.unit}'))}</small>" if cell.spread else ""
    return (
        f'<td{value}><span class="cell {outcome_class(cell.comparison, cell.outcome)}">{text}'
        f'<span class="mark" aria-hidden="true">{cell.mark}</span></span>{marks}'
        f'<span class="unseen">{cell.outcome}</span>{spread}</td>'
    )
