"""What evaluations take and the scorer gives back: plain frozen values, no torch."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


class SuiteError(ValueError):
    """A mistake in what a suite was given; subclasses stand beside the code that raises them, messages are one line."""


Speaker = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    speaker: Speaker
    text: str


Prompt = tuple[Turn, ...]
"""The conversation up to where the answer begins; its last turn is the user's."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row whose response is scored given its prompt."""

    example_id: str
    """Hash of the content (`content_id`), never a row number."""
    group: str
    """What makes rows dependent (question, twin, first human turn): the unit of splitting, resampling, clustering."""
    prompt: Prompt
    response: str
    wrong_responses: tuple[str, ...] = ()
    """Answers the dataset calls wrong; the margin between right and wrong is reported where there are any."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair: two answers to one prompt."""

    example_id: str
    group: str
    source: str
    """Part of the dataset the pair comes from, for the report's breakdown."""
    prompt: Prompt
    chosen: str
    rejected: str
    score_gap: float | None = None
    """How much higher the dataset scores the chosen answer, where it has scores."""


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer that is known to be good or bad on its own, without another one to compare with."""

    example_id: str
    group: str
    source: str
    prompt: Prompt
    response: str
    is_good: bool


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt to be answered side by side by every subject."""

    example_id: str
    group: str
    prompt: Prompt
    kind: str = ""
    """What an answer should be like, as the dataset says it (such as "benign look-alike"), or empty."""


@dataclass(frozen=True, slots=True)
class Request:
    """The only thing the scorer knows: response token ids to score after prompt token ids. Neither is empty."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    @property
    def n_inputs(self) -> int:
        """Tokens a model computes for it: the last response token is predicted, but never an input."""
        return len(self.prompt_ids) + len(self.response_ids) - 1


@dataclass(frozen=True, slots=True)
class ResponseScore:
    """What a model says of one request's response."""

    token_log_probabilities: NDArray[np.float32]
    """Shape (n_response_tokens,), nats, from an fp32 log-softmax."""
    is_greedy: bool
    """Whether every response token was the model's most probable one."""

    @property
    def log_probability(self) -> float:
        """Sum over the response in nats, accumulated in double precision."""
        return float(self.token_log_probabilities.sum(dtype=np.float64))


Scorer = Callable[[Sequence[Request]], list[ResponseScore]]
"""Scores requests in the order given; model and options are bound by closure, so a test can pass a formula."""


def content_id(*parts: object) -> str:
    """Stable id of a row: the first 16 hex digits of the SHA-256 of its content as JSON."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _plain(value: object) -> object:
    if isinstance(value, Turn):
        return [value.speaker, value.text]
    raise TypeError(f"content_id takes texts, numbers, lists and turns, not {type(value).__name__}")
