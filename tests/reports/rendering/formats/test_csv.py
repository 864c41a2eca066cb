"""The CSV report: stable columns, one row a comparison, full precision."""

import csv
import io
from dataclasses import replace

from reported import report_of

from reports.comparing.compare import compare
from reports.comparing.seeds import over_seeds
from reports.comparing.together import put_together
from reports.rendering.content.report import Report
from reports.rendering.formats.csv import CSV_COLUMNS, RECIPE_COLUMNS, csv_report


def test_csv_is_tidy_and_in_full_precision(fakes):
    """One row a comparison, documented columns, numbers that read back exactly, empty where missing."""
    run = fakes.realistic_run(("a", "b"))
    rows = compare(run)
    read = list(csv.DictReader(io.StringIO(csv_report(Report(run, rows)))))
    assert list(read[0]) == [*CSV_COLUMNS, *RECIPE_COLUMNS]
    assert len(read) == len(rows)
    for text, row in zip(read, rows, strict=True):
        assert (text["metric"], text["candidate"], text["baseline"]) == (row.metric.name, row.candidate, row.baseline)
        assert (float(text["difference"]) if text["difference"] else None) == row.difference
        assert (float(text["low"]) if text["low"] else None) == (row.interval[0] if row.interval else None)
        assert text["n"] == str(row.n)
    columns = (
        "run suite_fingerprint evaluation metric unit higher_is_better primary candidate against baseline n n_groups"
    )
    assert csv_report(Report(run, [])).startswith(columns.replace(" ", ","))


def test_csv_says_recipe_and_control_and_what_candidates_are_held_against(fakes):
    """New columns stand last; rows against other candidates are exploratory."""
    run = fakes.sweep_run()
    read = list(csv.DictReader(io.StringIO(csv_report(report_of(run)))))
    assert list(read[0])[-20:] == [
        *("shown_unit", "recipe", "is_control"),
        *("p_value", "p_adjusted", "smallest_detectable", "correlation", "pairing_factor"),
        *("reference", "reference_basis", "beta", "beta_basis", "knows_rows"),
        *("long_tail", "margin", "p_unchanged"),
        *("n_seeds", "standard_deviation", "mean_width", "adapters"),
    ]
    read = [row for row in read if not row["n_seeds"]]
    assert {row["candidate"] for row in read if row["p_adjusted"]}.issuperset(fakes.CONTROLS)
    assert {row["against"] for row in read if row["p_adjusted"]} == {"baseline", "definition"}
    assert all(row["smallest_detectable"] and row["p_value"] for row in read if row["p_adjusted"])
    assert not any(row["correlation"] or row["pairing_factor"] for row in read if row["against"] == "definition")
    assert {row["recipe"] for row in read if row["candidate"].endswith("seed 43")} == {fakes.LR}
    assert {row["candidate"] for row in read if row["is_control"] == "True"} == set(fakes.CONTROLS)
    against = [row for row in read if row["against"] == "candidate"]
    assert {row["baseline"] for row in against} == {*fakes.CONTROLS, f"{fakes.LR}, seed 42", "unquantised"}
    assert {row["primary"] for row in against} == {"False"}


def test_recipes_have_rows_of_their_own(fakes):
    """Behind the candidates' rows: means over seeds with the corrected outcome, spread, and the adapters' names."""
    run = fakes.sweep_run()
    comparisons = compare(run)
    recipes = over_seeds(run, comparisons)
    read = list(csv.DictReader(io.StringIO(csv_report(Report(run, comparisons)))))
    assert [bool(row["n_seeds"]) for row in read] == [False] * len(comparisons) + [True] * len(recipes)
    for text, row in zip(read[len(comparisons) :], recipes, strict=True):
        assert (text["candidate"], text["recipe"], text["baseline"]) == (*[row.mean.candidate] * 2, row.mean.baseline)
        assert float(text["difference"]) == row.mean.difference
        assert text["outcome"] == row.mean.outcome
        assert text["adapters"] == "; ".join(row.adapters)
        assert text["standard_deviation"] == ("" if row.standard_deviation is None else str(row.standard_deviation))
    corrected = {text["outcome"] for text in read if text["n_seeds"] == "3" and text["p_adjusted"]}
    assert corrected <= {"better", "no change seen"}


def test_the_outcome_is_the_corrected_word(fakes):
    """A row that is clear by its own interval and not after correction is no claim."""
    run = fakes.realistic_run()
    rows = [replace(row, p_adjusted=0.2) if row.is_clear and row.is_claim else row for row in compare(run)]
    failing = [row for row in rows if row.fails_correction]
    read = list(csv.DictReader(io.StringIO(csv_report(Report(run, rows)))))
    assert failing
    assert [text["outcome"] for text in read] == [row.outcome for row in rows]
    assert {row.outcome for row in failing} == {"no change seen"}


def test_the_second_of_two_runs_is_compared_with_the_first(fakes):
    """The first run's candidate is no candidate any more, and its rows against the base are there all the same."""
    one = fakes.realistic_run()
    run = put_together([one, replace(one, name="another")])
    comparisons = compare(run)
    read = list(csv.DictReader(io.StringIO(csv_report(Report(run, comparisons)))))
    assert {row.candidate for row in comparisons} - {subject.name for subject in run.candidates}
    assert [row["candidate"] for row in read] == [row.candidate for row in comparisons]
