"""Calibration: bins of how sure the reward is, against how often it is right."""

import math
from dataclasses import replace

import numpy as np
import pytest

from reports.records import ExampleScore, Metric
from reports.rendering.pictures.calibration import FEWEST_PAIRS, calibration_picture, reliability
from reports.rendering.pictures.margins import REWARD_MARGIN
from reports.scores import ExampleScores

MARGIN = Metric("preferences", REWARD_MARGIN, "nats", higher_is_better=True, chance=0.0)


def _pairs(margins, groups=None):
    groups = range(len(margins)) if groups is None else groups
    return ExampleScores.of(
        ExampleScore(f"e{place:05d}", f"g{group}", float(margin), 1.0)
        for place, (margin, group) in enumerate(zip(margins, groups, strict=True))
    )


def test_a_calibrated_reward_is_right_as_often_as_it_states():
    """Outcomes drawn with the probability of their margin lie on the diagonal."""
    rng = np.random.default_rng(3)
    sizes = rng.exponential(1.5, 40_000)
    right = rng.random(len(sizes)) < 1 / (1 + np.exp(-sizes))
    bins = reliability(_pairs(np.where(right, sizes, -sizes)))
    assert len(bins) == 8
    for each in bins:
        assert each.right == pytest.approx(each.stated, abs=0.02)
        assert each.low < each.right < each.high


def test_bins_hold_every_pair_once():
    """Of about equal numbers, in the order of how sure the reward is, equal margins together."""
    rng = np.random.default_rng(4)
    bins = reliability(_pairs(rng.normal(size=203)))
    assert sum(each.n for each in bins) == 203
    assert [each.stated for each in bins] == sorted(each.stated for each in bins)
    assert max(each.n for each in bins) - min(each.n for each in bins) <= 1
    assert [each.n for each in reliability(_pairs([0.5] * 100))] == [100]


def test_a_tie_is_half_right():
    """A margin of 0 states 50 % and is right half of the time."""
    (one,) = reliability(_pairs([0.0] * 25))
    assert (one.stated, one.right) == (0.5, 0.5)


def test_intervals_count_a_prompt_once():
    """Ten pairs of each prompt are not ten times as much to know."""
    margins = np.random.default_rng(5).normal(0.2, 1, 30)
    alone = reliability(_pairs(margins))
    together = reliability(_pairs(margins, [place // 10 for place in range(30)]))
    assert together[0].right == alone[0].right
    assert together[0].high - together[0].low > 1.5 * (alone[0].high - alone[0].low)
    assert together[0].n_groups == 3


def test_an_immense_margin_states_certainty():
    """Without an overflow."""
    (one,) = reliability(_pairs([1e6, -1e9] * 10))
    assert (one.stated, one.right) == (1.0, 0.5)


def test_the_picture_says_what_it_states_and_how_often_it_is_right(fakes, pictures):
    """In its note, and each bin in its data."""
    rng = np.random.default_rng(6)
    margins = rng.normal(0.3, 1, 120)
    picture = calibration_picture(fakes.small_run({(MARGIN, "dpo"): fakes.scores(margins)}))
    stated = float(np.mean(1 / (1 + np.exp(-np.abs(margins)))))
    right = float(np.mean(margins > 0))
    assert f"it states {100 * stated:.1f} % and is right in {100 * right:.1f} % of 120 pairs" in picture.note
    assert sum(row[2] for row in picture.rows) == 120
    pictures.check_geometry(picture.svg)


@pytest.mark.parametrize("margins", [[0.0] * 40, [50.0] * 40, [-50.0] * 40, [1e-9, -1e-9] * 20, [3.0, -0.1] * 20])
def test_any_margins_keep_their_texts_apart(fakes, pictures, margins):
    """All ties, all certain and right, all certain and wrong."""
    pictures.check_geometry(calibration_picture(fakes.small_run({(MARGIN, "dpo"): fakes.scores(margins)})).svg)


def test_too_few_pairs_are_no_picture(fakes):
    """And neither are margins that are not finite."""
    few = fakes.small_run({(MARGIN, "dpo"): fakes.scores([0.5] * (FEWEST_PAIRS - 1))})
    assert calibration_picture(few) is None
    broken = fakes.small_run({(MARGIN, "dpo"): fakes.scores([math.nan] * 40)})
    assert calibration_picture(broken) is None
    assert calibration_picture(fakes.small_run({})) is None


@pytest.mark.parametrize("name", ["HOSTILE", "RIGHT_TO_LEFT", "CHINESE", "LONG"])
def test_any_name_stays_text(fakes, pictures, name):
    """The name of the candidate is the heading."""
    run = fakes.small_run({(MARGIN, "dpo"): fakes.scores(np.linspace(-1, 2, 60))})
    picture = calibration_picture(pictures.renamed(run, [getattr(pictures, name) * 2]))
    assert "<script" not in picture.svg
    pictures.check_geometry(picture.svg)


def test_the_chosen_recipe_comes_first(fakes):
    """Its first seed is the one that is judged."""
    run = fakes.small_run({(MARGIN, name): fakes.scores([0.5] * 30) for name in ("a", "b, seed 1")})
    subjects = tuple(replace(each, recipe="b") if each.name == "b, seed 1" else each for each in run.subjects)
    chosen = fakes.sweep_run().selection[0]
    run = replace(run, subjects=subjects, selection=(replace(chosen, candidate="b"),))
    assert {row[0] for row in calibration_picture(run).rows} == {"b, seed 1"}
