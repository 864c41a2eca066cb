"""Drift: KL against closed forms and torch's own, what a drawn position is, log-ratios on held-out answers."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from suites.engine.chat_template import ensure_template
from suites.engine.decoding import AnswerTokens, Decoding, answer_questions
from suites.engine.encoding import Encoder
from suites.evaluations import drift, reward
from suites.evaluations.drift import divergence, measure_divergence, measure_log_ratios, sample_divergence
from suites.inputs import Pair, Question, ResponseScore, Turn

QUESTIONS = [
    Question(f"q{n}", f"g{n}", (Turn("user", text),))
    for n, text in enumerate(["Who?", "How do I bake bread with flour, water, salt and yeast?", "What is a telescope?"])
]
DRAWN = Decoding(max_new_tokens=8, temperature=1.0)
LOGITS = arrays.arrays(np.float32, (3, 7), elements=st.floats(-60, 60, width=32))


@pytest.fixture(scope="module")
def encoder_and_models(llama_folder: Path) -> tuple[Encoder, Any, Any]:
    """A Llama of random weights, and the same with its head moved a little."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    ensure_template(tokenizer, "auto")
    reference, policy = (AutoModelForCausalLM.from_pretrained(llama_folder) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        policy.lm_head.weight += 0.1 * torch.randn(policy.lm_head.weight.shape, generator=generator)
    return Encoder(tokenizer, max_prompt_tokens=200, max_tokens=256), policy, reference


def opened(model: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: nullcontext(model)


def test_kl_of_a_coin_is_that_of_the_textbook() -> None:
    """KL of p = 3/4 from q = 1/2 is 3/4 ln(3/2) + 1/4 ln(1/2), and each row stands for itself."""
    policy = torch.tensor([[log(3.0), 0.0], [0.0, 0.0]])

    found = divergence(policy, torch.zeros(2, 2))

    assert found.tolist() == pytest.approx([0.75 * log(1.5) + 0.25 * log(0.5), 0.0], abs=1e-7)


@given(policy=LOGITS, reference=LOGITS)
def test_kl_is_torchs_own_and_never_negative(policy: Any, reference: Any) -> None:
    """Of any logits, in fp32, as torch.distributions has it in fp64."""
    found = divergence(torch.from_numpy(policy), torch.from_numpy(reference))

    p, q = (torch.distributions.Categorical(logits=torch.from_numpy(each).double()) for each in (policy, reference))
    expected = torch.distributions.kl_divergence(p, q)
    assert (found >= 0).all()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@given(logits=LOGITS)
def test_equal_logits_diverge_by_exactly_nothing(logits: Any) -> None:
    """Not by a rounding either."""
    same = torch.from_numpy(logits)
    assert divergence(same, same.clone()).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_a_small_kl_is_not_lost_in_the_rounding_of_its_normalisers(seed: int) -> None:
    """Of about 5e-7 nats over 50,000 tokens no more than 6e-8 are wrong; p log(p / q) in fp32 is off by 1.4e-7."""
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(50_000, generator=generator, dtype=torch.float64)
    moved = logits + 1e-3 * torch.randn(50_000, generator=generator, dtype=torch.float64)
    p, q = moved.log_softmax(-1), logits.log_softmax(-1)
    exact = float((p.exp() * (p - q)).sum())

    found = float(divergence(moved.float()[None], logits.float()[None]))

    assert found == pytest.approx(exact, abs=6e-8)


def test_a_model_has_not_moved_from_itself(encoder_and_models: tuple[Encoder, Any, Any]) -> None:
    """KL of the policy from itself is exactly 0 for every sample."""
    encoder, policy, _ = encoder_and_models
    samples = answer_questions(policy, encoder, QUESTIONS, decoding=DRAWN)

    assert [sample_divergence(opened(policy), opened(policy), sample) for sample in samples] == [0.0, 0.0, 0.0]


def test_a_sample_counts_every_position_at_which_a_token_was_drawn(
    encoder_and_models: tuple[Encoder, Any, Any],
) -> None:
    """Its KL is the sum over rows of the whole forward, from the last prompt token on, in whatever chunks."""
    encoder, policy, reference = encoder_and_models
    (sample,) = answer_questions(policy, encoder, QUESTIONS[1:2], decoding=replace(DRAWN, seed=3))
    first, n = len(sample.prompt_ids) - 1, sample.n_positions
    ids = torch.tensor([sample.prompt_ids + sample.answer_ids])
    with torch.inference_mode():
        p, q = (model(ids).logits[0, first : first + n].double().log_softmax(-1) for model in (policy, reference))
    expected = float((p.exp() * (p - q)).sum())

    whole = sample_divergence(opened(policy), opened(reference), sample)
    one_by_one = sample_divergence(opened(policy), opened(reference), sample, max_logit_elements=1)

    assert expected > 0.01
    assert whole == pytest.approx(expected, rel=1e-4)
    assert one_by_one == pytest.approx(whole, rel=1e-4)


def test_an_answer_that_longrope_reads_with_its_long_factors_has_them_in_every_part() -> None:
    """The factors follow from the length of a forward: parts that end below the boundary would have the short ones."""
    from transformers import LlamaConfig, LlamaForCausalLM

    rope = {
        "rope_type": "longrope", "rope_theta": 1e4, "factor": 6.4, "original_max_position_embeddings": 40,
        "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 6.0, 9.0],
    }  # fmt: skip
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, initializer_range=0.3, rope_parameters=rope,
    )  # fmt: skip
    torch.manual_seed(0)
    policy, reference = (LlamaForCausalLM(config).eval() for _ in range(2))
    ids = np.random.default_rng(0).integers(3, 96, 60).tolist()
    sample = AnswerTokens(tuple(ids[:30]), tuple(ids[30:]), 30)  # the boundary is in the middle of the answer

    whole = sample_divergence(opened(policy), opened(reference), sample)
    in_parts = sample_divergence(opened(policy), opened(reference), sample, max_logit_elements=5 * 96)

    assert whole > 0.1
    assert in_parts == pytest.approx(whole, rel=1e-5)


def test_the_metric_pools_nats_over_positions_and_has_no_direction() -> None:
    """sum(KL) / sum(positions), each prompt an example of its group; 0 is the baseline's by definition."""
    samples = [AnswerTokens((1,), (), 1), AnswerTokens((1,), (2, 3), 3), AnswerTokens((1,), (2,), 2)]

    found = measure_divergence(QUESTIONS, samples, [0.5, 0.1, 0.0], evaluation="drift", subject="s")

    assert [(one.example_id, one.group, one.total, one.count) for one in found.scores] == [
        ("q0", "g0", 0.5, 1),
        ("q1", "g1", 0.1, 3),
        ("q2", "g2", 0.0, 2),
    ]
    metric = found.metric
    assert (metric.name, metric.unit, metric.higher_is_better, metric.primary, metric.chance) == (
        "kl_per_token", "nats per token", None, False, 0.0,
    )  # fmt: skip


def test_log_ratios_are_means_over_tokens_of_each_side_and_count_an_answer_once(encoder: Encoder) -> None:
    """With a policy one nat above its reference on every chosen token and two below on every rejected one."""
    prompt = (Turn("user", "Who?"),)
    pairs = [
        Pair("a", "g1", "one", prompt, "The baker.", "The bread."),
        Pair("b", "g2", "one", prompt, "The baker.", "Nobody knows that."),
    ]
    plan = reward.plan(pairs, encoder)
    chosen = {chosen.request for chosen, _ in plan.responses}

    def scores(shift: Callable[[bool], float]) -> list[ResponseScore]:
        return [
            ResponseScore(np.full(len(one.response_ids), -3.0 + shift(one in chosen), np.float32), is_greedy=False)
            for one in plan.requests
        ]

    policy, reference = scores(lambda is_chosen: 1.0 if is_chosen else -2.0), scores(lambda _: 0.0)
    on_chosen, on_rejected = measure_log_ratios(plan, policy, reference, evaluation="e", subject="s")
    unmoved = measure_log_ratios(plan, reference, reference, evaluation="e", subject="s")

    assert [score.example_id for score in on_chosen.scores] == ["a"]
    assert [score.example_id for score in on_rejected.scores] == ["a", "b"]
    assert {score.total / score.count for score in on_chosen.scores} == {1.0}
    assert {score.total / score.count for score in on_rejected.scores} == {-2.0}
    assert {score.total for one in unmoved for score in one.scores} == {0.0}
    assert [one.metric.name for one in unmoved] == ["drift_chosen", "drift_rejected"]
    assert (on_chosen.metric.chance, on_chosen.metric.primary) == (0.0, False)


def test_the_sum_is_taken_where_there_is_float64(
    encoder_and_models: tuple[Encoder, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Mac's GPU has no float64: its divergences are moved to the CPU before they are summed in double precision."""

    class OnMetal:
        """Divergences as torch holds them on a Mac's GPU."""

        def double(self) -> torch.Tensor:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

        def cpu(self) -> torch.Tensor:
            return torch.tensor([0.25, 0.5])

    _, policy, reference = encoder_and_models
    monkeypatch.setattr(drift, "divergence", lambda *_: OnMetal())

    assert sample_divergence(opened(policy), opened(reference), AnswerTokens((1, 2, 3), (4, 5), 2)) == 0.75


def test_a_policy_that_is_not_finite_has_no_divergence(encoder_and_models: tuple[Encoder, Any, Any]) -> None:
    """Where the policy's logits are NaN nothing is drawn and the KL is missing with its reason, not an error."""
    encoder, policy, reference = encoder_and_models
    broken = deepcopy(policy)
    with torch.no_grad():
        broken.lm_head.weight[7, 3] = torch.nan

    samples = answer_questions(broken, encoder, QUESTIONS, decoding=DRAWN)
    divergences = [sample_divergence(opened(broken), opened(reference), sample) for sample in samples]
    measured = measure_divergence(QUESTIONS, samples, divergences, evaluation="drift", subject="s")

    assert (measured.scores, measured.is_finite) == ((), False)
    assert measured.missing == "not a finite number in 3 of 3 examples"
