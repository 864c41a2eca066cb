"""Cross-entropies in the layout of write-ups: both averages by hand, published figures beside ours."""

from dataclasses import replace

import pytest
from block_texts import lines_of, tables_of

from reports.records import EvaluationCounts, MetricScores, Published
from reports.rendering.content.blocks import Section
from reports.rendering.content.published import published_blocks, published_section, published_tables


def test_both_averages_are_those_of_the_definition(fakes):
    """Over tokens: all nats by all tokens, 2 - 3 x 12 / 180; over examples: the mean of nats by tokens."""
    tokens, examples = published_tables(fakes.sweep_run())
    assert (tokens.average, tokens.sets) == ("tokens", ("truthfulness",))
    of_tokens = {(c.subject, c.is_published): c.nats_per_token["truthfulness"] for c in tokens.columns}
    of_examples = {(c.subject, c.is_published): c.nats_per_token["truthfulness"] for c in examples.columns}
    name = f"{fakes.LR}, seed 42"
    assert of_tokens["base", False] == of_examples["base", False] == 2.0
    assert of_tokens[name, False] == pytest.approx(2 - 3 / 15)
    assert of_examples[name, False] == pytest.approx(((20 - 4) / 10 + (40 - 2) / 20) / 2)
    assert of_tokens["base", True] == of_examples["base", True] == 2.375


def test_columns_are_the_baseline_then_candidates_with_published_ones_behind_their_name(fakes):
    """A published column of a name that was not measured here stands last."""
    run = fakes.sweep_run()
    run = replace(run, subjects=(*run.subjects[1:], run.subjects[0]))
    names = [f"published: {c.subject}" if c.is_published else c.subject for c in published_tables(run)[0].columns]
    assert names == [
        *("base", "published: base"),
        *(f"{fakes.LR}, {seed}" for seed in fakes.SHIFTS),
        *("learning_rate=5e-6", "published: learning_rate=5e-6"),
        *fakes.CONTROLS,
        *("unquantised", "merged", "published: lr=1e-5"),
    ]


def test_the_tables_read_as_write_ups_print_them(fakes):
    """Three decimals, the source, and what was published of sets that this run lacks."""
    run = replace(fakes.sweep_run(), published=Published("a | b", {"truthfulness": {"base": 2.375}, "safety": {}}))
    section = Section("", "", published_blocks(replace(run, subjects=(run.subjects[0], run.subjects[4]))))
    tokens, examples = tables_of(section)
    assert tokens == [
        ["Set", "base", "published: base", "learning_rate=5e-6"],
        ["truthfulness", "2.000", "2.375", "1.967"],
    ]
    assert examples[1] == ["truthfulness", "2.000", "2.375", "1.938"]
    assert {"Published: a | b", "Published, but not measured here: safety."} <= set(lines_of(section))


def test_a_set_without_numbers_is_a_dash(fakes):
    """A role that was empty keeps its row, and a subject that was not measured on a set its column."""
    run = fakes.sweep_run()
    missing = MetricScores(fakes.COREFERENCE, "base", (), missing="the role coreference is empty")
    (table, _) = published_tables(replace(run, measurements=(*run.measurements, missing)))
    assert table.sets == ("truthfulness", "coreference")
    assert all("coreference" not in column.nats_per_token for column in table.columns)


def test_the_section_is_for_published_figures_or_several_candidates(fakes):
    """One candidate without published figures needs no such table, and without perplexities there is none."""
    run = fakes.realistic_run()
    assert not published_section(run).blocks
    assert published_section(fakes.realistic_run(("a", "b"))).blocks
    assert published_section(replace(run, published=Published("somewhere", {}))).blocks
    without = fakes.small_run({(fakes.ACCURACY, name): fakes.scores([1, 0]) for name in "ab"})
    assert not published_section(without).blocks
    assert published_tables(without) == []


def test_a_group_of_the_suite_is_none_of_the_sets(fakes):
    """What the capability group measures stands in the report, but in no published table."""
    rows = fakes.scores([20.0] * 12, [10.0] * 12)
    run = fakes.small_run(
        {(metric, name): rows for metric in (fakes.PERPLEXITY, fakes.COREFERENCE) for name in ("base", "dpo")},
        counts=(EvaluationCounts("coreference", "rows", 12, 12, 12, suite_group="capability"),),
    )
    assert [table.sets for table in published_tables(run)] == [("truthfulness",)]
