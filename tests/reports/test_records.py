"""Measurements with numbers that are not numbers."""

import math
from dataclasses import replace

import pytest

from reports.records import ExampleScore, MetricScores, without_nan


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_score_makes_the_metric_missing_and_names_its_example(fakes, bad):
    """One NaN or infinity among the scores leaves no number, only the reason and the example."""
    measured = MetricScores(fakes.MARGIN, "dpo", (ExampleScore("e1", "g", 1.0, 1.0), ExampleScore("e2", "g", bad, 1.0)))
    expected = MetricScores(
        fakes.MARGIN,
        "dpo",
        (),
        missing="1 of 2 scores are not finite numbers, the first of example e2",
        is_finite=False,
    )
    assert without_nan(measured) == expected
    assert measured.number is None


def test_a_bad_library_value_becomes_missing(fakes):
    """A NaN that a library hands out is carried as a reason, and is no number."""
    measured = MetricScores(fakes.F1, "dpo", (), value=math.nan)
    assert without_nan(measured).missing == "the value is nan"
    assert measured.number is None


def test_sound_measurements_pass_untouched(fakes):
    """Finite scores and values come back as the very same record."""
    for measured in (MetricScores(fakes.F1, "dpo", (), value=0.5), MetricScores(fakes.F1, "dpo", (), missing="why")):
        assert without_nan(measured) is measured


def test_a_run_names_the_subjects_that_are_not_finite_with_their_metrics(fakes):
    """One NaN of a subject names it; a metric that is missing for another reason does not."""
    run = fakes.small_run(
        {
            (fakes.PERPLEXITY, "base"): fakes.scores([1.0, 2.0]),
            (fakes.PERPLEXITY, "dpo"): fakes.scores([1.0, math.nan]),
        }
    )
    missing = MetricScores(fakes.F1, "base", (), missing="no examples")
    assert replace(run, measurements=(*run.measurements, missing)).not_finite() == {"dpo": (fakes.PERPLEXITY,)}


def test_twins_name_each_other(fakes):
    """The metric without the end of turn is the twin of the one with it, both ways."""
    assert fakes.PERPLEXITY.twin == "perplexity_without_eos"
    assert replace(fakes.PERPLEXITY, name="perplexity_without_eos").twin == "perplexity"
