"""Reward margins and rewards: every value in a bin, zero an edge of bins, controls beside the headline."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from reports.records import Metric, MetricScores
from reports.rendering.pictures.margins import DRIFTS, REWARD_MARGIN, margins_picture

MARGIN = Metric("preferences", REWARD_MARGIN, "nats", higher_is_better=True, chance=0.0)


def _run(fakes, margins, drifts=None, beta=0.1):
    """A run with margins by subject, and log-ratios of chosen and rejected answers of some."""
    run = fakes.small_run({(MARGIN, name): fakes.scores(values) for name, values in margins.items()})
    subjects = tuple(
        replace(each, beta=beta, is_control=each.name.startswith("control")) if each.kind == "candidate" else each
        for each in run.subjects
    )
    measured = [
        MetricScores(Metric("preferences", DRIFTS[side], "nats per token", None), name, fakes.scores(values))
        for name, sides in (drifts or {}).items()
        for side, values in sides.items()
    ]
    return replace(run, subjects=subjects, measurements=(*run.measurements, *measured))


@pytest.fixture(scope="module")
def run(fakes):
    """A candidate and a control of 200 pairs, with the log-ratios of the candidate's answers."""
    rng = np.random.default_rng(1)
    return _run(
        fakes,
        {"dpo": rng.normal(0.5, 1, 200), "control: sft on chosen": rng.normal(0, 1, 200)},
        {"dpo": {"chosen": rng.normal(-1, 4, 200), "rejected": rng.normal(-6, 4, 200)}},
    )


def test_every_pair_is_in_a_bin(run):
    """Shares add up to 1 for each line, far outliers included."""
    picture = margins_picture(run)
    for plot, name in dict.fromkeys((row[0], row[1]) for row in picture.rows):
        assert sum(row[4] for row in picture.rows if row[:2] == (plot, name)) == pytest.approx(1)


def test_zero_is_an_edge_of_bins(run):
    """So that no bin mixes pairs that are right with pairs that are wrong, and the share right of zero is exact."""
    picture = margins_picture(run)
    margins = next(each.scores for each in run.measurements if each.subject == "dpo")
    right = np.mean([score.total > 0 for score in margins])
    drawn = [row for row in picture.rows if row[0] == picture.title and row[1] == "dpo"]
    assert not [row for row in drawn if row[2] < -1e-9 and row[3] > 1e-9]
    assert sum(row[4] for row in drawn if row[2] > -1e-9) == pytest.approx(right)
    assert f"{100 * right:.1f} % of pairs right of 0" in picture.svg


def test_rewards_are_log_ratios_times_beta(run):
    """The mean that the picture states is beta times the mean log-ratio of an answer."""
    picture = margins_picture(run)
    for side in DRIFTS:
        totals = [s.total for m in run.measurements if m.metric.name == DRIFTS[side] for s in m.scores]
        mean = f"{abs(0.1 * np.mean(totals)):.3f}"
        assert f"{side} answers: mean \u2212{mean}" in picture.svg


def test_without_beta_there_are_no_rewards(fakes):
    """A scale that nothing says is not made up."""
    rng = np.random.default_rng(1)
    drifts = {"dpo": {"chosen": rng.normal(size=30), "rejected": rng.normal(size=30)}}
    picture = margins_picture(_run(fakes, {"dpo": rng.normal(size=30)}, drifts, beta=None))
    assert {row[0] for row in picture.rows} == {picture.title}
    assert "Rewards of chosen" not in picture.svg


def test_of_many_candidates_the_headline_and_controls_are_drawn(fakes):
    """The outlines of twenty would hide each other."""
    names = [*(f"c{place}" for place in range(20)), "control: sft on chosen"]
    rng = np.random.default_rng(2)
    picture = margins_picture(_run(fakes, {name: rng.normal(size=40) for name in names}))
    assert list(dict.fromkeys(row[1] for row in picture.rows)) == ["c0", "control: sft on chosen"]


@pytest.mark.parametrize("values", [[0.0] * 30, [1e9, -1e9, 0.5], [0.3], [1e-12] * 5 + [2e-12]])
def test_any_margins_leave_a_picture(fakes, pictures, values):
    """All equal, immense, one, and tiny ones."""
    picture = margins_picture(_run(fakes, {"dpo": values}))
    pictures.check_geometry(picture.svg)
    assert sum(row[4] for row in picture.rows) == pytest.approx(1)


@pytest.mark.parametrize("name", ["HOSTILE", "RIGHT_TO_LEFT", "CHINESE", "LONG"])
def test_any_name_stays_text_and_in_its_place(run, pictures, name):
    """In the legend and in the title of the rewards."""
    name = getattr(pictures, name) * 3
    picture = margins_picture(pictures.renamed(run, [name, f"control: {name}"]))
    ET.fromstring(picture.svg)
    assert "<script" not in picture.svg
    pictures.check_geometry(picture.svg)


def test_margins_that_are_not_finite_are_left_out(fakes):
    """A subject with a NaN has no outline, and alone no picture."""
    run = _run(fakes, {"dpo": [float("nan"), 1.0], "other": [0.5, 1.0]})
    assert {row[1] for row in margins_picture(run).rows} == {"other"}
    assert margins_picture(_run(fakes, {"dpo": [float("nan")]})) is None
    assert margins_picture(fakes.small_run({})) is None
