"""Implicit rewards of candidates on held-out pairs, next to what surface rulers reach on the same pairs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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
from harness.measuring.example_texts import text_of_pair, texts_of_rows
from harness.measuring.experiment import Experiment
from harness.measuring.scorers import Scorers
from harness.models.base import BASELINE, LoadedModel
from reports.records import MetricScores, Subject
from suites.evaluations import drift, reward
from suites.evaluations.plan import EvaluationPlan
from suites.inputs import Pair, ResponseScore


@dataclass(frozen=True, slots=True)
class RewardEvaluation:
    """Scores both answers of every pair and takes each candidate's reward against its reference."""

    evaluation: EvaluationConfig
    dataset: Dataset[Pair]
    plan: EvaluationPlan[Pair]
    """The pairs that are measured, encoded once for all subjects."""
    rulers: Sequence[MetricScores]
    """Reward accuracies of the surface rulers on these pairs."""
    rewards: Mapping[str, ImplicitReward]
    """Candidate -> its implicit reward."""
    _scores: dict[str, list[ResponseScore]] = field(default_factory=dict)
    """Subject -> its scores; of all subjects so far, because one may be the reference of a later one."""

    @classmethod
    def prepare(
        cls, evaluation: EvaluationConfig, experiment: Experiment, rewards: Mapping[str, ImplicitReward]
    ) -> "RewardEvaluation":
        """Encodes the pairs of the evaluation's role, and fits the bag of words on the training pairs."""
        dataset = experiment.data.pairs[evaluation.role]
        plan = reward.plan(experiment.sample(dataset.rows, evaluation.limit), experiment.encoder)
        fitted_on = [row for row in experiment.data.training if isinstance(row, Pair)]
        return cls(evaluation, dataset, plan, reward.rulers(plan.rows, fitted_on, evaluation=evaluation.name), rewards)

    def work(self, _loaded: LoadedModel) -> Work:
        """The requests of all rows."""
        return Work(len(self.plan.rows), self.plan.requests)

    def content(self) -> str:
        """Hash of the requests."""
        return content_of_requests(self.plan.requests)

    def measure(self, scorers: Scorers) -> Iterator[Record]:
        """Yields preferences of every subject, rewards and drift of candidates, and rulers beside the baseline."""
        name, plan = self.evaluation.name, self.plan
        self._scores.update(scorers.score(name, plan.requests))
        conditions = request_conditions(plan.requests)
        yield count_rows(self.evaluation, self.dataset, plan.rows, plan.touched, plan.left_out, conditions)
        yield texts_of_rows(text_of_pair, plan.rows, name)
        for subject in scorers.subjects:
            yield from reward.measure_preferences(plan, self._scores[subject], evaluation=name, subject=subject)
        for candidate, own in self.rewards.items():
            if candidate in scorers.subjects:
                yield from self._rewarded(candidate, own)
        if BASELINE in scorers.subjects:
            for ruler in self.rulers:
                yield ruler
                yield Subject(ruler.subject, "ruler", "judges by the surface of the answers alone")

    def _rewarded(self, candidate: str, own: ImplicitReward) -> Iterator[Record]:
        """Reward accuracy and margin, accuracy where rulers are wrong, and drift of one candidate."""
        name, plan = self.evaluation.name, self.plan
        scores, reference_scores = self._scores[candidate], self._scores[own.reference]
        rewards = reward.measure(plan, scores, reference_scores, beta=own.beta, evaluation=name, subject=candidate)
        yield from rewards
        yield from reward.where_rulers_err(rewards[0], self.rulers)
        yield from drift.measure_log_ratios(plan, scores, reference_scores, evaluation=name, subject=candidate)
        outcomes = reward.count_outcomes(rewards[0])
        if outcomes is not None:
            yield (
                f"{name}: {candidate} prefers the chosen answer in {outcomes.wins} pairs, ties in {outcomes.ties}, "
                f"prefers the rejected one in {outcomes.losses}."
            )
