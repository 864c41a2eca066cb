"""lm-eval's tasks through its own evaluator."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import ImplicitReward, Record, Work
from harness.measuring.example_texts import shortened
from harness.measuring.experiment import Experiment
from harness.measuring.scorers import Scorers
from harness.models.base import LoadedModel
from harness.terminal import Done
from reports.example_texts import ExampleTexts
from suites.engine.encoding import Encoder
from suites.engine.scoring import ModelScorer
from suites.inputs import content_id
from suites.lm_eval.loading import TaskSet
from suites.lm_eval.tasks import TaskResult, content_of_tasks, run_tasks

if TYPE_CHECKING:
    from suites.lm_eval.model import ScorerLM


@dataclass(frozen=True, slots=True)
class LmEvalEvaluation:
    """Runs the tasks of one evaluation, subject after subject, on the project's scoring engine."""

    evaluation: EvaluationConfig
    tasks: TaskSet
    """The tasks with their rows, which were read once for all subjects."""
    encoder: Encoder

    @classmethod
    def prepare(
        cls, evaluation: EvaluationConfig, experiment: Experiment, _rewards: Mapping[str, ImplicitReward]
    ) -> "LmEvalEvaluation":
        """Takes the tasks of the evaluation."""
        return cls(evaluation, experiment.tasks[evaluation.name], experiment.encoder)

    def work(self, loaded: LoadedModel) -> Work:
        """What lm-eval's evaluator asks, found by letting it ask a model that answers at once."""
        from suites.lm_eval.counting import CountingLM

        lm = CountingLM(loaded.base, self.encoder.tokenizer)
        tasks = {f"{self.evaluation.name}/{name}" for name in self.tasks.tasks}  # a group has the rows of its tasks
        n_rows = sum(each.counts.n_scored for each in self._run(lm, "") if each.counts.evaluation in tasks)
        return Work(n_rows, lm.asked, prompts=lm.prompts, max_new_tokens=lm.max_new_tokens)

    def content(self) -> str:
        """Hash of the tasks, of their settings, of the rows that are asked, and of how prompts are rendered."""
        tokenizer, is_templated = self.encoder.tokenizer, self.evaluation.chat_template
        rendered = [tokenizer.chat_template, self.encoder.system_prompt] if is_templated else []
        return content_id(content_of_tasks(self.tasks), rendered)

    def measure(self, scorers: Scorers) -> Iterator[Record]:
        """Yields lm-eval's own metrics of every task and subject."""
        from suites.lm_eval.model import ScorerLM

        lm = ScorerLM(scorers.loaded.base, self.encoder.tokenizer)

        def run(subject: str, scorer: ModelScorer, done: Done) -> list[TaskResult]:
            lm.scored_by(
                lambda requests: scorer.score(requests, partial(done, total=len(set(requests)))), scorers.kept(subject)
            )
            return self._run(lm, subject)

        results = scorers.each(self.evaluation.name, None, run)
        for task in next(iter(results.values())):  # every subject has the same rows
            yield task.counts
            yield ExampleTexts(partial(map, shortened, task.texts))
        for task in (task for tasks in results.values() for task in tasks):
            yield from task.measurements
            yield task.note

    def _run(self, lm: "ScorerLM", subject: str) -> list[TaskResult]:
        return run_tasks(
            lm,
            self.tasks,
            evaluation=self.evaluation.name,
            subject=subject,
            chat_template=self.evaluation.chat_template,
            system_prompt=self.encoder.system_prompt if self.evaluation.chat_template else None,
        )
