"""What an evaluation is made from, what it does with subjects, and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.config.schema import AnswersConfig, EvaluationConfig
from harness.data.experiment_data import ExperimentData
from harness.data.read import Dataset
from harness.data.splits import Item, sample_by_group
from harness.measuring.scorers import Scorers
from reports.records import EvaluationCounts, ExampleText, Generation, MetricScores, Subject
from suites.engine.encoding import Encoder
from suites.lm_eval.tasks import TaskSet


@dataclass(frozen=True, slots=True)
class ImplicitReward:
    """beta x (log-probability by the candidate - by its reference)."""

    reference: str
    """Name of a subject that is measured before the candidate, or together with it."""
    beta: float


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """The rows and settings that evaluations are made from; each kind takes what it needs."""

    data: ExperimentData
    tasks: Mapping[str, TaskSet]
    """Name of an evaluation that measures tasks -> its tasks."""
    encoder: Encoder
    """The baseline's encoder, so that all subjects get the same token ids."""
    rewards: Mapping[str, ImplicitReward]
    """Candidate -> its implicit reward; a candidate without a reference has none."""
    answers: AnswersConfig
    """Settings of generated answers that replace the suite's."""
    seed: int
    limit: int | None = None
    """Largest number of rows of each evaluation, whatever the suite allows."""

    def sample(self, rows: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
        """The rows that are left after the evaluation's own limit and the run's."""
        return sample_by_group(rows, smaller_limit(limit, self.limit), self.seed)


@dataclass(frozen=True, slots=True)
class EvaluationResults:
    """Results of one evaluation, or of several together."""

    measurements: tuple[MetricScores, ...] = ()
    counts: tuple[EvaluationCounts, ...] = ()
    generations: tuple[Generation, ...] = ()
    examples: tuple[ExampleText, ...] = ()
    """Texts of the measured rows."""
    rulers: tuple[Subject, ...] = ()
    """Surface rulers that were measured beside the subjects."""
    notes: tuple[str, ...] = ()

    def __add__(self, other: "EvaluationResults") -> "EvaluationResults":
        return EvaluationResults(
            self.measurements + other.measurements,
            self.counts + other.counts,
            self.generations + other.generations,
            self.examples + other.examples,
            tuple(dict.fromkeys(self.rulers + other.rulers)),
            tuple(dict.fromkeys(self.notes + other.notes)),
        )


class Evaluation(Protocol):
    """One line of a suite with its rows prepared.

    It lives as long as the run: what it encodes or scores for one set of weights is there for the next.
    """

    def measure(self, scorers: Scorers) -> EvaluationResults:
        """Measures every subject on one set of weights."""
        ...


def smaller_limit(*limits: int | None) -> int | None:
    """The smallest of the limits that are set, None without any."""
    return min((limit for limit in limits if limit is not None), default=None)


def count_rows(
    evaluation: EvaluationConfig,
    dataset: Dataset[Any],
    measured: Sequence[Any],
    touched: Mapping[str, int] | None = None,
    left_out: Mapping[str, int] | None = None,
) -> EvaluationCounts:
    """Counts of an evaluation's rows: read, measured, changed, and left out with the reason.

    Args:
        evaluation: the line of the suite.
        dataset: the rows before the sample was drawn.
        measured: the rows that are measured.
        touched: rule -> measured rows it changed, such as truncation.
        left_out: reason -> sampled rows that are not measured.
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
    )
