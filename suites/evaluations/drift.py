"""Measures how far a policy has moved from its reference: KL on its own answers, log-ratios on held-out answers."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from math import nan
from typing import TYPE_CHECKING, Any

from reports.records import Metric, MetricScores
from reports.scores import ExampleScores
from suites.engine.causal_model import evaluation_mode, n_vocabulary
from suites.engine.decoding import AnswerTokens
from suites.evaluations.plan import EvaluationPlan, examples_of
from suites.evaluations.scores import metric_scores
from suites.inputs import Pair, Question, Request, ResponseScore

if TYPE_CHECKING:
    import torch

METRICS = ("kl_per_token",)
"""Names of the metrics of a candidate's own answers; those on held-out answers are of pairs."""
MAX_LOGIT_ELEMENTS = 2**24
"""Positions x vocabulary of one model's logits at a time: 64 MiB in fp32."""

ModelOpener = Callable[[], AbstractContextManager[Any]]
"""Opens the model of one subject in a `with` block."""


def sample_divergence(
    policy: ModelOpener, reference: ModelOpener, sample: AnswerTokens, *, max_logit_elements: int = MAX_LOGIT_ELEMENTS
) -> float:
    """Returns KL(policy || reference) summed over the positions at which the policy drew a token, in nats.

    NaN where the policy's logits are not finite.

    Each position contributes the KL of its whole distribution instead of the log-ratio of the drawn token: the
    expectation is the same and the variance smaller.

    Args:
        policy: Opens the model that the sample was drawn from, at temperature 1 and without a nucleus.
        reference: Opens the frozen anchor, which has the same vocabulary.
        sample: Scored alone by both models, so that nothing depends on a batch.
        max_logit_elements: Positions x vocabulary of one model's logits at a time; longer answers take more forwards.
    """
    if not sample.is_finite:
        return nan
    total, start = 0.0, len(sample.prompt_ids) - 1
    while start < len(sample.input_ids):
        with policy() as model:
            stop = min(len(sample.input_ids), start + max(1, max_logit_elements // n_vocabulary(model)))
            policy_logits = _logits(model, sample.input_ids, start, stop)
        with reference() as model:
            reference_logits = _logits(model, sample.input_ids, start, stop)
        total += float(divergence(policy_logits, reference_logits).cpu().double().sum())  # a Mac's GPU has no float64
        start = stop
    return total


def divergence(policy_logits: "torch.Tensor", reference_logits: "torch.Tensor") -> "torch.Tensor":
    """Returns KL(policy || reference) of each row over the whole vocabulary, in nats; exactly 0 for equal logits.

    Args:
        policy_logits: Shape (n_positions, n_vocabulary), fp32.
        reference_logits: The same shape.

    Returns:
        Shape (n_positions,), never negative.
    """
    policy, reference = policy_logits.log_softmax(-1), reference_logits.log_softmax(-1)
    probabilities = policy.exp()
    # Both distributions sum to 1, so p log(p / q) - p + q has the same sum as p log(p / q). But the error of the
    # normalisers, which is the largest error, cancels to first order, and no term is negative.
    terms = probabilities * (policy - reference) - probabilities + reference.exp()
    return terms.sum(-1).clamp_min(0.0)


def measure_divergence(
    questions: Sequence[Question],
    samples: Sequence[AnswerTokens],
    divergences: Iterable[float],
    *,
    evaluation: str,
    subject: str,
) -> MetricScores:
    """Returns the metric kl_per_token: KL(policy || reference) over all positions at which a token was drawn.

    Args:
        questions: Questions that were answered; each is an example.
        samples: One for each question.
        divergences: One for each sample (`sample_divergence`).
        evaluation: Name of the evaluation in the suite.
        subject: Name of the policy.
    """
    metric = Metric(evaluation, "kl_per_token", "nats per token", higher_is_better=None, chance=0.0)
    counts = (each.n_positions for each in samples)
    return metric_scores(metric, subject, ExampleScores.from_columns(examples_of(questions), divergences, counts))


def measure_log_ratios(
    plan: EvaluationPlan[Pair],
    policy_scores: Sequence[ResponseScore],
    reference_scores: Sequence[ResponseScore],
    *,
    evaluation: str,
    subject: str,
) -> list[MetricScores]:
    """Returns the mean token log-ratio of policy to reference on held-out answers, which neither of them wrote.

    This is a drift and no KL, because the answers are not drawn from the policy.

    Args:
        plan: The pairs that were scored.
        policy_scores: One for each of `plan.requests`, in that order.
        reference_scores: The same requests by the frozen anchor.
        evaluation: Name of the evaluation in the suite.
        subject: Name of the policy.

    Returns:
        drift_chosen and drift_rejected; an answer of several pairs is counted once, with the first of them.
    """
    log_ratios = {
        request: policy.log_probability - reference.log_probability
        for request, policy, reference in zip(plan.requests, policy_scores, reference_scores, strict=True)
    }

    def drift(side: str, requests: Iterable[Request]) -> MetricScores:
        first_pairs: dict[Request, Pair] = {}
        for request, pair in zip(requests, plan.rows, strict=True):
            first_pairs.setdefault(request, pair)
        totals, counts = (log_ratios[each] for each in first_pairs), (len(each.response_ids) for each in first_pairs)
        metric = Metric(evaluation, f"drift_{side}", "nats per token", higher_is_better=None, chance=0.0)
        scores = ExampleScores.from_columns(examples_of(first_pairs.values()), totals, counts)
        return metric_scores(metric, subject, scores)

    return [
        drift("chosen", (chosen.request for chosen, _ in plan.responses)),
        drift("rejected", (rejected.request for _, rejected in plan.responses)),
    ]


def _logits(model: Any, input_ids: Sequence[int], start: int, stop: int) -> "torch.Tensor":
    """Logits in fp32 at the positions start .. stop - 1, shape (stop - start, n_vocabulary).

    The whole answer is read for each part of it: LongRoPE chooses its factors by the length of a forward.
    """
    import torch

    with torch.inference_mode(), evaluation_mode(model):
        positions = torch.arange(start, stop, device=model.device)
        ids = torch.tensor([input_ids], device=model.device)
        logits: torch.Tensor = model(input_ids=ids, logits_to_keep=positions, use_cache=False).logits[0]
    return logits.float()
