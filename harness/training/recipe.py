"""What a training run is given, and what is computed of its rows: kinds of rows, the recipe, statistics of selection.

The kinds are those of the methods: pairs for dpo, rated requests for kto, requests for sft.
"""

import resource
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.config.schema import LoraConfig, TrainingConfig
from reports.errors import UserError
from suites.inputs import Request

Row = dict[str, Any]
"""A line of training.jsonl; its "kind" is train, selection or summary."""

Progress = Callable[[int, int, Row], None]
"""Called with steps done, steps in all, and the row just kept, or one of kind "scoring" that is not kept."""

KINDS = {"dpo": "pairs", "kto": "rated answers", "sft": "answers"}
"""Method -> what its training rows are called."""


class TrainingError(UserError):
    """The recipe cannot be trained as it is configured."""


class TrainingStartError(TrainingError):
    """The first loss is not the one that a run has by definition where policy and reference are the same."""


class TokenPair(Protocol):
    """A preference pair as token ids, as the project's one encoder makes it."""

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """Of the prompt, the same for both sides."""
        ...

    @property
    def chosen_ids(self) -> tuple[int, ...]:
        """Of the chosen response."""
        ...

    @property
    def rejected_ids(self) -> tuple[int, ...]:
        """Of the rejected response."""
        ...


@dataclass(frozen=True, slots=True)
class RatedRequest:
    """An answer as token ids that is known to be good or bad on its own."""

    request: Request
    is_good: bool


TrainingRow = TokenPair | RatedRequest | Request


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """What is trained on, and what a recipe's winner is chosen by; no group is in both.

    Each holds rows of one kind. The kind of selection rows may be another: fine-tuning on chosen answers is then
    measured on pairs, as the preference tuning is that it stands beside.
    """

    training: Sequence[TrainingRow]
    selection: Sequence[TrainingRow] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How it is trained."""

    lora: LoraConfig
    training: TrainingConfig
    seed: int
    """Of the adapter's first weights, the order of rows and dropout."""


def kind_of(row: TrainingRow) -> str:
    """What a row is called: one of the values of `KINDS`."""
    match row:
        case Request():
            return KINDS["sft"]
        case RatedRequest():
            return KINDS["kto"]
        case _:
            return KINDS["dpo"]


def requests_of(rows: Iterable[TrainingRow]) -> list[Request]:
    """Everything that rows hold for a scorer; of a pair the chosen side, then the rejected one."""
    requests: list[Request] = []
    for row in rows:
        match row:
            case Request():
                requests.append(row)
            case RatedRequest():
                requests.append(row.request)
            case _:
                prompt_ids = tuple(row.prompt_ids)
                requests += [Request(prompt_ids, tuple(ids)) for ids in (row.chosen_ids, row.rejected_ids)]
    return requests


def selection_statistics(
    rows: Sequence[TrainingRow], policy: NDArray[np.float64], reference: NDArray[np.float64], beta: float
) -> Row:
    """The statistics that belong to a kind of rows.

    Args:
        rows: of one kind, at least one.
        policy: log-probabilities in nats of `requests_of(rows)`, shape (n_requests,).
        reference: likewise.
        beta: factor of implicit rewards.
    """
    rated = [row for row in rows if isinstance(row, RatedRequest)]
    if rated:
        return rated_statistics(policy, reference, [row.is_good for row in rated], beta)
    plain = [row for row in rows if isinstance(row, Request)]
    if plain:
        return likelihood_statistics(policy, [len(row.response_ids) for row in plain])
    return preference_statistics(policy.reshape(-1, 2), reference.reshape(-1, 2), beta)


def preference_statistics(policy: ArrayLike, reference: ArrayLike, beta: float) -> Row:
    """Loss, rewards and accuracy over pairs.

    A reward is beta x (log p_policy - log p_reference) of a response; the loss is DPO's sigmoid loss, equation 7 of
    https://arxiv.org/abs/2305.18290, whatever loss is trained; equal rewards count 0.5.

    Args:
        policy: log-probabilities in nats, shape (n_pairs, 2), chosen before rejected.
        reference: likewise.
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


def rated_statistics(policy: ArrayLike, reference: ArrayLike, is_good: Sequence[bool], beta: float) -> Row:
    """Loss, rewards and accuracy over rated answers; what needs a kind of answer that is missing is left out.

    Rewards as in `preference_statistics`. The accuracy is the probability that a good answer has a higher reward than
    a bad one, equal ones counting 0.5: the Mann-Whitney U statistic over n_good x n_bad. The loss is KTO's, equation 8
    of https://arxiv.org/abs/2402.01306, with both weights 1 and its reference point (the KL term) at 0.

    Args:
        policy: log-probabilities in nats, shape (n_answers,).
        reference: likewise.
        is_good: of each answer.
        beta: KTO's beta.
    """
    rewards = beta * (np.asarray(policy, dtype=np.float64) - np.asarray(reference, dtype=np.float64))
    good, bad = rewards[np.asarray(is_good, dtype=bool)], np.sort(rewards[~np.asarray(is_good, dtype=bool)])
    signed = np.concatenate([good, -bad])
    row: Row = {"loss": float(np.exp(-np.logaddexp(0.0, signed)).mean())}  # 1 - sigmoid(reward)
    if len(good):
        row["rewards/chosen"] = float(good.mean())
    if len(bad):
        row["rewards/rejected"] = float(bad.mean())
    if len(good) and len(bad):
        n_below = (np.searchsorted(bad, good, side="left") + np.searchsorted(bad, good, side="right")) / 2
        row["rewards/accuracies"] = float(n_below.mean() / len(bad))
        row["rewards/margins"] = float(good.mean() - bad.mean())
    return row | {"n": len(rewards)}


def likelihood_statistics(policy: ArrayLike, n_tokens: ArrayLike) -> Row:
    """Mean negative log-likelihood in nats a response token, pooled over answers.

    Args:
        policy: log-probabilities in nats, shape (n_answers,).
        n_tokens: response tokens, likewise.
    """
    sums = np.asarray(policy, dtype=np.float64)
    return {"loss": float(-sums.sum() / np.asarray(n_tokens).sum()), "n": len(sums)}


def peak_memory_bytes(device: str) -> int:
    """The most memory in use so far: torch's on a GPU, the process's on a CPU."""
    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes
