"""What an evaluation does with subjects, and the records it yields."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from harness.config.schema import EvaluationConfig
from harness.data.read import Dataset
from harness.measuring.scorers import Scorers
from harness.models.base import LoadedModel
from reports.example_texts import ExampleTexts
from reports.records import EvaluationCounts, Generation, MetricScores, Subject
from suites.engine.cache.score_cache import request_key
from suites.engine.decoding import Decoding
from suites.engine.encoding import Encoder
from suites.inputs import Question, Request, content_id


@dataclass(frozen=True, slots=True)
class ImplicitReward:
    """beta x (log-probability by the candidate - by its reference)."""

    reference: str
    """Name of a subject that is measured before the candidate, or together with it."""
    beta: float


Record: TypeAlias = MetricScores | EvaluationCounts | Generation | ExampleTexts | Subject | str
"""What a measurement yields: scores, counts of its rows, answers, texts of its rows, a surface ruler that it measured
beside the subjects, or a note for the reader."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an evaluation asks of a subject, known before anything is computed."""

    n_rows: int
    requests: tuple[Request, ...] = ()
    """Different requests to score."""
    prompts: tuple[tuple[int, ...], ...] = ()
    """Token ids of the prompts to answer."""
    max_new_tokens: int = 0
    """Largest number of tokens of an answer."""
    n_readings: int = 0
    """How often the answers are read after they were drawn; 0 where they are not."""
    is_of_candidates: bool = False
    """Whether candidates alone answer, and not the baseline."""

    @property
    def n_tokens(self) -> int:
        """Tokens of all requests, prompts and responses."""
        return sum(request.n_inputs + 1 for request in self.requests)

    @property
    def n_new_tokens(self) -> int:
        """Largest number of tokens to generate."""
        return len(self.prompts) * self.max_new_tokens


class Evaluation(Protocol):
    """One line of a suite with its rows prepared.

    It lives as long as the run: what it encodes or scores for one set of weights is there for the next.
    """

    def measure(self, scorers: Scorers) -> Iterable[Record]:
        """Measures every subject on one set of weights."""
        ...

    def work(self, loaded: LoadedModel) -> Work:
        """What `measure` would ask of each subject of these weights; computes nothing of the model."""
        ...

    def content(self) -> str:
        """Hash of everything that it asks of a subject: two with equal hashes compute the same of the same weights."""
        ...


def content_of_requests(requests: Sequence[Request]) -> str:
    """Hash of requests in their order, which decides what is computed together."""
    return hashlib.sha256(b"".join(map(request_key, requests))).hexdigest()[:16]


def content_of_questions(questions: Sequence[Question], encoder: Encoder, decoding: Decoding) -> str:
    """Hash of questions in tokens with their ids, and of how they are answered."""
    ids = [each.example_id for each in questions]
    return content_id(ids, question_conditions(questions, encoder, decoding))


def count_rows(
    evaluation: EvaluationConfig,
    dataset: Dataset[Any],
    measured: Sequence[Any],
    touched: Mapping[str, int] | None = None,
    left_out: Mapping[str, int] | None = None,
    conditions: Mapping[str, str] | None = None,
) -> EvaluationCounts:
    """Counts of an evaluation's rows: read, measured, changed, and left out with the reason.

    Args:
        evaluation: the line of the suite.
        dataset: the rows before the sample was drawn.
        measured: the rows that are measured.
        touched: rule -> measured rows it changed, such as truncation.
        left_out: reason -> sampled rows that are not measured.
        conditions: what else determines the numbers, such as a hash of the prompts.
    """
    reasons = {**dataset.left_out, **(left_out or {})}
    n_outside = len(dataset.rows) - sum((left_out or {}).values()) - len(measured)
    if n_outside:
        reasons["outside of the sample"] = n_outside
    return EvaluationCounts(
        evaluation=evaluation.name,
        dataset=dataset.origin,
        dataset_name=dataset.name,
        split=dataset.split,
        n_read=dataset.n_read,
        n_scored=len(measured),
        n_groups=len({row.group for row in measured}),
        left_out=reasons,
        touched=dict(touched or {}),
        conditions=dict(conditions or {}),
    )


def request_conditions(requests: Iterable[Request]) -> dict[str, str]:
    """The hash of prompts and answers in tokens, which has template, date and truncation in it."""
    return {"prompts and answers": content_id([(each.prompt_ids, each.response_ids) for each in requests])}


def question_conditions(questions: Iterable[Question], encoder: Encoder, decoding: Decoding) -> dict[str, str]:
    """The hash of questions in tokens, and how they are answered."""
    return {
        "prompts": content_id([encoder.prompt_ids(each.prompt) for each in questions]),
        "decoding": str(decoding),
    }
