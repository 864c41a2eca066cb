"""Statistics over pairs are their definitions."""

import math
import resource
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu

from harness.training.recipe import (
    RatedRequest,
    kind_of,
    likelihood_statistics,
    peak_memory_bytes,
    preference_statistics,
    rated_statistics,
    requests_of,
    selection_statistics,
)
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


def test_peak_memory_is_in_bytes() -> None:
    """The process's own peak, which is more than this interpreter alone takes and less than a terabyte."""
    assert peak_memory_bytes("cpu") == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 2**25 < peak_memory_bytes("cpu") < 2**40


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


@dataclass(frozen=True)
class Sides:
    """A pair of one token each."""

    prompt_ids: tuple[int, ...] = (1,)
    chosen_ids: tuple[int, ...] = (2,)
    rejected_ids: tuple[int, ...] = (3,)


def test_each_kind_of_rows_has_its_statistics() -> None:
    """Pairs by sides, rated answers by rating, answers by token."""
    request = Request((1,), (2, 3))
    pairs, rated, plain = [Sides()], [RatedRequest(request, True), RatedRequest(request, False)], [request, request]
    policy, reference = np.array([-1.0, -3.0]), np.array([-2.0, -2.0])

    assert [kind_of(rows[0]) for rows in (pairs, rated, plain)] == ["pairs", "rated answers", "answers"]
    assert requests_of(pairs) == [Request((1,), (2,)), Request((1,), (3,))]
    assert requests_of(rated) == requests_of(plain) == [request, request]
    assert selection_statistics(pairs, policy, reference, 0.5) == preference_statistics([policy], [reference], 0.5)
    assert selection_statistics(rated, policy, reference, 0.5) == rated_statistics(
        policy, reference, [True, False], 0.5
    )
    assert selection_statistics(plain, policy, reference, 0.5) == {"loss": 1.0, "n": 2}
