"""The table of one candidate: every primary metric with its interval drawn in the row."""

from collections.abc import Sequence
from html import escape

from reports.comparing.compare import Comparison, Outcome
from reports.rendering.content.differences import DifferencePart, DifferenceRow, DifferenceTable
from reports.rendering.content.display import outcome_mark
from reports.rendering.formats.page.footnotes import Footnotes
from reports.rendering.pictures.row_plots import PlotAxis, axis_plot, part_axis, row_plot

MOST_TALL_ROWS = 7
"""Most rows of two lines, the second for what a metric was measured on; more have one line, to fit the first screen."""


def difference_table(table: DifferenceTable) -> str:
    """Return the table and its footnotes."""
    footnotes = Footnotes()
    n_rows = sum(len(part.rows) for part in table.parts)
    parts = "".join(_part(part, footnotes) for part in table.parts)
    return (
        '<div class="scroll" tabindex="0" role="group" aria-label="Results">'
        f'<table class="differences{" dense" if n_rows > MOST_TALL_ROWS else ""}" id="results">'
        f"<caption>Results <small><bdi>{escape(table.subject)}</bdi>{footnotes.marks(table.subject_notes)} against "
        f"<bdi>{escape(table.baseline)}</bdi></small>{legend_html(table.legend)}</caption>"
        '<thead><tr><th scope="col">Metric</th><th scope="col" class="number values">Baseline</th>'
        '<th scope="col" class="number values">Candidate</th>'
        '<th scope="col" class="number">Difference, 95 % interval</th>'
        '<th scope="col" class="plot"><span class="unseen">Interval</span></th>'
        f'<th scope="col" class="verdict">Verdict</th></tr></thead>{parts}</table></div>'
        f"{legend_html(table.legend, is_narrow=True)}{remarks(table.notes)}{footnotes.texts()}"
    )


def outcome_class(comparison: Comparison | None, outcome: Outcome) -> str:
    """Return the class that colours an outcome: better or worse for what may be claimed, none for everything else."""
    is_coloured = comparison is not None and comparison.is_claim and outcome in ("better", "worse")
    return outcome if is_coloured else "none"


def legend_html(words: Sequence[str], *, is_narrow: bool = False) -> str:
    """Return what the words and marks of a table mean: below its title, or below the table in a narrow window."""
    items = " \u00b7 ".join(f"<bdi>{escape(each)}</bdi>" for each in words)
    return f'<span class="legend{" narrow" if is_narrow else ""}">{items}</span>' if items else ""


def remarks(notes: Sequence[str]) -> str:
    """Return what stands below a table without a mark in it."""
    return "".join(f'<p class="note" dir="auto">{escape(note)}</p>' for note in notes)


def _part(part: DifferencePart, footnotes: Footnotes) -> str:
    axis = part_axis(part)
    rows = "".join(_row(row, axis, footnotes) for row in part.rows)
    return (
        f'<tbody><tr class="part"><th scope="rowgroup">{escape(part.title)}</th>'
        '<td class="values"></td><td class="values"></td><td></td>'
        f'<td class="plot">{axis_plot(axis)}</td><td></td></tr>{rows}</tbody>'
    )


def _row(row: DifferenceRow, axis: PlotAxis, footnotes: Footnotes) -> str:
    kind = outcome_class(row.comparison, row.outcome)
    interval = row.cells.interval.strip("[]").replace(", ", " to ")
    details = " \u00b7 ".join(escape(each) for each in (row.detail, row.seeds) if each)
    detail = f'<small dir="auto">{details}</small>' if details else ""
    return (
        f'<tr><th scope="row"><bdi>{escape(row.name)}</bdi>{footnotes.marks(row.notes)}{detail}</th>'
        f'<td class="number values" dir="auto">{escape(row.cells.baseline)}</td>'
        f'<td class="number values" dir="auto">{escape(row.cells.candidate)}</td>'
        f'<td class="number" dir="auto"><b>{escape(row.cells.difference)}</b><small>{escape(interval)}</small></td>'
        f'<td class="plot">{row_plot(row, axis)}</td>'
        f'<td class="verdict {kind}"><span aria-hidden="true">{outcome_mark(row.comparison, row.outcome)}</span> '
        f"{row.outcome}{f'<small>{row.remark}</small>' if row.remark else ''}</td></tr>"
    )
