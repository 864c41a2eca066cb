"""The sections of a report of several runs: what differs in their settings, and rows against the base of two."""

from collections.abc import Sequence

from reports.comparing.compare import Comparison
from reports.records import Run
from reports.rendering.content.blocks import Code, Paragraph, Section, Table, Words
from reports.rendering.content.sections import rows as columns


def settings_section(run: Run) -> Section:
    """Return every setting that differs between the runs, by its dotted key, with a column a run."""
    rows: tuple[tuple[Words, ...], ...] = tuple((Code(each.key), *each.values) for each in run.differing)
    n_settings = f"{len(rows):,} setting{'' if len(rows) == 1 else 's'}"
    table = Table(("Setting", *run.runs), rows, "l" * (1 + len(run.runs)))
    return Section("settings", "What differs between the runs", (table,) if rows else (), n_settings)


def base_section(run: Run, comparisons: Sequence[Comparison]) -> Section:
    """Return the primary metrics of all candidates against the base of two runs, from which nothing is claimed."""
    rows = [row for row in comparisons if row.against == "base" and row.metric.primary]
    if not rows or run.base is None:
        return Section("base", "Against the base")
    chosen = [columns.METRIC, *columns.candidate_columns(rows), columns.OTHER, columns.OTHER_VALUE]
    chosen += [columns.value_column(rows), columns.DIFFERENCE, columns.INTERVAL, columns.EXAMPLES, columns.GROUPS]
    return Section(
        "base",
        f"Against the base of both, {run.base.name}",
        (
            columns.comparison_table(run, rows, chosen),
            Paragraph(("Exploratory metrics against it are in ", Code("report.csv"), ".")),
        ),
        "what each run's own report is about; nothing is claimed from it here",
    )
