"""The JSON report: tidy rows, stable names, every digit, and nothing that JSON cannot say."""

import csv
import io
import json
import math
from dataclasses import replace

from reported import report_of

from reports.records import MetricScores
from reports.rendering.formats.csv import CSV_COLUMNS, csv_report
from reports.rendering.formats.json import MEASUREMENT_FIELDS, json_report


def _refuse(word):
    raise AssertionError(f"{word} is not JSON")


def _parsed(run):
    return json.loads(json_report(report_of(run)), parse_constant=_refuse)


def test_names_are_stable(fakes):
    """Scripts that read the report find these names; new ones come at the end."""
    document = _parsed(fakes.realistic_run())
    assert list(document) == [
        *("run", "suite", "suite_fingerprint", "created", "headline", "measurements", "comparisons", "recipes"),
        "not_measured",
    ]
    assert list(MEASUREMENT_FIELDS)[:19] == [
        *("evaluation", "metric", "unit", "display", "higher_is_better", "primary", "chance", "subject", "kind"),
        *("recipe", "is_control", "same_weights", "reference", "value", "total", "count", "n", "n_groups", "missing"),
    ]
    assert all(list(row) == list(MEASUREMENT_FIELDS) for row in document["measurements"])
    assert all(list(row) == list(CSV_COLUMNS) for row in document["comparisons"])


def test_one_row_a_metric_and_subject_in_full_precision(fakes):
    """Every measurement is there once, baseline and rulers included, with the very double it sums to."""
    run = fakes.sweep_run()
    rows = {(row["metric"], row["subject"]): row for row in _parsed(run)["measurements"]}
    assert len(rows) == len(run.measurements)
    row = rows["perplexity", "learning_rate=5e-6"]
    assert row["count"] == 180
    assert row["value"] == row["total"] / 180 == 2.0 - 0.5 / 15
    assert (row["n"], row["n_groups"], row["kind"], row["recipe"]) == (12, 12, "candidate", "learning_rate=5e-6")
    assert rows["perplexity", "base"]["kind"] == "baseline"
    assert rows["perplexity", "merged"]["same_weights"] is False


def test_comparisons_are_the_rows_of_the_csv(fakes):
    """Both formats hold the same numbers under the same names."""
    run = fakes.realistic_run(("a", "b"))
    rows = list(csv.DictReader(io.StringIO(csv_report(report_of(run)))))
    comparisons = _parsed(run)["comparisons"]
    assert [_as_text(row) for row in comparisons] == [{name: row[name] for name in CSV_COLUMNS} for row in rows]


def test_recipes_are_the_last_rows_of_the_csv(fakes):
    """Under the same names and those of recipes alone; the names of the adapters are a list."""
    run = fakes.sweep_run()
    rows = [row for row in csv.DictReader(io.StringIO(csv_report(report_of(run)))) if row["n_seeds"]]
    recipes = _parsed(run)["recipes"]
    assert [_as_text(row | {"adapters": "; ".join(row["adapters"])}) for row in recipes] == rows
    assert recipes[0]["adapters"] == [f"{fakes.LR}, {seed}" for seed in fakes.SHIFTS]
    assert _parsed(fakes.realistic_run())["recipes"] == []


def _as_text(row):
    return {key: "" if value is None else str(value) for key, value in row.items()}


def test_what_is_missing_is_null_with_its_reason(fakes):
    """A metric without a number, one whose scores hold a NaN, and one that is no ratio."""
    run = fakes.realistic_run()
    broken = MetricScores(replace(fakes.BITS, name="broken"), "base", fakes.scores([1.0, math.nan]))
    rows = {
        row["metric"]: row for row in _parsed(replace(run, measurements=(*run.measurements, broken)))["measurements"]
    }
    assert rows["broken"]["value"] is rows["broken"]["total"] is None
    assert "not finite" in rows["broken"]["missing"]
    assert rows["some_task f1"]["value"] == 0.33
    assert rows["some_task f1"]["count"] is None


def test_an_exponential_that_no_double_holds_is_null(fakes):
    """A perplexity of exp(800) is infinite as it is shown, and its logarithm is still there."""
    nats = fakes.scores([800.0] * 12)
    run = fakes.small_run({(fakes.PERPLEXITY, "base"): nats, (fakes.PERPLEXITY, "dpo"): nats})
    (row,) = _parsed(run)["comparisons"]
    assert row["shown_candidate"] is None
    assert row["candidate_value"] == 800.0
