"""Statistics of selection rows equal their definitions, and the best combination of a sweep wins."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu

from harness.config.load import load_experiment
from harness.config.schema import ExperimentConfig
from harness.training.recipe import RatedRequest
from harness.training.selection import (
    choose_winner,
    likelihood_statistics,
    preference_statistics,
    rated_statistics,
    selection_statistics,
)
from harness.training.variants import variants_of, with_sweeps
from suites.engine.encoding import EncodedPair, EncodedResponse
from suites.inputs import Request

log_probabilities = arrays(np.float64, (5, 2), elements=st.floats(-200, 0))


def test_three_pairs_by_hand() -> None:
    """A win, a tie and a loss: accuracy one half, margins 1, 0 and -3 times beta."""
    statistics = preference_statistics([[-1, -2], [-5, -7], [-9, -4]], [[-1, -1], [-5, -7], [-8, -6]], beta=0.5)

    assert statistics["rewards/accuracies"] == 0.5
    assert statistics["rewards/chosen"] == pytest.approx((0 + 0 - 0.5) / 3)
    assert statistics["rewards/rejected"] == pytest.approx((-0.5 + 0 + 1) / 3)
    assert statistics["rewards/margins"] == pytest.approx((0.5 + 0 - 1.5) / 3)
    losses = [-math.log(1 / (1 + math.exp(-margin))) for margin in (0.5, 0.0, -1.5)]
    assert statistics["loss"] == pytest.approx(sum(losses) / 3)
    assert statistics["n"] == 3


@given(log_probabilities, st.floats(0.01, 2))
def test_policy_equal_to_reference(scores: np.ndarray, beta: float) -> None:
    """Every pair is a tie and the loss is ln 2, whatever the scores."""
    statistics = preference_statistics(scores, scores, beta)

    assert statistics["rewards/accuracies"] == 0.5
    assert statistics["loss"] == pytest.approx(math.log(2))


@given(log_probabilities, log_probabilities, st.floats(0.01, 2))
def test_swapping_the_sides_turns_the_signs(policy: np.ndarray, reference: np.ndarray, beta: float) -> None:
    """Accuracy becomes its complement and the margin its negative; no margin is too large for the loss."""
    straight = preference_statistics(policy, reference, beta)
    swapped = preference_statistics(policy[:, ::-1], reference[:, ::-1], beta)

    assert straight["rewards/accuracies"] + swapped["rewards/accuracies"] == pytest.approx(1)
    assert straight["rewards/margins"] == pytest.approx(-swapped["rewards/margins"])
    assert math.isfinite(straight["loss"])


def test_rated_answers_by_hand() -> None:
    """Good rewards 1 and -1, bad ones -1 and -2: of four comparisons three wins and a tie."""
    statistics = rated_statistics([-1, -9, -5, -4], [-3, -7, -3, 0], [True, True, False, False], beta=0.5)

    assert statistics["rewards/accuracies"] == 3.5 / 4
    assert statistics["rewards/chosen"] == 0
    assert statistics["rewards/rejected"] == -1.5
    assert statistics["rewards/margins"] == 1.5
    sigmoids = [1 / (1 + math.exp(-signed)) for signed in (1, -1, 1, 2)]
    assert statistics["loss"] == pytest.approx(sum(1 - value for value in sigmoids) / 4)
    assert statistics["n"] == 4


@given(
    arrays(np.float64, 12, elements=st.integers(-20, 0).map(float)),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_the_accuracy_of_rated_answers_is_mann_whitneys(policy: np.ndarray, is_good: list[bool]) -> None:
    """It equals scipy's U over the number of comparisons, ties and all, and is left out where there are none."""
    statistics = rated_statistics(policy, np.zeros(12), is_good, beta=0.1)

    good, bad = policy[np.array(is_good)], policy[~np.array(is_good)]
    if len(good) and len(bad):
        expected = mannwhitneyu(good, bad).statistic / (len(good) * len(bad))
        assert statistics["rewards/accuracies"] == pytest.approx(expected)
    else:
        assert "rewards/accuracies" not in statistics
        assert len([key for key in statistics if key.startswith("rewards/")]) == 1
    assert 0 <= statistics["loss"] <= 1


def test_answers_are_pooled_by_token() -> None:
    """Three nats on one token and one on three are one nat a token."""
    assert likelihood_statistics([-3, -1], [1, 3]) == {"loss": 1.0, "n": 2}


def test_each_kind_of_rows_has_its_statistics() -> None:
    """Pairs by sides, rated answers by rating, answers by token."""
    request = Request((1,), (2, 3))
    pairs = [EncodedPair(EncodedResponse(request, 0, 1), EncodedResponse(Request((1,), (3,)), 0, 1))]
    rated, plain = [RatedRequest(request, True), RatedRequest(request, False)], [request, request]
    policy, reference = np.array([-1.0, -3.0]), np.array([-2.0, -2.0])

    assert selection_statistics(pairs, policy, reference, 0.5) == preference_statistics([policy], [reference], 0.5)
    assert selection_statistics(rated, policy, reference, 0.5) == rated_statistics(
        policy, reference, [True, False], 0.5
    )
    assert selection_statistics(plain, policy, reference, 0.5) == {"loss": 1.0, "n": 2}


@pytest.fixture
def config() -> ExperimentConfig:
    """The embedded experiment."""
    return load_experiment("tiny")


def selection_row(accuracy: float, loss: float) -> dict[str, Any]:
    """A row of training.jsonl."""
    return {"kind": "selection", "rewards/accuracies": accuracy, "loss": loss, "n": 10}


def test_the_winner_is_the_combination_with_the_best_mean_over_its_seeds(config: ExperimentConfig) -> None:
    """Last selection rows count, seeds are averaged, a lower loss breaks a tie, controls never win."""
    swept = with_sweeps(replace(config, seeds=2, controls=("shuffled",)), ["training.beta=0.1,0.2"])
    variants = variants_of(swept)
    last = {"beta=0.1, seed 42": (0.8, 0.5), "beta=0.1, seed 43": (0.6, 0.5)}
    last |= {"beta=0.2, seed 42": (0.7, 0.3), "beta=0.2, seed 43": (0.7, 0.3)}
    rows = {
        variant.name: [selection_row(0.99, 0.1), selection_row(*last.get(variant.name, (1.0, 0.0)))]
        for variant in variants
    }
    first, second = choose_winner(variants, rows)
    assert (first.candidate, first.accuracy, first.is_winner) == ("beta=0.1", pytest.approx(0.7), False)
    assert (second.candidate, second.loss, second.is_winner) == ("beta=0.2", pytest.approx(0.3), True)


def test_one_combination_leaves_nothing_to_choose(config: ExperimentConfig) -> None:
    """Without a sweep no winner is named."""
    assert choose_winner(variants_of(config), {"adapter": [selection_row(0.7, 0.6)]}) == ()
