"""The public Python interface: what a notebook needs, without loading what it does not use."""

import subprocess
import sys
from math import fsum

import pytest

import reports
from reports.comparing.compare import compare
from reports.run_folder import RunNotFoundError, write_run


def test_a_run_is_read_and_compared_as_by_the_command_line(fakes, tmp_path):
    """`reports.read_run` takes a path as text, and `reports.compare` returns the comparisons of the report."""
    run = fakes.realistic_run()
    write_run(run, tmp_path / "run")
    assert reports.read_run(str(tmp_path / "run")) == run
    assert reports.compare(run) == compare(run)
    with pytest.raises(RunNotFoundError):
        reports.read_run(tmp_path / "nowhere")


def test_the_table_of_scores_has_one_row_an_example_metric_and_subject(fakes):
    """No score is lost or doubled, and every number can be computed from its rows."""
    run = fakes.realistic_run(("a", "b"))
    table = run.to_pandas()
    assert list(table.columns) == [
        *("evaluation", "metric", "unit", "higher_is_better", "primary", "subject", "kind"),
        *("example_id", "group", "total", "count", "value"),
    ]
    assert len(table) == sum(len(each.scores) for each in run.measurements)
    assert not table.duplicated(["evaluation", "metric", "subject", "example_id"]).any()
    for each in run.measurements:
        if not each.scores:
            continue
        own = table[(table["metric"] == each.metric.name) & (table["evaluation"] == each.metric.evaluation)]
        own = own[own["subject"] == each.subject]
        assert set(own["kind"]) == {run.subject(each.subject).kind}
        assert fsum(own["total"]) / fsum(own["count"]) == each.number
        assert list(own["example_id"]) == [score.example_id for score in each.scores]


def test_a_run_without_scores_is_an_empty_table(fakes):
    """The columns are there, so that code that reads them goes on."""
    table = fakes.small_run({}).to_pandas()
    assert table.empty
    assert "value" in table.columns


def test_an_example_without_a_count_has_no_value(fakes):
    """Nothing is divided by zero, and nothing missing is a zero."""
    table = fakes.small_run({(fakes.MC2, "base"): fakes.scores([1.0, 2.0], [0, 4])}).to_pandas()
    assert table["value"].isna().tolist() == [True, False]
    assert table["value"].iloc[1] == 0.5


def test_importing_the_package_loads_nothing_heavy():
    """A notebook that imports `reports` waits for none of these."""
    heavy = ("pandas", "scipy", "matplotlib", "pyarrow", "torch", "numpy")
    code = f"import sys, reports; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
