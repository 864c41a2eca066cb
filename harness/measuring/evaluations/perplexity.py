"""Perplexity of responses given their prompts."""

from harness.config.schema import EvaluationConfig
from harness.data.read import Dataset
from harness.measuring.evaluations.base import EvaluationInputs, EvaluationResults, count_rows
from harness.measuring.example_texts import text_of_example
from harness.measuring.scorers import Scorers
from suites.engine.encoding import Encoder
from suites.evaluations import perplexity
from suites.inputs import Example


class PerplexityEvaluation:
    """Scores right responses given their prompts, and wrong ones where rows have them."""

    def __init__(
        self, evaluation: EvaluationConfig, dataset: Dataset[Example], examples: tuple[Example, ...], encoder: Encoder
    ) -> None:
        """Encodes the examples once for all subjects."""
        self._evaluation = evaluation
        self._dataset = dataset
        self._examples = examples
        self._plan = perplexity.plan(examples, encoder)

    @classmethod
    def prepare(cls, evaluation: EvaluationConfig, inputs: EvaluationInputs) -> "PerplexityEvaluation":
        """Takes the examples of the evaluation's role."""
        dataset = inputs.data.examples[evaluation.role]
        return cls(evaluation, dataset, inputs.sample(dataset.rows, evaluation.limit), inputs.encoder)

    def measure(self, scorers: Scorers) -> EvaluationResults:
        """Scores the responses and sums them up to the metrics of perplexity."""
        name = self._evaluation.name
        scores = scorers.score(name, self._plan.requests)
        return EvaluationResults(
            tuple(
                metric
                for subject in scorers.subjects
                for metric in perplexity.measure(self._plan, scores[subject], evaluation=name, subject=subject)
            ),
            (count_rows(self._evaluation, self._dataset, self._examples, self._plan.touched),),
            examples=tuple(text_of_example(row, name) for row in self._examples),
        )
