"""Measures perplexity of responses given their prompts, pooled by token, and right answers against wrong ones."""

from collections.abc import Callable, Iterable, Sequence
from math import isfinite, log, nan
from statistics import fmean

import numpy as np

from reports.records import Metric, MetricScores
from reports.scores import ExampleScores, Floats
from suites.engine.encoding import EncodedResponse, Encoder, count_touched
from suites.evaluations.plan import EvaluationPlan, examples_of
from suites.evaluations.scores import metric_scores
from suites.inputs import Example, Request, ResponseScore

METRICS = (
    "perplexity",
    "perplexity_without_eos",
    "perplexity_per_example",
    "bits_per_byte",
    "right_wrong_margin",
    "right_above_wrong",
)
"""Names of the metrics that this module measures."""

FEW_TOKENS = 8
"""Mean length of right answers, in tokens without the end of turn, under which it is not part of the primary metric."""


def plan(examples: Sequence[Example], encoder: Encoder) -> EvaluationPlan[Example]:
    """Encodes right and wrong responses of all examples, with one boundary for all rows of a prompt."""
    encoded = encoder.encode_all([(row.prompt, (row.response, *row.wrong_responses)) for row in examples])
    touched = count_touched(encoded)
    n_merged = len(examples) - len({(row.prompt, row.response) for row in examples})
    if n_merged:
        touched["answer of an earlier row, counted once"] = n_merged
    return EvaluationPlan(tuple(examples), tuple(map(tuple, encoded)), touched, n_vocabulary=len(encoder.tokenizer))


def distinct_answers(plan: EvaluationPlan[Example]) -> list[tuple[Example, EncodedResponse]]:
    """Each different right answer once, with the first row that has it."""
    answers: dict[object, tuple[Example, EncodedResponse]] = {}
    for row, (right, *_) in zip(plan.rows, plan.responses, strict=True):
        answers.setdefault((row.prompt, row.response), (row, right))
    return list(answers.values())


def is_of_short_answers(plan: EvaluationPlan[Example]) -> bool:
    """Whether right answers have fewer than `FEW_TOKENS` tokens on average, so that the end of turn could hide them.

    Known before anything is scored. After answers of 3.2 tokens, an end of turn that became .44 nats cheaper once hid
    words that became .21 nats a token dearer.
    """
    answers = distinct_answers(plan)
    return sum(answer.n_content_tokens for _, answer in answers) < FEW_TOKENS * len(answers)


def measure(
    plan: EvaluationPlan[Example], scores: Sequence[ResponseScore], *, evaluation: str, subject: str
) -> list[MetricScores]:
    """Returns all metrics of one subject.

    Args:
        plan: The examples that were scored.
        scores: One score for each of `plan.requests`, in that order.
        evaluation: Name of the evaluation in the suite.
        subject: Name of the subject.

    Returns:
        perplexity (exp of total nats / total response tokens, EOS and terminator included, as lm-eval pools by token),
        perplexity_without_eos, which is the primary one where answers are short, perplexity_per_example (exp of the
        mean over examples of nats per token), bits_per_byte (without EOS, over the bytes of the scored tokens), and for
        rows with wrong responses right_wrong_margin and right_above_wrong.
    """
    scored = dict(zip(plan.requests, scores, strict=True))
    answers = distinct_answers(plan)
    examples = examples_of(row for row, _ in answers)

    def over_answers(
        metric: Metric, share: Callable[[EncodedResponse, ResponseScore], tuple[float, float]]
    ) -> MetricScores:
        shares = _in_columns((share(answer, scored[answer.request]) for _, answer in answers), len(answers))
        return metric_scores(metric, subject, ExampleScores.from_columns(examples, *shares))

    uniform_nats = log(plan.n_vocabulary) if plan.n_vocabulary else None
    is_short = is_of_short_answers(plan)

    def per_token(name: str, *, primary: bool = False) -> Metric:
        return Metric(
            evaluation,
            name,
            "nats per token",
            higher_is_better=False,
            display="exp",
            primary=primary,
            uninformative=uniform_nats,
        )

    bits = Metric(evaluation, "bits_per_byte", "bits per byte", higher_is_better=False)
    return [
        over_answers(per_token("perplexity", primary=not is_short), _nats_and_tokens),
        over_answers(per_token("perplexity_without_eos", primary=is_short), _content_nats_and_tokens),
        over_answers(per_token("perplexity_per_example"), _mean_nats),
        over_answers(bits, _bits_and_bytes),
        *_right_against_wrong(plan, scored, evaluation=evaluation, subject=subject),
    ]


def content_log_probability(response: EncodedResponse, score: ResponseScore) -> float:
    """Log-probability of a response without its terminator, in nats."""
    content = score.token_log_probabilities[: response.n_content_tokens]
    return float(content.sum(dtype=np.float64))


def right_wrong_margin(right: float, wrong: Sequence[float]) -> float:
    """Right answer minus mean of the wrong ones, all in mean nats per content token."""
    return right - fmean(wrong)


def right_above_wrong(right: float, wrong: Sequence[float]) -> float:
    """1 where the right answer is above every wrong one, 0.5 where it ties with the best of them, else 0.

    NaN where one of them is not finite, because `max` and `>` would make an outcome of it.
    """
    if not all(map(isfinite, (right, *wrong))):
        return nan
    best = max(wrong)
    return 0.5 if right == best else float(right > best)


def _nats_and_tokens(_: EncodedResponse, score: ResponseScore) -> tuple[float, float]:
    return -score.log_probability, len(score.token_log_probabilities)


def _content_nats_and_tokens(answer: EncodedResponse, score: ResponseScore) -> tuple[float, float]:
    return -content_log_probability(answer, score), answer.n_content_tokens


def _mean_nats(_: EncodedResponse, score: ResponseScore) -> tuple[float, float]:
    return -score.log_probability / len(score.token_log_probabilities), 1


def _bits_and_bytes(answer: EncodedResponse, score: ResponseScore) -> tuple[float, float]:
    return -content_log_probability(answer, score) / log(2), answer.n_content_bytes


def _right_against_wrong(
    plan: EvaluationPlan[Example], scored: dict[Request, ResponseScore], *, evaluation: str, subject: str
) -> list[MetricScores]:
    """Margin and share over the rows that have wrong responses; empty where no row has any."""
    rows = [each for each in zip(plan.rows, plan.responses, strict=True) if each[0].wrong_responses]
    if not rows:
        return []

    def compared(responses: Sequence[EncodedResponse]) -> tuple[float, float]:
        right, *wrong = (
            content_log_probability(response, scored[response.request]) / response.n_content_tokens
            for response in responses
        )
        return right_wrong_margin(right, wrong), right_above_wrong(right, wrong)

    examples = examples_of(row for row, _ in rows)
    margins, above = _in_columns((compared(responses) for _, responses in rows), len(rows))
    margin = Metric(evaluation, "right_wrong_margin", "nats per token", higher_is_better=True)
    share = Metric(evaluation, "right_above_wrong", "share of rows", higher_is_better=True, display="percent")
    return [
        metric_scores(metric, subject, ExampleScores.from_columns(examples, totals))
        for metric, totals in ((margin, margins), (share, above))
    ]


def _in_columns(rows: Iterable[tuple[float, float]], n: int) -> Floats:
    """Returns two numbers of each of n rows as two columns, shape (2, n)."""
    return np.fromiter((number for row in rows for number in row), dtype=np.float64, count=2 * n).reshape(n, 2).T
