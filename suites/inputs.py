"""Inputs of evaluations and results of the scorer: plain frozen values, no torch."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reports.errors import UserError


class SuiteError(UserError):
    """A mistake in the input of a suite; subclasses are defined beside the code that raises them."""


Speaker = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    speaker: Speaker
    text: str
    details: str = ""
    """Further keys of the message for the chat template, such as tool_calls: a JSON object, or empty."""
    tools: str = ""
    """On the first turn of a conversation: the functions that it may call, as a JSON list; empty without any."""


Prompt = tuple[Turn, ...]
"""A conversation up to where the answer begins; its last turn is the user's, or the result of a tool."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row whose response is scored given its prompt."""

    example_id: str
    """Hash of the content (`content_id`), never a row number."""
    group: str
    """Key of rows that depend on each other (question, twin, first human turn): unit of splitting and resampling."""
    prompt: Prompt
    response: str
    wrong_responses: tuple[str, ...] = ()
    """Answers that the dataset calls wrong; if there are any, the margin between right and wrong is reported."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair: two answers to one prompt."""

    example_id: str
    group: str
    source: str
    """Part of the dataset that the pair comes from, for the report's breakdown."""
    prompt: Prompt
    chosen: str
    rejected: str
    score_gap: float | None = None
    """Dataset's score of the chosen answer minus that of the rejected one; None where it has no scores."""


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """One answer that is known to be good or bad, without another answer to compare it with."""

    example_id: str
    group: str
    source: str
    prompt: Prompt
    response: str
    is_good: bool


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt that every subject answers."""

    example_id: str
    group: str
    prompt: Prompt
    kind: str = ""
    """The dataset's word for the answer it asks for (such as "benign look-alike"), or empty."""


@dataclass(frozen=True, slots=True)
class Request:
    """Token ids of a response to score and of the prompt before it, neither empty: all that the scorer sees."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    @property
    def n_inputs(self) -> int:
        """Number of input tokens: all but the last response token, which is only predicted."""
        return len(self.prompt_ids) + len(self.response_ids) - 1


@dataclass(frozen=True, slots=True)
class ResponseScore:
    """A model's score of the response of one request."""

    token_log_probabilities: NDArray[np.float32]
    """Shape (n_response_tokens,), nats, from an fp32 log-softmax."""
    is_greedy: bool
    """Whether every response token is the model's most probable one."""

    @property
    def log_probability(self) -> float:
        """Sum over the response tokens in nats, accumulated in double precision."""
        return float(self.token_log_probabilities.sum(dtype=np.float64))


Scorer = Callable[[Sequence[Request]], list[ResponseScore]]
"""Scores requests in the order given. Model and options are bound by closure, so that a test can pass a formula."""


def content_id(*parts: object) -> str:
    """Returns the stable id of a row: the first 16 hex digits of the SHA-256 of its content as JSON."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _plain(value: object) -> object:
    if isinstance(value, Turn):
        more = [value.details, value.tools] if value.details or value.tools else []
        return [value.speaker, value.text, *more]
    raise TypeError(f"content_id takes texts, numbers, lists and turns, not {type(value).__name__}")
