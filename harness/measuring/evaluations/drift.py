"""KL divergence of every candidate from its reference, on answers that the candidate draws itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from harness.config.schema import EvaluationConfig
from harness.data.read import Dataset
from harness.measuring.evaluations.base import (
    ImplicitReward,
    Record,
    Work,
    content_of_questions,
    count_rows,
    question_conditions,
)
from harness.measuring.experiment import Experiment
from harness.measuring.scorers import Scorers
from harness.models.base import LoadedModel
from reports.records import MetricScores
from suites.engine.decoding import AnswerTokens, Decoding, answer_questions
from suites.engine.encoding import Encoder
from suites.evaluations import drift
from suites.inputs import Question


@dataclass(frozen=True, slots=True)
class DriftEvaluation:
    """Reads a candidate's own answers with the candidate and with its reference, position by position."""

    evaluation: EvaluationConfig
    dataset: Dataset[Question]
    questions: tuple[Question, ...]
    """Those of the dataset's rows that are asked."""
    encoder: Encoder
    rewards: Mapping[str, ImplicitReward]
    """Candidate -> its implicit reward, whose reference it is compared with."""
    decoding: Decoding
    """From the candidate's own distribution: temperature 1, no nucleus."""

    @classmethod
    def prepare(
        cls, evaluation: EvaluationConfig, experiment: Experiment, rewards: Mapping[str, ImplicitReward]
    ) -> "DriftEvaluation":
        """Takes the questions of the evaluation's role."""
        dataset = experiment.data.questions[evaluation.role]
        questions = experiment.sample(dataset.rows, evaluation.limit)
        decoding = Decoding(evaluation.max_new_tokens, temperature=1.0, seed=experiment.config.seed)
        return cls(evaluation, dataset, questions, experiment.encoder, rewards, decoding)

    def work(self, _loaded: LoadedModel) -> Work:
        """The prompts of all questions, whose answers candidate and reference read."""
        prompts = tuple(tuple(self.encoder.prompt_ids(each.prompt)) for each in self.questions)
        return Work(
            len(prompts),
            prompts=prompts,
            max_new_tokens=self.decoding.max_new_tokens,
            n_readings=2,
            is_of_candidates=True,
        )

    def content(self) -> str:
        """Hash of the questions and of how they are answered."""
        return content_of_questions(self.questions, self.encoder, self.decoding)

    def measure(self, scorers: Scorers) -> Iterator[Record]:
        """Yields the KL of the candidates whose reference is in memory; the others get a note."""
        conditions = question_conditions(self.questions, self.encoder, self.decoding)
        yield count_rows(self.evaluation, self.dataset, self.questions, conditions=conditions)
        for candidate, own in self.rewards.items():
            if candidate not in scorers.subjects:
                continue
            if own.reference in scorers.subjects:
                yield self._divergence(scorers, candidate, own.reference)
            else:
                yield (
                    f"{self.evaluation.name}: the KL of {candidate} from {own.reference} was not measured, because "
                    f"they have different weights."
                )

    def _divergence(self, scorers: Scorers, candidate: str, reference: str) -> MetricScores:
        """KL of one candidate from its reference, per token that it drew."""
        questions, name, kept = self.questions, self.evaluation.name, scorers.kept(candidate)
        with scorers.terminal.progress(f"{name}: {candidate}", 2 * len(questions)) as done:
            with scorers.model(candidate) as model:
                samples = answer_questions(
                    model, self.encoder, questions, decoding=self.decoding, kept=kept, progress=done
                )
            divergences = []
            for sample in samples:
                divergences.append(_kept_or_measured(scorers, candidate, reference, sample))
                done(len(samples) + len(divergences))
        return drift.measure_divergence(questions, samples, divergences, evaluation=name, subject=candidate)


def _kept_or_measured(scorers: Scorers, candidate: str, reference: str, sample: AnswerTokens) -> float:
    """The divergence on one answer in nats: what an earlier run kept, or measured now.

    How many logits are computed at a time is no part of its key: it changes the order of a sum in double precision.
    """
    kept, anchor = scorers.kept(candidate), scorers.kept(reference).context
    answer = (anchor, list(sample.input_ids), len(sample.prompt_ids), sample.is_finite)
    nats: float | None = kept.find("divergence", *answer)
    if nats is None:
        nats = drift.sample_divergence(
            partial(scorers.model, candidate),
            partial(scorers.model, reference),
            sample,
            max_logit_elements=scorers.state.plan.max_logit_elements,
        )
        kept.keep(nats, "divergence", *answer)
    return nats
