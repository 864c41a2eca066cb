"""KL divergence of every candidate from its reference, on answers that the candidate draws itself."""

from collections.abc import Mapping
from functools import partial

from harness.config.schema import EvaluationConfig
from harness.data.read import Dataset
from harness.measuring.evaluations.base import EvaluationInputs, EvaluationResults, ImplicitReward, count_rows
from harness.measuring.scorers import Scorers
from reports.records import MetricScores
from suites.engine.encoding import Encoder
from suites.evaluations import drift
from suites.inputs import Question


class DriftEvaluation:
    """Reads a candidate's own answers with the candidate and with its reference, position by position."""

    def __init__(
        self,
        evaluation: EvaluationConfig,
        dataset: Dataset[Question],
        questions: tuple[Question, ...],
        encoder: Encoder,
        rewards: Mapping[str, ImplicitReward],
        seed: int,
    ) -> None:
        """Keeps what is asked, and which subject each candidate is compared with."""
        self._evaluation = evaluation
        self._dataset = dataset
        self._questions = questions
        self._encoder = encoder
        self._rewards = rewards
        self._seed = seed

    @classmethod
    def prepare(cls, evaluation: EvaluationConfig, inputs: EvaluationInputs) -> "DriftEvaluation":
        """Takes the questions of the evaluation's role."""
        dataset = inputs.data.questions[evaluation.role]
        questions = inputs.sample(dataset.rows, evaluation.limit)
        return cls(evaluation, dataset, questions, inputs.encoder, inputs.rewards, inputs.seed)

    def measure(self, scorers: Scorers) -> EvaluationResults:
        """Measures the candidates whose reference is in memory; the others get a note."""
        measurements, notes = [], []
        for candidate, own in self._rewards.items():
            if candidate not in scorers.subjects:
                continue
            if own.reference in scorers.subjects:
                measurements.append(self._divergence(scorers, candidate, own.reference))
            else:
                notes.append(
                    f"{self._evaluation.name}: the KL of {candidate} from {own.reference} was not measured, because "
                    f"they have different weights."
                )
        counts = (count_rows(self._evaluation, self._dataset, self._questions),)
        return EvaluationResults(tuple(measurements), counts, notes=tuple(notes))

    def _divergence(self, scorers: Scorers, candidate: str, reference: str) -> MetricScores:
        """KL of one candidate from its reference, per token that it drew."""
        questions, name = self._questions, self._evaluation.name
        policy, anchor = partial(scorers.model, candidate), partial(scorers.model, reference)
        with scorers.terminal.progress(f"{name}: {candidate}", 2 * len(questions)) as done:
            with policy() as model:
                samples = drift.draw(
                    model,
                    self._encoder,
                    questions,
                    max_new_tokens=self._evaluation.max_new_tokens,
                    seed=self._seed,
                    progress=done,
                )
            limit, divergences = scorers.state.plan.max_logit_elements, []
            for sample in samples:
                divergences.append(drift.sample_divergence(policy, anchor, sample, max_logit_elements=limit))
                done(len(samples) + len(divergences))
        return drift.measure_divergence(questions, samples, divergences, evaluation=name, subject=candidate)
