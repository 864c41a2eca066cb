"""Answers of all subjects to the same questions."""

from dataclasses import replace

from harness.config.schema import EvaluationConfig
from harness.data.read import Dataset
from harness.measuring.evaluations.base import EvaluationInputs, EvaluationResults, count_rows
from harness.measuring.scorers import Scorers
from suites.engine.decoding import Decoding
from suites.engine.encoding import Encoder
from suites.evaluations import generations
from suites.inputs import Question


class GenerationsEvaluation:
    """Lets every subject answer the same questions."""

    def __init__(
        self,
        evaluation: EvaluationConfig,
        dataset: Dataset[Question],
        questions: tuple[Question, ...],
        encoder: Encoder,
        decoding: Decoding,
    ) -> None:
        """Keeps what is asked and how answers are decoded, the same for all subjects."""
        self._evaluation = evaluation
        self._dataset = dataset
        self._questions = questions
        self._encoder = encoder
        self._decoding = decoding

    @classmethod
    def prepare(cls, evaluation: EvaluationConfig, inputs: EvaluationInputs) -> "GenerationsEvaluation":
        """Takes the questions of the evaluation's role; the experiment's settings of answers replace the suite's."""
        dataset, answers = inputs.data.questions[evaluation.role], inputs.answers
        decoding = Decoding(
            max_new_tokens=answers.max_new_tokens or evaluation.max_new_tokens,
            temperature=answers.temperature,
            top_p=answers.top_p,
            seed=inputs.seed,
        )
        evaluation = replace(evaluation, limit=answers.limit or evaluation.limit)
        return cls(evaluation, dataset, inputs.sample(dataset.rows, evaluation.limit), inputs.encoder, decoding)

    def measure(self, scorers: Scorers) -> EvaluationResults:
        """Generates the answers and measures length, emptiness, repetition and refusals."""
        answers: list[generations.Answer] = []
        for subject in scorers.subjects:
            with (
                scorers.model(subject) as model,
                scorers.terminal.progress(f"{self._evaluation.name}: {subject}", len(self._questions)) as done,
            ):
                answers += generations.answer(
                    model,
                    self._encoder,
                    self._questions,
                    evaluation=self._evaluation.name,
                    subject=subject,
                    decoding=self._decoding,
                    progress=done,
                )
        return EvaluationResults(
            tuple(generations.answer_metrics(answers, self._questions)),
            (count_rows(self._evaluation, self._dataset, self._questions),),
            tuple(answer.generation for answer in answers),
        )
