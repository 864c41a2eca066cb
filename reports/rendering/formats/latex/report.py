r"""The LaTeX report: primary differences of one candidate, a matrix of several, or cross-entropies as published."""

from collections import Counter
from collections.abc import Iterable, Sequence

from reports.comparing.compare import Comparison, Outcome
from reports.comparing.inference import Method
from reports.records import Run
from reports.rendering.content.differences import (
    NO_CANDIDATE,
    DifferencePart,
    DifferenceRow,
    DifferenceTable,
    Matrix,
    MatrixCell,
    MatrixRow,
)
from reports.rendering.content.display import ARROWS, NOTHING, number, outcome_mark, p_text
from reports.rendering.content.footnotes import Footnotes
from reports.rendering.content.headline.words import opened
from reports.rendering.content.legend import DIRECTIONS
from reports.rendering.content.names import evaluation_names, short_names
from reports.rendering.content.published import PublishedColumn, PublishedTable, ReportLayout, published_tables
from reports.rendering.content.report import Report
from reports.rendering.formats.latex.table import RULE, Columns, floating_table, line, pages
from reports.rendering.formats.latex.text import latex_text, number_cell, number_column, superscript, without_unit

MOST_COLUMNS = 6
"""Most columns of numbers in one table of the published layout, or of a matrix."""

_HEAD = r"""% Compiles as it is; through \input it stands in a paper whose preamble loads booktabs and siunitx.
\makeatletter
\ifx\@nodocument\relax
  \let\finishreport\endinput
\else
  \documentclass{article}
  \usepackage[T1]{fontenc}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
  \usepackage{textcomp,booktabs,siunitx}
  \usepackage[margin=2cm]{geometry}
  \def\finishreport{\end{document}}
  \begin{document}
\fi
\makeatother
"""
_FOOT = "\\finishreport\n"
_METHODS: dict[Method, str] = {
    "t and skewness": "Student's t and Hall's for skewness, leaving out one group at a time",
    "mid-p and score": "McNemar's mid-p and Tango's score by group",
    "mid-p and Wilson": "binomial mid-p and Wilson's score at the effective number of examples",
    "seeds and groups": "Cochran and Cox's t over training seeds and groups",
}
_SIGNS: dict[Outcome, str] = {"better": r"$\ast$", "worse": r"$\ast$", "higher": r"$\ast$", "lower": r"$\ast$"}
_SIGNS |= {"cannot tell": "?"}
_INTERVAL = r"\multicolumn{2}{c}{95\,\% interval}"
_PAIRED = "primary metrics, paired by example, independent by group."
_SPANNED = 9
"""Columns of the table of one candidate."""


def latex_report(report: Report, *, layout: ReportLayout = "differences") -> str:
    """Return the primary differences of a candidate, or a matrix of several; everything else is in report.csv.

    In the published layout: rows are sets, columns are subjects, cells are nats per response token.
    """
    tables = _published(report.run) if layout == "published" else _differences(report)
    return "\n".join([_HEAD, *tables, _FOOT])


def _differences(report: Report) -> list[str]:
    run, table = report.run, report.table
    if table is None:
        return [latex_text(NO_CANDIDATE), ""]
    return _of_one(run, table) if isinstance(table, DifferenceTable) else _of_several(run, table)


def _of_one(run: Run, table: DifferenceTable) -> list[str]:
    """Return a line for each metric, in parts that share a unit."""
    footnotes = Footnotes()
    rows = [row for part in table.parts for row in part.rows]
    subject = latex_text(table.subject) + superscript(footnotes.numbers(table.subject_notes))
    blocks: list[list[str]] = []
    for part in table.parts:
        blocks.append([*([RULE] if blocks else []), _part_line(part), *(_line(row, footnotes) for row in part.rows)])
    caption = _caption(
        run,
        f"Differences of {subject} from {latex_text(table.baseline)}: {_PAIRED}",
        [row.comparison for row in rows],
        [*_sentence(table.legend), *table.notes],
    )
    numbers = [_numbers(row) for row in rows]
    columns = Columns(
        r"p{0.28\linewidth}" + "".join(number_column(column) for column in zip(*numbers, strict=True)) + "rrl",
        (
            line(
                [
                    "Metric",
                    "{Baseline}",
                    "{Candidate}",
                    "{Difference}",
                    _INTERVAL,
                    "{Corrected $p$}",
                    "{$n$}",
                    "Outcome",
                ]
            ),
        ),
    )
    if not rows:
        return [rf"\noindent {caption}", ""]
    return _continued(columns, pages(blocks), caption, footnotes)


def _part_line(part: DifferencePart) -> str:
    """Return the title of a part, with the units of its values and differences."""
    units = {"pp": r"values in \%, differences in percentage points", "%": r"differences in \%"}
    unit = units.get(part.unit, latex_text(part.unit))
    return (
        rf"\multicolumn{{{_SPANNED}}}{{@{{}}l}}{{\textit{{{latex_text(part.title)}{f', {unit}' if unit else ''}}}}} \\"
    )


def _line(row: DifferenceRow, footnotes: Footnotes) -> str:
    name = latex_text(row.name + (f" ({row.seeds})" if row.seeds else ""))
    n = f"{row.comparison.n:,}" if row.comparison.n else NOTHING
    mark = superscript(footnotes.numbers(row.notes))
    hollow = f" {outcome_mark(row.comparison, row.outcome)}" if row.remark else ""
    p_value = latex_text(p_text(row.comparison.p_adjusted))
    return line([name + mark, *_numbers(row), p_value, latex_text(n), row.outcome + latex_text(hollow)])


def _numbers(row: DifferenceRow) -> list[str]:
    """Return baseline, candidate, difference and both ends of the interval."""
    shown = row.cells
    ends = shown.interval.strip("[]").split(", ") if shown.low is not None else [NOTHING, NOTHING]
    return [number_cell(text) for text in (shown.baseline, shown.candidate, shown.difference, *ends)]


def _of_several(run: Run, matrix: Matrix) -> list[str]:
    """Return a line for each candidate, in as many tables as the metrics need."""
    names = short_names([row.subject for row in matrix.rows])
    rows = [cell.comparison for row in matrix.rows for cell in row.cells if cell.comparison is not None]
    what = f"Differences from {latex_text(matrix.baseline)} by candidate: {_PAIRED}"
    caption = _caption(run, what, rows, [*_sentence((*matrix.legend, DIRECTIONS)), *matrix.notes]) + _signs(matrix)
    tables: list[str] = []
    for first in range(0, len(matrix.metrics), MOST_COLUMNS):
        places = range(first, min(first + MOST_COLUMNS, len(matrix.metrics)))
        footnotes = Footnotes()
        heading = [_metric_heading(matrix, place, footnotes) for place in places]
        marks, cells = {}, {}
        for row in matrix.rows:
            marks[row.subject] = superscript(footnotes.numbers(row.notes))
            cells[row.subject] = [_matrix_cell(row, place, footnotes) for place in places]
        baseline = line(["baseline", *(f"{{{latex_text(matrix.baseline_values[place])}}}" for place in places)])
        blocks = [[baseline]]
        for before, row in zip((None, *matrix.rows), matrix.rows, strict=False):
            name = latex_text(_name(row, names[row.subject])) + marks[row.subject]
            of_row = [line([name, *cells[row.subject]]), *_spread_lines(row, places)]
            blocks.append([*([RULE] if _is_new_kind(before, row) else []), *of_row])
        formats = [number_column(column) for column in zip(*cells.values(), strict=True)]
        columns = Columns(r"p{0.2\linewidth}" + "".join(formats), (line(["Candidate", *heading]),))
        tables += _continued(columns, pages(blocks), "Continued." if first else caption, footnotes)
    return tables or [rf"\noindent {caption}", ""]


def _sentence(words: Sequence[str]) -> list[str]:
    """Return what the words and marks of a table mean, in one sentence; none without any."""
    return [opened(f"{'; '.join(words)}.")] if words else []


def _metric_heading(matrix: Matrix, place: int, footnotes: Footnotes) -> str:
    """Return the name, unit and better direction of a metric, wrapped to its column."""
    unit = f", {matrix.units[place]}" if matrix.units[place] else ""
    name = latex_text(f"{matrix.metrics[place]}{unit} {ARROWS[matrix.higher_is_better[place]]}")
    mark = superscript(footnotes.numbers(matrix.metric_notes[place]))
    return rf"{{\parbox[b]{{0.105\linewidth}}{{\raggedleft {name}{mark}}}}}"


def _matrix_cell(row: MatrixRow, place: int, footnotes: Footnotes) -> str:
    cell = row.cells[place]
    return number_cell(cell.text, superscript(footnotes.numbers(cell.notes), _sign(cell)))


def _sign(cell: MatrixCell) -> str:
    """Return the raised sign of an outcome."""
    if cell.comparison is not None and cell.comparison.fails_correction:
        return latex_text(cell.mark)
    return _SIGNS.get(cell.outcome, "")


def _spread_lines(row: MatrixRow, places: range) -> list[str]:
    """Return a line with the differences of a recipe's adapters, if it has several."""
    spreads = [row.cells[place].spread for place in places]
    if not any(spreads):
        return []
    return [line(["", *(rf"{{\scriptsize {latex_text(without_unit(spread))}}}" for spread in spreads)])]


def _name(row: MatrixRow, name: str) -> str:
    seeds = f", {row.n_seeds} seeds" if row.n_seeds > 1 else ""
    return f"{name}{seeds}{' (chosen)' if row.is_chosen else ''}{' (base model)' if row.is_base else ''}"


def _is_new_kind(before: MatrixRow | None, row: MatrixRow) -> bool:
    """Whether a rule stands above a row: below the baseline, above the controls, and above the base models."""
    return before is None or (before.is_control, before.is_base) != (row.is_control, row.is_base)


def _signs(matrix: Matrix) -> str:
    """Return what the raised signs of a matrix mean."""
    outcomes = {cell.outcome for row in matrix.rows for cell in row.cells}
    is_claimed = not outcomes.isdisjoint(("better", "worse", "higher", "lower"))
    claimed = r" $\ast$: clear after correction." if is_claimed else ""
    spread = any(cell.spread for row in matrix.rows for cell in row.cells)
    return (
        f"{claimed}{' ?: cannot tell.' if 'cannot tell' in outcomes else ''}"
        f"{' Below a recipe: the differences of its adapters.' if spread else ''}"
    )


def _continued(columns: Columns, lines: Sequence[Sequence[str]], caption: str, footnotes: Footnotes) -> list[str]:
    """Return a table for each page of lines; the footnotes stand below the last."""
    tables: list[str] = []
    for place, of_page in enumerate(lines):
        notes = footnotes.used if place == len(lines) - 1 else ()
        tables += floating_table(columns, of_page, "Continued." if place else caption, notes)
    return tables


def _caption(run: Run, what: str, rows: Sequence[Comparison], notes: Sequence[str]) -> str:
    """Return what was compared on how many examples, the methods of the intervals, and what is below the table."""
    methods = Counter(row.method for row in rows if row.method)
    how = " or ".join(words for method, words in _METHODS.items() if methods[method])
    examples, groups = _range(row.n for row in rows), _range(row.n_groups for row in rows)
    sentences = [
        latex_text(run.headline),
        *(f"{latex_text(each)}." for each in run.not_measured),
        what,
        f"{examples} examples in {groups} groups." if rows else "",
        (f"95\\,\\% intervals by {how}; not adjusted for their number." if how else "No intervals.") if rows else "",
        "$p$ and outcome: two-sided, after Holm." if any(row.is_claim for row in rows) else "",
        r"Perplexity: candidate\,/\,baseline $-$ 1." if any(row.metric.display == "exp" for row in rows) else "",
        *map(latex_text, notes),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _range(sizes: Iterable[int]) -> str:
    found = sorted(size for size in sizes if size)
    if not found:
        return "no"
    return f"{found[0]:,}" if found[0] == found[-1] else f"{found[0]:,} to {found[-1]:,}"


def _published(run: Run) -> list[str]:
    names = evaluation_names(run)
    tables = []
    for table in published_tables(run):
        tables += _published_table(run, table, [names.get(name, name) for name in table.sets])
    return tables or ["No perplexity was measured.", ""]


def _published_table(run: Run, table: PublishedTable, names: Sequence[str]) -> list[str]:
    """Return a table, or several of a few columns each if there are many subjects."""
    sentences = [
        latex_text(run.headline),
        *(f"{latex_text(each)}." for each in run.not_measured),
        f"Response-only cross-entropy in nats per token, averaged over {table.average}.",
        f"Published: {latex_text(run.published.source)}" if run.published else "",
    ]
    caption = " ".join(sentence for sentence in sentences if sentence)
    tables = []
    for first in range(0, len(table.columns), MOST_COLUMNS):
        columns = table.columns[first : first + MOST_COLUMNS]
        cells = [[number_cell(number(c.nats_per_token.get(name), 3)) for c in columns] for name in table.sets]
        formats = [number_column(column) for column in zip(*cells, strict=True)]
        lines = [line([latex_text(name), *of_set]) for name, of_set in zip(names, cells, strict=True)]
        head = Columns(r"p{0.18\linewidth}" + "".join(formats), (line(["Set", *map(_heading, columns)]),))
        tables += floating_table(head, lines, "Continued." if first else caption)
    return tables


def _heading(column: PublishedColumn) -> str:
    """Return the heading of a column, wrapped to the column's width."""
    name = latex_text(f"{'published: ' if column.is_published else ''}{column.subject}")
    return rf"{{\parbox[b]{{0.105\linewidth}}{{\raggedleft {name}}}}}"
