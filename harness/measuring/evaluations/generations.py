"""Answers of all subjects to the same questions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
from suites.engine.decoding import Decoding, answer_questions
from suites.engine.encoding import Encoder
from suites.evaluations import generations
from suites.inputs import Question


@dataclass(frozen=True, slots=True)
class GenerationsEvaluation:
    """Lets every subject answer the same questions."""

    evaluation: EvaluationConfig
    dataset: Dataset[Question]
    questions: tuple[Question, ...]
    """Those of the dataset's rows that are asked."""
    encoder: Encoder
    decoding: Decoding

    @classmethod
    def prepare(
        cls, evaluation: EvaluationConfig, experiment: Experiment, _rewards: Mapping[str, ImplicitReward]
    ) -> "GenerationsEvaluation":
        """Takes the questions of the evaluation's role; the experiment's settings of answers replace the suite's."""
        dataset, answers = experiment.data.questions[evaluation.role], experiment.config.answers
        decoding = Decoding(
            max_new_tokens=answers.max_new_tokens or evaluation.max_new_tokens,
            temperature=answers.temperature,
            top_p=answers.top_p,
            seed=experiment.config.seed,
        )
        questions = experiment.sample(dataset.rows, answers.limit or evaluation.limit)
        return cls(evaluation, dataset, questions, experiment.encoder, decoding)

    def work(self, _loaded: LoadedModel) -> Work:
        """The prompts of all questions."""
        prompts = tuple(tuple(self.encoder.prompt_ids(each.prompt)) for each in self.questions)
        return Work(len(prompts), prompts=prompts, max_new_tokens=self.decoding.max_new_tokens)

    def content(self) -> str:
        """Hash of the questions and of how they are answered."""
        return content_of_questions(self.questions, self.encoder, self.decoding)

    def measure(self, scorers: Scorers) -> Iterator[Record]:
        """Yields the answers, and their length, emptiness, repetition and refusals."""
        conditions = question_conditions(self.questions, self.encoder, self.decoding)
        yield count_rows(self.evaluation, self.dataset, self.questions, conditions=conditions)
        for subject in scorers.subjects:
            with (
                scorers.model(subject) as model,
                scorers.terminal.progress(f"{self.evaluation.name}: {subject}", len(self.questions)) as done,
            ):
                tokens = answer_questions(
                    model,
                    self.encoder,
                    self.questions,
                    decoding=self.decoding,
                    kept=scorers.kept(subject),
                    progress=done,
                )
            answers = generations.read_answers(
                self.questions, tokens, self.encoder.tokenizer, evaluation=self.evaluation.name, subject=subject
            )
            yield from (answer.generation for answer in answers if answer.token_ids is not None)
            yield from generations.answer_metrics(answers, self.questions)
