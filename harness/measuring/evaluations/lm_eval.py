"""lm-eval's tasks through its own evaluator."""

from functools import partial

from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import EvaluationInputs, EvaluationResults
from harness.measuring.example_texts import shortened
from harness.measuring.scorers import Scorers
from harness.terminal import Done
from suites.engine.encoding import Encoder
from suites.engine.scoring import ModelScorer
from suites.lm_eval.tasks import TaskResult, TaskSet, run_tasks


class LmEvalEvaluation:
    """Runs the tasks of one evaluation, subject after subject, on the project's scoring engine."""

    def __init__(self, evaluation: EvaluationConfig, tasks: TaskSet, encoder: Encoder) -> None:
        """Keeps the tasks, whose rows were read once for all subjects."""
        self._evaluation = evaluation
        self._tasks = tasks
        self._encoder = encoder

    @classmethod
    def prepare(cls, evaluation: EvaluationConfig, inputs: EvaluationInputs) -> "LmEvalEvaluation":
        """Takes the tasks of the evaluation."""
        return cls(evaluation, inputs.tasks[evaluation.name], inputs.encoder)

    def measure(self, scorers: Scorers) -> EvaluationResults:
        """Collects lm-eval's own metrics of every task and subject."""
        from suites.lm_eval.model import ScorerLM

        lm = ScorerLM(scorers.loaded.base, self._encoder.tokenizer)

        def run(subject: str, scorer: ModelScorer, done: Done) -> list[TaskResult]:
            lm.scored_by(lambda requests: scorer.score(requests, partial(done, total=len(set(requests)))))
            return run_tasks(
                lm,
                self._tasks,
                evaluation=self._evaluation.name,
                subject=subject,
                chat_template=self._evaluation.chat_template,
                system_prompt=self._encoder.system_prompt if self._evaluation.chat_template else None,
            )

        results = scorers.each(self._evaluation.name, None, run)
        first = next(iter(results.values()))
        return EvaluationResults(
            tuple(metric for tasks in results.values() for task in tasks for metric in task.measurements),
            tuple(task.counts for task in first),
            examples=tuple(shortened(text) for task in first for text in task.texts),
            notes=tuple(dict.fromkeys(task.note for tasks in results.values() for task in tasks)),
        )
