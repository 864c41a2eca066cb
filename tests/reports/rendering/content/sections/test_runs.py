"""The sections of a report of two runs."""

from dataclasses import replace
from types import SimpleNamespace

from reports.comparing.compare import compare
from reports.comparing.together import put_together
from reports.records import Run
from reports.rendering.content.blocks import Code, Table
from reports.rendering.content.sections.results import exploratory_section
from reports.rendering.content.sections.runs import base_section, settings_section


def two_runs(fakes: SimpleNamespace) -> Run:
    """Two runs of an adapter, of which the second has another beta and another seed."""
    one = replace(fakes.realistic_run(("adapter",)), name="one", config={"training": {"beta": 0.1}, "seed": 1})
    return put_together([one, replace(one, name="two", config={"training": {"beta": 0.5}, "seed": 2})])


def test_settings_that_differ_are_listed_with_each_runs_value(fakes: SimpleNamespace) -> None:
    """A line a setting by its dotted key, a column a run; nothing of one run."""
    section = settings_section(two_runs(fakes))
    assert section.blocks == (
        Table(
            ("Setting", "one", "two"),
            ((Code("seed"), "1", "2"), (Code("training.beta"), "0.1", "0.5")),
            "lll",
        ),
    )
    assert section.summary == "2 settings"
    assert settings_section(fakes.realistic_run()).blocks == ()


def test_rows_against_the_base_stay_and_claim_nothing(fakes: SimpleNamespace) -> None:
    """Both adapters on each primary metric, without corrected p-values; they are not among the exploratory rows."""
    run = two_runs(fakes)
    comparisons = compare(run)
    table, _ = base_section(run, comparisons).blocks
    assert isinstance(table, Table)
    rows = [row for row in comparisons if row.against == "base"]
    assert len(table.rows) == sum(row.metric.primary for row in rows) > 0
    assert not any(row.is_claim for row in rows)
    assert {row.candidate for row in rows} == {"seed=1, beta=0.1", "seed=2, beta=0.5"}
    n_further = sum(not row.metric.primary and row.against != "base" for row in comparisons)
    assert exploratory_section(run, comparisons, "").summary.startswith(f"{n_further} rows")
    assert base_section(fakes.realistic_run(), compare(fakes.realistic_run())).blocks == ()
