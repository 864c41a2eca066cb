"""Statistics of selection rows equal their definitions, and the best combination of a sweep wins."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
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
from harness.training.variants import Variant, variants_of, with_sweeps
from reports.records import Selection
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


def test_what_rounding_alone_tells_apart_is_a_tie() -> None:
    """A response's log-probability moves by as much when it is scored beside others; twenty times more is a win."""
    reference = np.array([[-90.0, -80.0], [-70.0, -60.0], [-50.0, -40.0]])
    moved = np.array([[5e-5, 0.0], [0.0, 5e-5], [0.0, 2e-3]])

    statistics = preference_statistics(reference + moved, reference, beta=0.1)

    assert statistics["rewards/accuracies"] == pytest.approx((0.5 + 0.5 + 0) / 3)


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


def test_rated_answers_that_rounding_alone_tells_apart_are_ties() -> None:
    """As all are before the first update."""
    policy = [-90.00004, -80.0, -70.00002, -60.003]
    statistics = rated_statistics(policy, [-90, -80, -70, -60], [True, True, False, False], beta=0.1)

    assert statistics["rewards/accuracies"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)


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


@cache
def variants_of_betas(n_betas: int, n_seeds: int) -> tuple[Variant, ...]:
    """The variants of a sweep over values of beta."""
    values = ",".join(f"0.{number + 1}" for number in range(n_betas))
    config = replace(load_experiment("tiny"), seeds=n_seeds)
    return variants_of(with_sweeps(config, [f"training.beta={values}"]))


def chosen(n: int, *combinations: Sequence[tuple[float, float]]) -> list[Selection]:
    """The choice between values of beta, of which each seed has a last accuracy and loss."""
    variants = variants_of_betas(len(combinations), len(combinations[0]))
    results = [result for combination in combinations for result in combination]
    rows = {
        variant.name: [selection_row(accuracy, loss) | {"n": n}]
        for variant, (accuracy, loss) in zip(variants, results, strict=True)
    }
    return list(choose_winner(variants, rows))


def test_wins_are_counted_and_not_averaged_as_floats() -> None:
    """130 of 168 pairs over three seeds by both: their means differ in the last digit, and the lower loss decides."""
    first = [(35 / 56, 0.5), (40 / 56, 0.5), (55 / 56, 0.5)]
    second = [(35 / 56, 0.4), (39 / 56, 0.4), (56 / 56, 0.4)]
    means = [sum(accuracy for accuracy, _ in seeds) / 3 for seeds in (first, second)]
    assert means[0] > means[1]  # by rounding alone

    dear, cheap = chosen(56, first, second)

    assert (dear.accuracy, dear.n_won, dear.n_compared) == (cheap.accuracy, cheap.n_won, cheap.n_compared)
    assert (cheap.n_won, cheap.n_compared, cheap.n) == (130.0, 168, 56)
    assert (cheap.is_winner, cheap.decided_by, cheap.tied_with) == (True, "loss", ("beta=0.1",))
    assert (dear.is_winner, dear.decided_by, dear.tied_with) == (False, None, ())


@given(st.permutations([0, 1, 2, 5, 7, 7.5]), st.integers(8, 400))
def test_no_order_of_seeds_or_number_of_pairs_breaks_a_tie(order: list[float], n: int) -> None:
    """The same wins in another order of the seeds are a tie, whatever the rounding of their mean."""
    wins = [0, 1, 2, 5, 7, 7.5]

    one, other = chosen(n, *([(won / n, 0.5) for won in each] for each in (wins, order)))

    assert one.n_won == other.n_won == 22.5
    assert (one.is_winner, one.decided_by, one.tied_with) == (True, "order", ("beta=0.2",))


def test_half_a_win_more_decides() -> None:
    """One pair that ties where the other candidate loses it is more, however close, and whatever the loss."""
    less, more = chosen(10_000, [(0.5, 0.1)], [(0.50005, 0.9)])
    assert (more.is_winner, more.decided_by, more.tied_with, less.is_winner) == (True, "accuracy", (), False)


def test_losses_that_differ_by_rounding_are_a_tie() -> None:
    """Of equal accuracies and losses the first of the sweep is chosen; one that is lower by more than that is not."""
    first, second, third = chosen(8, [(0.5, 0.6)], [(0.5, 0.6 - 1e-9)], [(0.5, 0.7)])
    assert (first.is_winner, first.decided_by, first.tied_with) == (True, "order", (second.candidate,))
    assert not third.is_winner


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_numbers_that_are_not_finite_are_listed_and_never_chosen(value: float) -> None:
    """One broken seed is enough: the combination has no number, and the others are chosen from."""
    broken, sound = chosen(8, [(1.0, value), (1.0, 0.1)], [(0.5, 0.6), (0.5, 0.6)])
    assert (broken.accuracy, broken.loss, broken.n_won, broken.is_winner) == (None, None, None, False)
    assert sound.is_winner
    assert not any(each.is_winner for each in chosen(8, [(value, 0.1)], [(0.5, value)]))


def test_rated_answers_are_counted_by_comparison() -> None:
    """Mann-Whitney's wins over good times bad answers, of which a log has the number."""
    statistics = rated_statistics([-1, -9, -5, -4], [-3, -7, -3, 0], [True, True, False, False], beta=0.5)
    variants = variants_of_betas(2, 1)
    rows = {variant.name: [{"kind": "selection", **statistics}] for variant in variants}

    first, _ = choose_winner(variants, rows)

    assert (first.n_won, first.n_compared, first.n) == (3.5, 4, 4)


def test_a_rated_answer_that_is_not_finite_wins_nothing() -> None:
    """A search would find NaN above all others; the accuracy is NaN instead."""
    statistics = rated_statistics([math.nan, -5], [-1, -1], [True, False], beta=0.1)
    assert math.isnan(statistics["rewards/accuracies"])


def test_one_combination_leaves_nothing_to_choose(config: ExperimentConfig) -> None:
    """Without a sweep no winner is named."""
    assert choose_winner(variants_of(config), {"adapter": [selection_row(0.7, 0.6)]}) == ()
