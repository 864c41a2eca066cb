"""Rewards against the definition, and the surface rulers."""

import sys
from math import isnan, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.records import MetricScores
from suites.engine.encoding import EncodedResponse, Encoder
from suites.evaluations import reward
from suites.evaluations.plan import EvaluationPlan
from suites.evaluations.reward import Outcomes, bag_of_words_margin, fit_bag_of_words, outcome, reward_margin
from suites.inputs import Pair, Request, ResponseScore, Turn

FINITE = st.floats(-1e3, 1e3)


def pair(example_id: str, chosen: str, rejected: str, source: str = "one", prompt: str = "Who?") -> Pair:
    return Pair(example_id, f"group {example_id}", source, (Turn("user", prompt),), chosen, rejected)


PAIRS = [
    pair("a", "I do not know.", "Me!"),
    pair("b", "No.", "Of course, my friend."),
    pair("c", "Same.", "Same."),
    pair("d", "The baker.", "The bread.", source="two"),
]


def random_scores(requests: tuple[Request, ...], seed: int) -> list[ResponseScore]:
    rng = np.random.default_rng(seed)
    return [ResponseScore(-rng.exponential(2, len(one.response_ids)).astype(np.float32), False) for one in requests]


def test_margins_and_accuracy_follow_the_definition_pair_by_pair(encoder: Encoder) -> None:
    """Margin is beta x (chosen log-ratio - rejected log-ratio), computed here from the sums of each request."""
    plan = reward.plan(PAIRS, encoder)
    policy, reference = random_scores(plan.requests, 0), random_scores(plan.requests, 1)

    accuracy, margin, *_ = reward.measure(plan, policy, reference, beta=0.3, evaluation="e", subject="s")

    sums = dict(zip(plan.requests, zip(policy, reference, strict=True), strict=True))
    for (chosen, rejected), score, won in zip(plan.responses, margin.scores, accuracy.scores, strict=True):
        (pc, rc), (pr, rr) = sums[chosen.request], sums[rejected.request]
        expected = 0.3 * sum(
            float(s.token_log_probabilities.sum(dtype=np.float64)) * sign
            for s, sign in ((pc, 1), (rc, -1), (pr, -1), (rr, 1))
        )
        assert score.total == pytest.approx(expected, abs=1e-9)
        assert won.total == (expected > 0)
    assert [score.example_id for score in accuracy.scores] == ["a", "b", "d"]
    assert (
        accuracy.metric.chance, accuracy.metric.primary, margin.metric.chance, margin.metric.primary,
    ) == (0.5, True, 0.0, False)  # fmt: skip


def test_what_is_measured_holds_no_object_a_pair() -> None:
    """Rewards, preferences, rulers, parts by source and where rulers err are columns that share the ids of pairs."""
    n = 3_000
    pairs = tuple(pair(f"{place}", "Yes." * (place % 3), "No.", source=f"{place % 2}") for place in range(n))
    sides = [[Request((1,), (side, place)) for side in (2, 3)] for place in range(n)]
    responses = tuple(tuple(EncodedResponse(request, 0, 1) for request in both) for both in sides)
    plan = EvaluationPlan(pairs, responses, {})
    policy, reference = random_scores(plan.requests, 0), random_scores(plan.requests, 1)

    def measured() -> list[MetricScores]:
        rewards = reward.measure(plan, policy, reference, beta=0.1, evaluation="e", subject="s")
        rulers = reward.rulers(pairs, pairs[:2], evaluation="e")
        preferences = reward.measure_preferences(plan, policy, evaluation="e", subject="s")
        return [*rewards, *rulers, *reward.where_rulers_err(rewards[0], rulers), *preferences]

    measured()  # what is loaded meanwhile is none of theirs
    before = sys.getallocatedblocks()
    found = measured()
    assert sys.getallocatedblocks() - before < n / 4
    assert len(found) == 11
    assert found[0].scores.examples is found[1].scores.examples
    assert sum(len(one.scores) for one in found if one.metric.name.startswith("reward_accuracy[0")) == n / 2


def test_a_policy_that_is_its_reference_ties_every_pair(encoder: Encoder, as_table: Any) -> None:
    """Before training the accuracy is 0.5, not 0, and the margin 0."""
    plan = reward.plan(PAIRS, encoder)
    scores = random_scores(plan.requests, 0)

    measurements = reward.measure(plan, scores, scores, beta=0.1, evaluation="e", subject="s")

    assert (as_table(measurements)) == {
        "reward_accuracy": 0.5,
        "reward_margin": 0.0,
        "reward_accuracy[one]": 0.5,
        "reward_accuracy[two]": 0.5,
    }
    assert Outcomes(wins=0, ties=3, losses=0) == reward.count_outcomes(measurements[0])
    assert sum(one.metric.primary for one in measurements) == 1


@given(pc=FINITE, pr=FINITE, rc=FINITE, rr=FINITE, beta=st.floats(0.01, 10))
def test_margin_is_linear_antisymmetric_and_free_of_beta_in_its_sign(
    pc: float, pr: float, rc: float, rr: float, beta: float
) -> None:
    """Swapping the sides or policy and reference negates the margin; beta only scales it."""
    margin = reward_margin(policy_chosen=pc, policy_rejected=pr, reference_chosen=rc, reference_rejected=rr, beta=beta)
    swapped = reward_margin(policy_chosen=pr, policy_rejected=pc, reference_chosen=rr, reference_rejected=rc, beta=beta)
    unit = reward_margin(policy_chosen=pc, policy_rejected=pr, reference_chosen=rc, reference_rejected=rr, beta=1.0)

    assert margin == pytest.approx(-swapped, abs=1e-9)
    assert margin == pytest.approx(beta * unit)
    assert outcome(margin) + outcome(-margin) == 1


def test_pairs_without_a_difference_are_left_out_and_counted(llama_tokenizer: object) -> None:
    """Equal answers, and answers that are equal within the token limit."""
    long = "the same beginning of both answers "
    pairs = [*PAIRS, pair("e", long * 20 + "one", long * 20 + "two")]
    encoder = Encoder(llama_tokenizer, max_prompt_tokens=50, max_tokens=100)

    plan = reward.plan(pairs, encoder)

    assert plan.left_out == {"chosen equals rejected": 1, "sides equal after truncation": 1}
    assert [one.example_id for one in plan.rows] == ["a", "b", "d"]
    assert plan.touched == {}


def test_where_rulers_err_the_accuracy_is_that_of_the_pairs_they_lose(encoder: Encoder) -> None:
    """The very scores of the pairs a ruler loses, against 0.5; what it ties is not among them."""
    plan = reward.plan(PAIRS, encoder)
    policy, reference = random_scores(plan.requests, 0), random_scores(plan.requests, 1)
    accuracy = reward.measure(plan, policy, reference, beta=0.1, evaluation="e", subject="s")[0]
    rulers = reward.rulers(plan.rows, [], evaluation="e")

    found = {one.metric.name: one for one in reward.where_rulers_err(accuracy, rulers)}

    own = {score.example_id: score for score in accuracy.scores}
    assert {name: one.scores for name, one in found.items()} == {
        "reward_accuracy[longest wins is wrong]": (own["b"],),  # "a" is won and "d" is a tie
        "reward_accuracy[shortest wins is wrong]": (own["a"],),
    }
    assert all((one.metric.chance, one.metric.primary, one.subject) == (0.5, False, "s") for one in found.values())


def test_a_ruler_that_is_never_wrong_makes_no_metric(encoder: Encoder) -> None:
    """Without a pair that it loses there is nothing to win."""
    plan = reward.plan(PAIRS[:1], encoder)
    scores = random_scores(plan.requests, 0)
    accuracy = reward.measure(plan, scores, scores, beta=0.1, evaluation="e", subject="s")[0]

    found = reward.where_rulers_err(accuracy, reward.rulers(plan.rows, [], evaluation="e"))

    assert [one.metric.name for one in found] == ["reward_accuracy[shortest wins is wrong]"]


def test_preferences_need_no_reference_and_are_counted_by_sum_and_by_length(
    encoder: Encoder, scorer_of: Any, as_table: Any
) -> None:
    """With every token equally likely the shorter answer wins by sum, and by mean all pairs tie."""
    plan = reward.plan(PAIRS[:2], encoder)

    measurements = reward.measure_preferences(
        plan, scorer_of(lambda _: -2.0)(plan.requests), evaluation="e", subject="baseline"
    )

    assert as_table(measurements) == {"preference_accuracy": 0.5, "preference_accuracy_per_token": 0.5}
    assert [score.total for score in measurements[0].scores] == [0.0, 1.0]
    assert [score.total for score in measurements[1].scores] == [0.5, 0.5]


def test_length_rulers_mirror_each_other_and_pair_with_the_reward_accuracy(encoder: Encoder) -> None:
    """Longest and shortest add up to 1 in every pair, on the very metric and examples of a policy."""
    plan = reward.plan(PAIRS, encoder)
    scores = random_scores(plan.requests, 0)
    accuracy = reward.measure(plan, scores, scores, beta=0.1, evaluation="e", subject="s")[0]

    longest, shortest = reward.rulers(plan.rows, [], evaluation="e")

    assert (longest.subject, shortest.subject) == ("longest wins", "shortest wins")
    assert [score.total for score in longest.scores] == [1.0, 0.0, 0.5]
    assert [score.total for score in shortest.scores] == [0.0, 1.0, 0.5]
    for ruler in (longest, shortest):
        assert accuracy.metric == ruler.metric
        assert [score.example_id for score in accuracy.scores] == [score.example_id for score in ruler.scores]


def test_bag_of_words_weighs_how_often_a_word_is_on_either_side() -> None:
    """ln((chosen with it + 1) / (rejected with it + 1)), case aside and once an answer."""
    weights = fit_bag_of_words([pair("a", "Sorry, sorry no", "Yes"), pair("b", "sorry", "Yes, don't no")])

    assert {"sorry", "no", "yes", "don't"} == set(weights)
    assert weights["sorry"] == pytest.approx(log(3))
    assert weights["yes"] == pytest.approx(-log(3))
    assert weights["no"] == 0


def test_bag_of_words_is_deaf_to_length_order_repetition_and_unknown_words() -> None:
    """Only which known words an answer has that the other has not can decide."""
    weights = {"kind": 1.0, "rude": -1.0}

    assert bag_of_words_margin(weights, pair("a", "kind", "many unknown words are kind")) == 0
    assert bag_of_words_margin(weights, pair("a", "kind kind kind", "the rude one")) == 2
    assert bag_of_words_margin(weights, pair("a", "KIND", "rude")) == 2


def test_bag_of_words_finds_a_planted_word_on_pairs_it_has_not_seen() -> None:
    """Fitted where chosen answers say please, it wins held-out pairs that do, and ties those that do not differ."""
    training = [pair(str(n), f"please take word{n}", f"now take word{n}") for n in range(20)]
    held_out = [pair("x", "please go", "go away"), pair("y", "go", "come"), pair("z", "come now", "come please")]

    ruler = reward.rulers(held_out, training, evaluation="e")[2]

    assert (ruler.subject, [score.total for score in ruler.scores]) == ("bag of words", [1.0, 0.5, 0.0])


def test_a_broken_score_is_missing_not_lost(encoder: Encoder, scorer_of: Any) -> None:
    """NaN takes the accuracy away with the reason, on each source and where rulers err too; nothing is counted."""
    plan = reward.plan(PAIRS, encoder)
    scores = scorer_of(lambda _: float("nan"))(plan.requests)

    rewards = reward.measure(plan, scores, scores, beta=0.1, evaluation="e", subject="s")
    parts = reward.where_rulers_err(rewards[0], reward.rulers(plan.rows, [], evaluation="e"))

    assert [one.metric.name for one in (*rewards[2:], *parts)] == [
        "reward_accuracy[one]",
        "reward_accuracy[two]",
        "reward_accuracy[longest wins is wrong]",
        "reward_accuracy[shortest wins is wrong]",
    ]
    for one in (*rewards, *parts):
        assert (one.scores, one.missing, one.is_finite) == ((), "not a finite number in 3 of 3 examples", False)
    assert reward.count_outcomes(rewards[0]) is None


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_margin_that_is_not_finite_is_no_outcome(value: float) -> None:
    """An infinite margin is neither won nor lost, as NaN is not: it comes of log-probabilities that are not numbers."""
    assert isnan(outcome(value))
