"""Statistics of the selection rows during training, and the choice of a sweep's winner from them."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.training.recipe import LogLine, RatedRequest, TrainingRow
from harness.training.variants import Variant
from reports.records import Selection
from suites.inputs import Request

Statistics = dict[str, float]
"""Name of a statistic, as in training.jsonl -> its value; "n" is the number of rows."""


def selection_statistics(
    rows: Sequence[TrainingRow], policy: NDArray[np.float64], reference: NDArray[np.float64], beta: float
) -> Statistics:
    """Return the statistics that suit the kind of the rows.

    Args:
        rows: at least one row, all of one kind.
        policy: log-probabilities in nats of `requests_of(rows)`, shape (n_requests,).
        reference: log-probabilities of the same requests under the reference.
        beta: factor of implicit rewards.
    """
    rated = [row for row in rows if isinstance(row, RatedRequest)]
    if rated:
        return rated_statistics(policy, reference, [row.is_good for row in rated], beta)
    plain = [row for row in rows if isinstance(row, Request)]
    if plain:
        return likelihood_statistics(policy, [len(row.response_ids) for row in plain])
    return preference_statistics(policy.reshape(-1, 2), reference.reshape(-1, 2), beta)


def preference_statistics(policy: ArrayLike, reference: ArrayLike, beta: float) -> Statistics:
    """Return loss, rewards and accuracy over preference pairs.

    The reward of a response is beta x (log p_policy - log p_reference). The loss is DPO's sigmoid loss, equation 7 of
    https://arxiv.org/abs/2305.18290, whichever loss is trained, so that recipes can be compared. A tie counts 0.5.

    Args:
        policy: log-probabilities in nats, shape (n_pairs, 2), chosen before rejected.
        reference: log-probabilities of the same responses under the reference.
        beta: DPO's beta.
    """
    rewards = beta * (np.asarray(policy, dtype=np.float64) - np.asarray(reference, dtype=np.float64))
    margins = rewards[:, 0] - rewards[:, 1]
    return {
        "loss": float(np.logaddexp(0.0, -margins).mean()),  # -log sigmoid(margin)
        "rewards/chosen": float(rewards[:, 0].mean()),
        "rewards/rejected": float(rewards[:, 1].mean()),
        "rewards/accuracies": float(np.heaviside(margins, 0.5).mean()),
        "rewards/margins": float(margins.mean()),
        "n": len(margins),
    }


def rated_statistics(policy: ArrayLike, reference: ArrayLike, is_good: Sequence[bool], beta: float) -> Statistics:
    """Return loss, rewards and accuracy over rated answers, without those that need a rating no answer has.

    Rewards are those of `preference_statistics`. The accuracy is the probability that a good answer has a higher reward
    than a bad one, where a tie counts 0.5: the Mann-Whitney U statistic over n_good x n_bad. The loss is KTO's,
    equation 8 of https://arxiv.org/abs/2402.01306, with both weights 1 and the reference point (the KL term) at 0.

    Args:
        policy: log-probabilities in nats, shape (n_answers,).
        reference: log-probabilities of the same answers under the reference.
        is_good: rating of each answer.
        beta: KTO's beta.
    """
    rewards = beta * (np.asarray(policy, dtype=np.float64) - np.asarray(reference, dtype=np.float64))
    good, bad = rewards[np.asarray(is_good, dtype=bool)], np.sort(rewards[~np.asarray(is_good, dtype=bool)])
    signed = np.concatenate([good, -bad])
    statistics: Statistics = {"loss": float(np.exp(-np.logaddexp(0.0, signed)).mean())}  # 1 - sigmoid(reward)
    if len(good):
        statistics["rewards/chosen"] = float(good.mean())
    if len(bad):
        statistics["rewards/rejected"] = float(bad.mean())
    if len(good) and len(bad):
        n_below = (np.searchsorted(bad, good, side="left") + np.searchsorted(bad, good, side="right")) / 2
        statistics["rewards/accuracies"] = float(n_below.mean() / len(bad))
        statistics["rewards/margins"] = float(good.mean() - bad.mean())
    return statistics | {"n": len(rewards)}


def likelihood_statistics(policy: ArrayLike, n_tokens: ArrayLike) -> Statistics:
    """Return the mean negative log-likelihood in nats per response token, pooled over all answers.

    Args:
        policy: log-probabilities in nats, shape (n_answers,).
        n_tokens: number of response tokens of each answer, shape (n_answers,).
    """
    sums = np.asarray(policy, dtype=np.float64)
    return {"loss": float(-sums.sum() / np.asarray(n_tokens).sum()), "n": len(sums)}


def choose_winner(variants: Sequence[Variant], logs: Mapping[str, Sequence[LogLine]]) -> tuple[Selection, ...]:
    """Return each combination of a sweep with its last selection statistics, averaged over seeds, and mark the best.

    The best has the highest accuracy; a tie goes to the lower loss. Fewer than two combinations give an empty tuple.

    Args:
        variants: all variants of the experiment.
        logs: name of a variant -> lines of its training.jsonl.
    """
    last: dict[str, list[LogLine]] = {}
    for variant in variants:
        measured = [line for line in logs[variant.name] if line["kind"] == "selection" and _is_comparable(line)]
        if measured and not variant.is_control and variant.rows == "experiment":
            last.setdefault(variant.family, []).append(measured[-1])
    if len(last) < 2:  # noqa: PLR2004 - a choice takes two
        return ()

    def mean(family: str, key: str) -> float:
        return sum(float(line[key]) for line in last[family]) / len(last[family])

    def better_first(family: str) -> tuple[float, float]:
        return -mean(family, "rewards/accuracies"), mean(family, "loss")

    winner = min(last, key=better_first)
    return tuple(
        Selection(
            family,
            accuracy=mean(family, "rewards/accuracies"),
            loss=mean(family, "loss"),
            n=int(last[family][0]["n"]),
            is_winner=family == winner,
        )
        for family in last
    )


def _is_comparable(line: LogLine) -> bool:
    """Return whether a log line has a finite accuracy and a finite loss."""
    return all(isfinite(line.get(key, nan)) for key in ("rewards/accuracies", "loss"))
