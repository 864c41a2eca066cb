"""A run and its comparisons as JSON: tidy rows in full precision, under stable names.

{
  "run", "suite", "suite_fingerprint", "created", "headline": facts of the run,
  "measurements": one row a metric and subject, baseline and rulers included, under the names of `MEASUREMENT_FIELDS`,
  "comparisons": one row a difference, under the names and in the units of `CSV_COLUMNS` of csv.py,
  "recipes": one row a recipe, primary metric and what it is compared with: means over its training seeds, under the
      same names and those of `RECIPE_COLUMNS`; "adapters" is a list. Empty where no recipe was trained with seeds
  "not_measured": a line for each subject that was asked for and is not there
}

Values are in the metric's unit: fractions as fractions, perplexities as nats per token. Missing values are null.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from reports.comparing.compare import Comparison
from reports.comparing.seeds import OverSeeds
from reports.records import MetricScores, Run, without_nan
from reports.rendering.content.report import Report
from reports.rendering.formats.csv import CSV_COLUMNS, recipe_row

Record = TypeVar("Record", MetricScores, Comparison)

MEASUREMENT_FIELDS: dict[str, Callable[[Run, MetricScores], object]] = {
    "evaluation": lambda _, row: row.metric.evaluation,
    "metric": lambda _, row: row.metric.name,
    "unit": lambda _, row: row.metric.unit,
    "display": lambda _, row: row.metric.display,
    "higher_is_better": lambda _, row: row.metric.higher_is_better,
    "primary": lambda _, row: row.metric.primary,
    "chance": lambda _, row: row.metric.chance,
    "subject": lambda _, row: row.subject,
    "kind": lambda run, row: run.subject(row.subject).kind,
    "recipe": lambda run, row: run.subject(row.subject).recipe,
    "is_control": lambda run, row: run.subject(row.subject).is_control,
    "same_weights": lambda run, row: run.subject(row.subject).same_weights,
    "reference": lambda run, row: run.subject(row.subject).reference,
    "value": lambda _, row: row.number,
    "total": lambda _, row: row.scores.sum_of_totals if row.scores else None,
    "count": lambda _, row: row.scores.sum_of_counts if row.scores else None,
    "n": lambda _, row: len(row.scores),
    "n_groups": lambda _, row: row.scores.examples.n_groups,
    "missing": lambda _, row: row.missing,
}
"""Stable names of a row of "measurements"; new ones are only added at the end.

value = total / count if the metric is such a ratio; `missing` is the reason if there is no value. `n` counts examples.
"""


def json_report(report: Report) -> str:
    """Return the run as one JSON document; see the head of this module."""
    run = report.run
    measurements = [without_nan(measurement) for measurement in run.measurements]
    document = {
        "run": run.name,
        "suite": run.suite,
        "suite_fingerprint": run.suite_fingerprint,
        "created": run.created,
        "headline": run.headline,
        "measurements": [_row(MEASUREMENT_FIELDS, run, measurement) for measurement in measurements],
        "comparisons": [_row(CSV_COLUMNS, run, comparison) for comparison in report.comparisons],
        "recipes": [_recipe(run, row) for row in report.recipes],
        "not_measured": list(run.not_measured),
    }
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _row(fields: dict[str, Callable[[Run, Record], object]], run: Run, record: Record) -> dict[str, object]:
    return _without_infinity({name: field(run, record) for name, field in fields.items()})


def _recipe(run: Run, row: OverSeeds) -> dict[str, object]:
    return _without_infinity(recipe_row(run, row) | {"adapters": list(row.adapters)})


def _without_infinity(values: Mapping[str, object]) -> dict[str, object]:
    return {name: None if _is_not_finite(value) else value for name, value in values.items()}


def _is_not_finite(value: object) -> bool:
    """Whether it is a number that JSON cannot hold, such as the exponential of a very large bound."""
    return isinstance(value, float) and not math.isfinite(value)
