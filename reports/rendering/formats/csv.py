"""A run's comparisons as CSV: tidy rows in full precision, under names that stay.

First a row for each comparison of a candidate; then, where seeds were trained, a row for each recipe on each primary
metric, which has a number of seeds (`n_seeds`) where the others have none.
"""

import csv
import io
from collections.abc import Callable

from reports.comparing.compare import Comparison
from reports.comparing.seeds import OverSeeds
from reports.records import Run, Subject
from reports.rendering.content.display import cells
from reports.rendering.content.published import ReportLayout, published_tables
from reports.rendering.content.report import Report

CSV_COLUMNS: dict[str, Callable[[Run, Comparison], object]] = {
    "run": lambda run, _: run.name,
    "suite_fingerprint": lambda run, _: run.suite_fingerprint,
    "evaluation": lambda _, row: row.metric.evaluation,
    "metric": lambda _, row: row.metric.name,
    "unit": lambda _, row: row.metric.unit,
    "higher_is_better": lambda _, row: row.metric.higher_is_better,
    "primary": lambda _, row: row.primary,
    "candidate": lambda _, row: row.candidate,
    "against": lambda _, row: row.against,
    "baseline": lambda _, row: row.baseline,
    "n": lambda _, row: row.n,
    "n_groups": lambda _, row: row.n_groups,
    "baseline_value": lambda _, row: row.baseline_value,
    "candidate_value": lambda _, row: row.candidate_value,
    "difference": lambda _, row: row.difference,
    "low": lambda _, row: row.interval[0] if row.interval else None,
    "high": lambda _, row: row.interval[1] if row.interval else None,
    "method": lambda _, row: row.method,
    "why_no_interval": lambda _, row: row.why_no_interval,
    "outcome": lambda _, row: row.outcome,
    "display": lambda _, row: row.metric.display,
    "shown_baseline": lambda _, row: cells(row).baseline_number,
    "shown_candidate": lambda _, row: cells(row).candidate_number,
    "shown_difference": lambda _, row: cells(row).difference_number,
    "shown_low": lambda _, row: cells(row).low,
    "shown_high": lambda _, row: cells(row).high,
    "shown_unit": lambda _, row: cells(row).unit,
    "recipe": lambda run, row: _candidate(run, row).recipe,
    "is_control": lambda run, row: _candidate(run, row).is_control,
    "p_value": lambda _, row: row.p_value,
    "p_adjusted": lambda _, row: row.p_adjusted,
    "smallest_detectable": lambda _, row: row.smallest_detectable,
    "correlation": lambda _, row: row.correlation,
    "pairing_factor": lambda _, row: row.pairing_factor,
    "reference": lambda run, row: _candidate(run, row).reference,
    "reference_basis": lambda run, row: _candidate(run, row).reference_basis,
    "beta": lambda run, row: _candidate(run, row).beta,
    "beta_basis": lambda run, row: _candidate(run, row).beta_basis,
    "knows_rows": lambda run, row: _candidate(run, row).knows_rows,
    "long_tail": lambda _, row: row.long_tail,
    "margin": lambda _, row: row.margin,
    "p_unchanged": lambda _, row: row.p_unchanged,
}
"""Stable columns of report.csv; new ones are only added at the end.

Values, difference, low and high are in `unit` (fractions as fractions, perplexities as nats per token), difference =
candidate_value - baseline_value; the shown_ columns have the numbers of the tables, shown_unit is the unit of the
difference. `against` is baseline, definition, ruler or candidate, and `baseline` its name. `recipe` is shared by
candidates that differ only in their training seed, and empty if there is one seed; `is_control` is true if the
candidate was trained only for comparison. `p_value` is two-sided and small exactly where low and high exclude 0;
`p_adjusted` is the same after Holm, in the family of primary metrics of the chosen candidate, of one control, or of all
others; `outcome` is what remains after it. `smallest_detectable` (in `unit`) is detected with a probability of 80 %.
`correlation` is that of both sides over groups, and `pairing_factor` is how many times wider the interval would be
without pairing. `long_tail` is the side (above, below) of a long tail that the groups do not carry. `p_unchanged` is
that of the equivalence test within `margin` (in `unit`), the metric's gate, after Holm. `reference` and `beta` are
those of the candidate's implicit reward; their `_basis` is recorded, assumed (nothing says it) or unknown (another one,
which is not here).
`knows_rows` is false if the candidate was trained elsewhere, so that it may have seen the rows that are measured.
`outcome` is what may be claimed, the same word as in every report: better, worse, higher, lower, no change seen, cannot
tell or not measured; after correction where there is `p_adjusted`, and otherwise by the interval alone.
"""
RECIPE_COLUMNS: dict[str, Callable[[OverSeeds], object]] = {
    "n_seeds": lambda row: len(row.adapters),
    "standard_deviation": lambda row: row.standard_deviation,
    "mean_width": lambda row: row.mean_width,
    "adapters": lambda row: "; ".join(row.adapters),
}
"""Stable columns of report.csv that only rows of recipes have, behind `CSV_COLUMNS`.

Such a row has the recipe as its `candidate` and `recipe`; its values and difference are means over the adapters, whose
number is `n_seeds` and whose names are in `adapters`, with "; " between them. `standard_deviation` is that of the
adapters' differences, `mean_width` the mean width of their own intervals (both in `unit`). low, high, the p-values and
`outcome` have the variance of the seeds and of the groups; with fewer than three seeds they are empty, and the outcome
is "cannot tell".
"""
PUBLISHED_CSV_COLUMNS = ("run", "set", "averaged_over", "subject", "is_published", "nats_per_token")
"""Stable columns of report.csv in the published layout: one row for each set, average and column of its tables."""


def csv_report(report: Report, *, layout: ReportLayout = "differences") -> str:
    """Return one tidy row for each comparison, then for each recipe, in full precision; missing values are empty.

    In the published layout the columns are `PUBLISHED_CSV_COLUMNS`.
    """
    run, text = report.run, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if layout == "published":
        writer.writerow(PUBLISHED_CSV_COLUMNS)
        writer.writerows(
            (run.name, name, table.average, column.subject, column.is_published, column.nats_per_token.get(name))
            for table in published_tables(run)
            for name in table.sets
            for column in table.columns
        )
        return text.getvalue()
    writer.writerow([*CSV_COLUMNS, *RECIPE_COLUMNS])
    nothing = [None] * len(RECIPE_COLUMNS)
    writer.writerows([*(column(run, row) for column in CSV_COLUMNS.values()), *nothing] for row in report.comparisons)
    writer.writerows(recipe_row(run, row).values() for row in report.recipes)
    return text.getvalue()


def recipe_row(run: Run, row: OverSeeds) -> dict[str, object]:
    """Return what a row of a recipe holds, under the names of all columns."""
    own = {name: column(run, row.mean) for name, column in CSV_COLUMNS.items()}
    return own | {name: column(row) for name, column in RECIPE_COLUMNS.items()}


def _candidate(run: Run, row: Comparison) -> Subject:
    """Return the row's candidate; of a recipe, its first adapter."""
    named = (each for each in run.subjects if each.name == row.candidate)
    return next(named, None) or next(each for each in run.subjects if each.recipe == row.candidate)
