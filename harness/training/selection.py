"""Statistics of the selection rows during training, and the choice of a sweep's winner from them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import isfinite, nan
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.training.recipe import LogLine, RatedRequest, TrainingRow
from harness.training.variants import Variant
from reports.records import Selection, SelectionRule
from suites.inputs import Request

Statistics = dict[str, float]
"""Name of a statistic, as in training.jsonl -> its value; "n" is the number of rows."""
LOSS_TOLERANCE = 1e-6
"""Difference of mean selection losses, in nats, that counts as none: packing rows otherwise moves them by as much."""
ROUNDING_NATS = 1e-4
"""Difference of two log-probabilities of one response in fp32 that is rounding; `suites.engine.self_check` allows it
between ways to lay requests out."""
_ACCURACY = "rewards/accuracies"


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
    https://arxiv.org/abs/2305.18290, whichever loss is trained, so that recipes can be compared. A tie, of responses
    that differ by rounding alone as they all do before the first update, counts 0.5.

    Args:
        policy: log-probabilities in nats, shape (n_pairs, 2), chosen before rejected.
        reference: log-probabilities of the same responses under the reference.
        beta: DPO's beta.
    """
    rewards = beta * (np.asarray(policy, dtype=np.float64) - np.asarray(reference, dtype=np.float64))
    margins = rewards[:, 0] - rewards[:, 1]
    is_tie = np.abs(margins) <= beta * ROUNDING_NATS
    return {
        "loss": float(_softplus(-margins).mean()),  # -log sigmoid(margin)
        "rewards/chosen": float(rewards[:, 0].mean()),
        "rewards/rejected": float(rewards[:, 1].mean()),
        "rewards/accuracies": float(np.where(is_tie, 0.5, np.heaviside(margins, 0.5)).mean()),
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
    statistics: Statistics = {"loss": float(np.exp(-_softplus(signed)).mean())}  # 1 - sigmoid(reward)
    if len(good):
        statistics["rewards/chosen"] = float(good.mean())
    if len(bad):
        statistics["rewards/rejected"] = float(bad.mean())
    if len(good) and len(bad):
        tie = beta * ROUNDING_NATS
        n_below = (np.searchsorted(bad, good - tie, side="left") + np.searchsorted(bad, good + tie, side="right")) / 2
        n_compared = len(good) * len(bad)
        # A search would put NaN above all others and count it as won.
        statistics["rewards/accuracies"] = float(n_below.sum() / n_compared) if np.isfinite(rewards).all() else nan
        statistics["rewards/margins"] = float(good.mean() - bad.mean())
        statistics["n_compared"] = n_compared
    return statistics | {"n": len(rewards)}


def _softplus(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(1 + exp(x)); NaN for NaN without a warning, because whoever reads the loss looks for it."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.logaddexp(0.0, values))


def likelihood_statistics(policy: ArrayLike, n_tokens: ArrayLike) -> Statistics:
    """Return the mean negative log-likelihood in nats per response token, pooled over all answers.

    Args:
        policy: log-probabilities in nats, shape (n_answers,).
        n_tokens: number of response tokens of each answer, shape (n_answers,).
    """
    sums = np.asarray(policy, dtype=np.float64)
    return {"loss": float(-sums.sum() / np.asarray(n_tokens).sum()), "n": len(sums)}


def choose_winner(variants: Sequence[Variant], logs: Mapping[str, Sequence[LogLine]]) -> tuple[Selection, ...]:
    """Return each combination of a sweep with its last selection statistics, over all its seeds, and mark the best.

    The best has won most comparisons, counted in whole halves; a tie goes to the lower loss, and where losses are equal
    too, within `LOSS_TOLERANCE`, to the first of the sweep. A combination with a number that is not finite is listed
    and never the best. Fewer than two combinations give an empty tuple.

    Args:
        variants: all variants of the experiment.
        logs: name of a variant -> lines of its training.jsonl.
    """
    last: dict[str, list[LogLine]] = {}
    for variant in variants:
        measured = [line for line in logs[variant.name] if line["kind"] == "selection" and _ACCURACY in line]
        if measured and not variant.is_control and variant.rows == "experiment":
            last.setdefault(variant.family, []).append(measured[-1])
    if len(last) < 2:  # noqa: PLR2004 - a choice takes two
        return ()
    selections = [_selection(family, lines) for family, lines in last.items()]
    best = _best(selections)
    return tuple(best if best is not None and each.candidate == best.candidate else each for each in selections)


def _selection(family: str, lines: Sequence[LogLine]) -> Selection:
    """Return a combination's results over its seeds: sums of whole numbers, and the mean loss."""
    n = int(lines[0]["n"])
    if not all(_is_finite(line.get(key)) for line in lines for key in (_ACCURACY, "loss")):
        return Selection(family, accuracy=None, loss=None, n=n, is_winner=False)
    n_compared = [int(line["n_compared"] if "n_compared" in line else line["n"]) for line in lines]
    # An accuracy is a whole number of half wins over the comparisons; as a float it has a rounding error.
    half_wins = [round(2 * float(line[_ACCURACY]) * own) for line, own in zip(lines, n_compared, strict=True)]
    return Selection(
        family,
        accuracy=sum(half_wins) / (2 * sum(n_compared)),
        loss=fmean(float(line["loss"]) for line in lines),
        n=n,
        is_winner=False,
        n_won=sum(half_wins) / 2,
        n_compared=sum(n_compared),
    )


def _best(selections: Sequence[Selection]) -> Selection | None:
    """Return the best combination, marked as the winner, with what it ties with; None where no number is finite."""
    shares = {
        each.candidate: Fraction(each.n_won) / each.n_compared
        for each in selections
        if each.n_won is not None and each.n_compared
    }
    losses = {each.candidate: each.loss for each in selections if each.loss is not None}
    tied = [each for each in selections if each.candidate in shares and shares[each.candidate] == max(shares.values())]
    if not tied:
        return None
    lowest = min(losses[each.candidate] for each in tied)
    equal = [each for each in tied if losses[each.candidate] <= lowest + LOSS_TOLERANCE]
    decided_by: SelectionRule = "accuracy" if len(tied) == 1 else "loss" if len(equal) == 1 else "order"
    names = [each.candidate for each in (equal if decided_by == "order" else tied)]
    best = equal[0]
    return replace(
        best,
        is_winner=True,
        decided_by=decided_by,
        tied_with=tuple(name for name in names if name != best.candidate),
    )


def _is_finite(value: float | None) -> bool:
    return value is not None and isfinite(value)
