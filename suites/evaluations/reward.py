"""Measures implicit rewards of preference pairs, reference-free preferences, and the surface rulers for comparison."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, log, nan

from reports.records import Metric, MetricScores
from reports.scores import ExampleScores, as_texts
from suites.engine.encoding import Encoder, count_touched
from suites.evaluations.plan import EvaluationPlan, examples_of
from suites.evaluations.scores import metric_scores, part_of
from suites.inputs import Pair, Request, ResponseScore

LONGEST, SHORTEST, BAG_OF_WORDS = "longest wins", "shortest wins", "bag of words"
RULERS = (LONGEST, SHORTEST, BAG_OF_WORDS)
"""Subjects that judge by the surface of the answers alone; no other subject has these names."""
METRICS = (
    "reward_accuracy", "reward_margin", "preference_accuracy", "preference_accuracy_per_token", "drift_chosen",
    "drift_rejected",
)  # fmt: skip
"""Metrics of pairs; a part of one, such as reward_accuracy[SOURCE], has its name in brackets behind it."""
WordWeights = dict[str, float]
"""Word -> log-odds that an answer containing it is the chosen one."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Numbers of pairs that were won, tied and lost."""

    wins: int
    ties: int
    losses: int


def plan(pairs: Sequence[Pair], encoder: Encoder) -> EvaluationPlan[Pair]:
    """Encodes both sides of all pairs; pairs whose sides are equal, in full or within the token limit, are left out."""
    unequal = [pair for pair in pairs if pair.chosen != pair.rejected]
    sides = encoder.encode_all([(pair.prompt, (pair.chosen, pair.rejected)) for pair in unequal])
    encoded = [
        (pair, (chosen, rejected))
        for pair, (chosen, rejected) in zip(unequal, sides, strict=True)
        if chosen.request != rejected.request
    ]
    left_out = {
        "chosen equals rejected": len(pairs) - len(unequal),
        "sides equal after truncation": len(unequal) - len(encoded),
    }
    return EvaluationPlan(
        rows=tuple(pair for pair, _ in encoded),
        responses=tuple(responses for _, responses in encoded),
        touched=count_touched(responses for _, responses in encoded),
        left_out={reason: n_pairs for reason, n_pairs in left_out.items() if n_pairs},
    )


def measure(
    plan: EvaluationPlan[Pair],
    policy_scores: Sequence[ResponseScore],
    reference_scores: Sequence[ResponseScore],
    *,
    beta: float,
    evaluation: str,
    subject: str,
) -> list[MetricScores]:
    """Returns the implicit reward of a policy against its reference, pair by pair.

    Args:
        plan: The pairs that were scored.
        policy_scores: The policy's score of each of `plan.requests`, in that order.
        reference_scores: The same requests scored by the frozen anchor: the weights before preference training.
        beta: Beta of the DPO loss; it only scales the margins.
        evaluation: Name of the evaluation in the suite.
        subject: Name of the policy.

    Returns:
        reward_accuracy (primary; a win counts 1, a tie 0.5), reward_margin, and for pairs of several sources the
        accuracy on each source.
    """
    policy = _sums(plan, policy_scores)
    reference = _sums(plan, reference_scores)
    margins = [
        reward_margin(
            policy_chosen=policy[chosen.request],
            policy_rejected=policy[rejected.request],
            reference_chosen=reference[chosen.request],
            reference_rejected=reference[rejected.request],
            beta=beta,
        )
        for chosen, rejected in plan.responses
    ]
    won = ExampleScores.from_columns(plan.examples, map(outcome, margins))
    accuracy = metric_scores(_reward_accuracy(evaluation), subject, won)
    margin = Metric(evaluation, "reward_margin", "nats", higher_is_better=True, chance=0.0)
    graded = metric_scores(margin, subject, ExampleScores.from_columns(plan.examples, margins))
    return [accuracy, graded, *_by_source(plan.rows, accuracy)]


def measure_preferences(
    plan: EvaluationPlan[Pair], scores: Sequence[ResponseScore], *, evaluation: str, subject: str
) -> list[MetricScores]:
    """Returns the share of pairs whose chosen answer is the more probable one; without a reference, so for any subject.

    Returns:
        preference_accuracy, by the sum over the response, and preference_accuracy_per_token, by its mean.
    """
    sums = _sums(plan, scores)

    def accuracy(name: str, value: Callable[[Request], float]) -> MetricScores:
        margins = (value(chosen.request) - value(rejected.request) for chosen, rejected in plan.responses)
        metric = Metric(evaluation, name, "share of pairs", higher_is_better=True, display="percent")
        return metric_scores(metric, subject, ExampleScores.from_columns(plan.examples, map(outcome, margins)))

    return [
        accuracy("preference_accuracy", lambda request: sums[request]),
        accuracy("preference_accuracy_per_token", lambda request: sums[request] / len(request.response_ids)),
    ]


def rulers(pairs: Sequence[Pair], training_pairs: Sequence[Pair], *, evaluation: str) -> list[MetricScores]:
    """Returns the reward_accuracy that simple rules reach on the surface of the answers alone, each rule a subject.

    Args:
        pairs: The pairs to judge (`plan.rows`).
        training_pairs: The pairs that the bag of words is fitted on; without any there is no such ruler.
        evaluation: Name of the evaluation in the suite.

    Returns:
        Subjects "longest wins" and "shortest wins" (characters) and "bag of words".
    """
    longer = [float(len(pair.chosen) - len(pair.rejected)) for pair in pairs]
    margins = {LONGEST: longer, SHORTEST: [-margin for margin in longer]}
    if training_pairs:
        weights = fit_bag_of_words(training_pairs)
        margins[BAG_OF_WORDS] = [bag_of_words_margin(weights, pair) for pair in pairs]
    metric, examples = _reward_accuracy(evaluation), examples_of(pairs)
    return [
        metric_scores(metric, name, ExampleScores.from_columns(examples, map(outcome, values)))
        for name, values in margins.items()
    ]


def where_rulers_err(accuracy: MetricScores, rulers: Iterable[MetricScores]) -> list[MetricScores]:
    """Returns a policy's reward accuracy on the pairs that each ruler gets wrong, if any; a tie is not wrong.

    A policy that follows the ruler's rule cannot win these pairs.

    Args:
        accuracy: Reward accuracy of the policy (`measure`).
        rulers: Accuracies of the rulers on the same pairs (`rulers`).
    """
    found = []
    for ruler in rulers:
        wrong = ruler.scores.part(ruler.scores.totals == 0)
        if wrong:
            metric = _reward_accuracy(accuracy.metric.evaluation, f"{ruler.subject} is wrong")
            found.append(part_of(accuracy, metric, wrong.examples.ids))
    return found


def reward_margin(
    *, policy_chosen: float, policy_rejected: float, reference_chosen: float, reference_rejected: float, beta: float
) -> float:
    """Difference of the implicit rewards, each beta x sum of log-ratios (Rafailov et al. 2023, equation 5), in nats."""
    return beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))


def outcome(margin: float) -> float:
    """1 for a win, 0.5 for a tie, 0 for a loss; NaN for a margin that is not finite, which is none of them."""
    if not isfinite(margin):
        return nan
    return 0.5 if margin == 0 else float(margin > 0)


def count_outcomes(accuracy: MetricScores) -> Outcomes | None:
    """Counts wins, ties and losses of an accuracy of this module; None where it is missing."""
    if accuracy.missing is not None:
        return None
    wins, ties, losses = (int((accuracy.scores.totals == total).sum()) for total in (1.0, 0.5, 0.0))
    return Outcomes(wins, ties, losses)


def fit_bag_of_words(pairs: Iterable[Pair]) -> WordWeights:
    """Fits naive Bayes on which words an answer has, with Laplace smoothing.

    The weight of a word is ln((chosen answers with it + 1) / (rejected answers with it + 1)). Both sides have the same
    number of answers, so that no constant is added for each word: the number of words and unknown words have no effect.
    """
    chosen, rejected = Counter[str](), Counter[str]()
    for pair in pairs:
        chosen.update(_words(pair.chosen))
        rejected.update(_words(pair.rejected))
    return {word: log((chosen[word] + 1) / (rejected[word] + 1)) for word in chosen | rejected}


def bag_of_words_margin(weights: WordWeights, pair: Pair) -> float:
    """Log-odds of the chosen answer's words minus those of the rejected one's; words of both cancel."""
    chosen, rejected = _words(pair.chosen), _words(pair.rejected)
    won = [weights.get(word, 0.0) for word in chosen - rejected]
    lost = [-weights.get(word, 0.0) for word in rejected - chosen]
    return fsum(won + lost)  # exact, so that a tie does not depend on the order of a set


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+(?:'\w+)*", text.lower()))


def _reward_accuracy(evaluation: str, part: str = "") -> Metric:
    return Metric(
        evaluation,
        f"reward_accuracy[{part}]" if part else "reward_accuracy",
        "share of pairs",
        higher_is_better=True,
        display="percent",
        primary=not part,
        chance=0.5,
        graded_by="" if part else "reward_margin",
    )


def _by_source(pairs: Sequence[Pair], accuracy: MetricScores) -> list[MetricScores]:
    """The same scores for each source, exploratory; empty where there is one source."""
    by_source: dict[str, set[str]] = {}
    for pair in pairs:
        by_source.setdefault(pair.source, set()).add(pair.example_id)
    if len(by_source) < 2:  # noqa: PLR2004 - nothing to tell apart
        return []
    return [
        part_of(accuracy, _reward_accuracy(accuracy.metric.evaluation, source), as_texts(ids))
        for source, ids in sorted(by_source.items())
    ]


def _sums(plan: EvaluationPlan[Pair], scores: Sequence[ResponseScore]) -> dict[Request, float]:
    """Log-probability of each response, in nats."""
    return {request: score.log_probability for request, score in zip(plan.requests, scores, strict=True)}
