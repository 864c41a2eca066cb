"""Scores as columns: the same as rows to whoever goes through them, and no object a row."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from reports.comparing.compare import compare
from reports.example_texts import ExampleTexts, texts_of
from reports.records import ExampleText, MetricScores
from reports.rendering.content.report import Report
from reports.rendering.formats.csv import csv_report
from reports.rendering.formats.json import json_report
from reports.rendering.formats.latex import latex_report
from reports.rendering.formats.markdown import markdown_report
from reports.rendering.formats.page import html_report
from reports.rendering.pictures.everything import all_pictures
from reports.run_folder import read_run, write_run
from reports.scores import ExampleScore, ExampleScores, ScoredExamples, exact_sum

ROWS = (
    ExampleScore("b", "g1", 1.0, 2.0),
    ExampleScore("\u00e9", "g0", -0.5, 1.0),
    ExampleScore("a", "g1", 3.0, 0.0),
)


def test_columns_are_the_rows_they_are_made_of():
    """One by one, by place, by slice, by mask and in the order of their ids."""
    scores = ExampleScores.of(ROWS)
    assert tuple(scores) == ROWS
    assert scores == ROWS
    assert (scores[0], scores[-1]) == (ROWS[0], ROWS[2])
    assert scores[1:] == ROWS[1:]
    assert scores[::-1] == ROWS[::-1]
    assert scores.part(np.array([True, False, True])) == (ROWS[0], ROWS[2])
    assert scores.in_order() == (ROWS[2], ROWS[0], ROWS[1])
    assert (scores.sum_of_totals, scores.sum_of_counts) == (3.5, 3.0)
    assert scores.values.tolist()[:2] == [0.5, -0.5]
    assert math.isnan(scores.values[2])
    with pytest.raises(IndexError):
        scores[3]
    assert not ExampleScores.of(())


def test_columns_are_equal_where_all_of_them_are():
    """Ids, groups, totals, counts and their order; NaN is no number that another one could equal."""
    scores = ExampleScores.of(ROWS)
    assert scores == ExampleScores.of(ROWS)
    assert hash(scores) == hash(ExampleScores.of(ROWS))
    for changed in (
        ROWS[::-1],
        ROWS[:2],
        *((replace(ROWS[0], **{name: value}), *ROWS[1:]) for name, value in
          (("example_id", "c"), ("group", "g2"), ("total", 2.0), ("count", 1.0))),
    ):  # fmt: skip
        assert scores != ExampleScores.of(changed)
        assert scores != changed
    spoilt = [ExampleScores.of([replace(ROWS[0], total=math.nan)]) for _ in range(2)]
    assert spoilt[0] != spoilt[1]
    assert spoilt[0].not_finite.tolist() == [0]


def test_rows_of_a_measurement_become_columns(fakes):
    """A kind of evaluation may hand in rows; what is kept are columns."""
    measured = MetricScores(fakes.MARGIN, "dpo", ROWS)
    assert isinstance(measured.scores, ExampleScores)
    assert measured.number == 3.5 / 3.0


def test_examples_know_their_order_their_groups_and_what_they_lack():
    """Ids sort as text does, groups are numbered by name, and another group makes another example."""
    examples = ExampleScores.of(ROWS).examples
    assert examples.order.tolist() == [2, 0, 1]
    assert examples.group_numbers.tolist() == [1, 0, 1]
    assert examples.n_groups == 2
    assert examples.repeated_id is None
    assert ScoredExamples.of("baab", "gggg").repeated_id == "a"
    assert ScoredExamples.of((), ()).repeated_id is None
    other = ScoredExamples.of(("z", "a", "b"), ("g", "g1", "other"))
    assert examples.lacking(other).to_pylist() == ["b", "z"]
    assert other.lacking(examples).to_pylist() == ["b", "\u00e9"]


def test_sums_are_correctly_rounded_and_never_an_error():
    """As by fsum, over more rows than are looked at at a time; beyond the largest float they are infinite."""
    values = np.tile([1e16, 1.0, -1e16], 20_000)
    assert exact_sum(values) == 20_000.0
    with np.errstate(over="ignore"):
        assert exact_sum(np.array([1e308, 1e308])) == math.inf


def test_texts_are_made_again_whenever_they_are_gone_through():
    """Of several texts of one example the last counts; nothing is gone through where nothing is wanted."""
    texts = [ExampleText(name, "e", prompt, {}) for name, prompt in (("a", "1"), ("b", "2"), ("a", "3"))]
    made = ExampleTexts(lambda: iter(texts))
    assert tuple(made) == tuple(made) == tuple(texts)
    assert made == tuple(texts)
    assert made == ExampleTexts(lambda: texts)
    assert made != tuple(texts[:2])
    found = texts_of(made, {"e": ["a", "c"], "other": ["b"]})
    assert {key: text.prompt for key, text in found.items()} == {("e", "a"): "3"}
    assert texts_of(ExampleTexts(lambda: pytest.fail("gone through")), {"e": []}) == {}


def _run(fakes, n):
    """Two subjects on two metrics of n examples in n / 2 groups."""
    rng, names = np.random.default_rng(0), [f"{place:06d}" for place in range(n)]
    examples = ScoredExamples.of(names, [f"g{place // 2}" for place in range(n)])
    del names
    tokens = rng.integers(5, 90, n).astype(float)
    base, won = tokens * rng.normal(2, 0.3, n), (rng.random(n) < 0.5).astype(float)

    def measured(metric, name, totals, counts=None):
        return MetricScores(metric, name, ExampleScores.from_columns(examples, totals, counts))

    run = fakes.small_run({(fakes.PERPLEXITY, name): () for name in ("base", "dpo")})
    moved = base + tokens * rng.normal(-0.02, 0.05, n)
    flipped = np.where(rng.random(n) < 0.1, 1 - won, won)
    measurements = (
        *(measured(fakes.PERPLEXITY, name, nats, tokens) for name, nats in (("base", base), ("dpo", moved))),
        *(measured(fakes.MC1, name, outcomes) for name, outcomes in (("base", won), ("dpo", flipped))),
    )
    return replace(run, measurements=measurements)


def _written_read_compared_and_reported(run, folder):
    write_run(run, folder)
    found = read_run(folder)
    report = Report(found, compare(found))
    assert csv_report(report)
    assert json_report(report)
    assert markdown_report(report)
    assert latex_report(report)
    assert html_report(report, all_pictures(report), n_examples=100)
    return report


def test_a_hundred_thousand_rows_make_no_object_a_row(fakes, tmp_path):
    """Written, read, compared and reported in every format there is never an object more for two examples."""
    n = 100_000
    run = _run(fakes, n)
    _written_read_compared_and_reported(_run(fakes, 500), tmp_path / "imports")
    before = most = sys.getallocatedblocks()

    def watch(frame, event, _):
        nonlocal most
        if event == "return" and "/reports/" in frame.f_code.co_filename:  # while all that it made is there
            most = max(most, sys.getallocatedblocks())

    sys.setprofile(watch)
    try:
        report = _written_read_compared_and_reported(run, tmp_path / "run")
    finally:
        sys.setprofile(None)
    assert {row.n for row in report.comparisons} == {n}
    assert most - before < n / 2
