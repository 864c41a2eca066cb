"""Perplexity of responses given their prompts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.config.schema import EvaluationConfig
from harness.data.read import Dataset
from harness.measuring.evaluations.base import (
    ImplicitReward,
    Record,
    Work,
    content_of_requests,
    count_rows,
    request_conditions,
)
from harness.measuring.example_texts import text_of_example, texts_of_rows
from harness.measuring.experiment import Experiment
from harness.measuring.scorers import Scorers
from harness.models.base import LoadedModel
from suites.evaluations import perplexity
from suites.evaluations.plan import EvaluationPlan
from suites.inputs import Example


@dataclass(frozen=True, slots=True)
class PerplexityEvaluation:
    """Scores right responses given their prompts, and wrong ones where rows have them."""

    evaluation: EvaluationConfig
    dataset: Dataset[Example]
    plan: EvaluationPlan[Example]
    """The examples that are measured, encoded once for all subjects."""

    @classmethod
    def prepare(
        cls, evaluation: EvaluationConfig, experiment: Experiment, _rewards: Mapping[str, ImplicitReward]
    ) -> "PerplexityEvaluation":
        """Encodes the examples of the evaluation's role."""
        dataset = experiment.data.examples[evaluation.role]
        examples = experiment.sample(dataset.rows, evaluation.limit)
        return cls(evaluation, dataset, perplexity.plan(examples, experiment.encoder))

    def work(self, _loaded: LoadedModel) -> Work:
        """The requests of all rows."""
        return Work(len(self.plan.rows), self.plan.requests)

    def content(self) -> str:
        """Hash of the requests."""
        return content_of_requests(self.plan.requests)

    def measure(self, scorers: Scorers) -> Iterator[Record]:
        """Scores the responses, and yields what they sum up to: the metrics of perplexity."""
        name, plan = self.evaluation.name, self.plan
        scores = scorers.score(name, plan.requests)
        conditions = request_conditions(plan.requests)
        yield count_rows(self.evaluation, self.dataset, plan.rows, plan.touched, conditions=conditions)
        yield texts_of_rows(text_of_example, plan.rows, name)
        for subject in scorers.subjects:
            yield from perplexity.measure(plan, scores[subject], evaluation=name, subject=subject)
