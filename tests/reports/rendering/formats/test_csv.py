"""The CSV report: stable columns, one row a comparison, full precision."""

import csv
import io

from reports.comparing.compare import compare
from reports.rendering.formats.csv import CSV_COLUMNS, csv_report


def test_csv_is_tidy_and_in_full_precision(fakes):
    """One row a comparison, documented columns, numbers that read back exactly, empty where missing."""
    run = fakes.realistic_run(("a", "b"))
    rows = compare(run)
    read = list(csv.DictReader(io.StringIO(csv_report(run, rows))))
    assert list(read[0]) == list(CSV_COLUMNS)
    assert len(read) == len(rows)
    for text, row in zip(read, rows, strict=True):
        assert (text["metric"], text["candidate"], text["baseline"]) == (row.metric.name, row.candidate, row.baseline)
        assert (float(text["difference"]) if text["difference"] else None) == row.difference
        assert (float(text["low"]) if text["low"] else None) == (row.interval[0] if row.interval else None)
        assert text["n"] == str(row.n)
    columns = (
        "run suite_fingerprint evaluation metric unit higher_is_better primary candidate against baseline n n_groups"
    )
    assert csv_report(run, []).startswith(columns.replace(" ", ","))


def test_csv_says_recipe_and_control_and_what_candidates_are_held_against(fakes):
    """New columns stand last; rows against other candidates are exploratory."""
    run = fakes.sweep_run()
    read = list(csv.DictReader(io.StringIO(csv_report(run, compare(run)))))
    assert list(read[0])[-16:] == [
        *("shown_unit", "recipe", "is_control"),
        *("p_value", "p_adjusted", "smallest_detectable", "correlation", "pairing_factor"),
        *("reference", "reference_basis", "beta", "beta_basis", "knows_rows"),
        *("long_tail", "margin", "p_unchanged"),
    ]
    assert {row["candidate"] for row in read if row["p_adjusted"]}.issuperset(fakes.CONTROLS)
    assert {row["against"] for row in read if row["p_adjusted"]} == {"baseline", "definition"}
    assert all(row["smallest_detectable"] and row["p_value"] for row in read if row["p_adjusted"])
    assert not any(row["correlation"] or row["pairing_factor"] for row in read if row["against"] == "definition")
    assert {row["recipe"] for row in read if row["candidate"].endswith("seed 43")} == {fakes.LR}
    assert {row["candidate"] for row in read if row["is_control"] == "True"} == set(fakes.CONTROLS)
    against = [row for row in read if row["against"] == "candidate"]
    assert {row["baseline"] for row in against} == {*fakes.CONTROLS, f"{fakes.LR}, seed 42", "unquantised"}
    assert {row["primary"] for row in against} == {"False"}
