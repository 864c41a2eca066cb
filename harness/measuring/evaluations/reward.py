"""Implicit rewards of candidates on held-out pairs, next to what surface rulers reach on the same pairs."""

from collections.abc import Mapping, Sequence

from harness.config.schema import EvaluationConfig
from harness.data.read import Dataset
from harness.measuring.evaluations.base import EvaluationInputs, EvaluationResults, ImplicitReward, count_rows
from harness.measuring.example_texts import text_of_pair
from harness.measuring.scorers import Scorers
from harness.models.base import BASELINE
from reports.records import MetricScores, Subject
from suites.evaluations import drift, reward
from suites.evaluations.plan import EvaluationPlan
from suites.inputs import Pair, ResponseScore


class RewardEvaluation:
    """Scores both answers of every pair and takes each candidate's reward against its reference."""

    def __init__(
        self,
        evaluation: EvaluationConfig,
        dataset: Dataset[Pair],
        plan: EvaluationPlan[Pair],
        rulers: Sequence[MetricScores],
        rewards: Mapping[str, ImplicitReward],
    ) -> None:
        """Keeps the encoded pairs and the rulers' outcomes on them for all subjects."""
        self._evaluation = evaluation
        self._dataset = dataset
        self._plan = plan
        self._rulers = tuple(rulers)
        self._rewards = rewards
        self._scores: dict[
            str, list[ResponseScore]
        ] = {}  # of all subjects so far: one may be the reference of a later subject

    @classmethod
    def prepare(cls, evaluation: EvaluationConfig, inputs: EvaluationInputs) -> "RewardEvaluation":
        """Encodes the pairs of the evaluation's role, and fits the bag of words on the training pairs."""
        dataset = inputs.data.pairs[evaluation.role]
        plan = reward.plan(inputs.sample(dataset.rows, evaluation.limit), inputs.encoder)
        fitted_on = [row for row in inputs.data.training if isinstance(row, Pair)]
        rulers = reward.rulers(plan.rows, fitted_on, evaluation=evaluation.name)
        return cls(evaluation, dataset, plan, rulers, inputs.rewards)

    def measure(self, scorers: Scorers) -> EvaluationResults:
        """Measures preferences of every subject, rewards and drift of candidates, and rulers beside the baseline."""
        name, plan = self._evaluation.name, self._plan
        self._scores |= scorers.score(name, plan.requests)
        preferences = tuple(
            metric
            for subject in scorers.subjects
            for metric in reward.measure_preferences(plan, self._scores[subject], evaluation=name, subject=subject)
        )
        results = EvaluationResults(
            preferences,
            (count_rows(self._evaluation, self._dataset, plan.rows, plan.touched, plan.left_out),),
            examples=tuple(text_of_pair(pair, name) for pair in plan.rows),
        )
        for candidate, own in self._rewards.items():
            if candidate in scorers.subjects:
                results += self._rewarded(candidate, own)
        if BASELINE not in scorers.subjects:
            return results
        judges = tuple(
            Subject(ruler.subject, "ruler", "judges by the surface of the answers alone") for ruler in self._rulers
        )
        return results + EvaluationResults(self._rulers, rulers=judges)

    def _rewarded(self, candidate: str, own: ImplicitReward) -> EvaluationResults:
        """Reward accuracy and margin, accuracy where rulers are wrong, and drift of one candidate."""
        name, plan = self._evaluation.name, self._plan
        scores, reference_scores = self._scores[candidate], self._scores[own.reference]
        rewards = reward.measure(plan, scores, reference_scores, beta=own.beta, evaluation=name, subject=candidate)
        outcomes = reward.count_outcomes(rewards[0])
        log_ratios = drift.measure_log_ratios(plan, scores, reference_scores, evaluation=name, subject=candidate)
        note = (
            f"{name}: {candidate} prefers the chosen answer in {outcomes.wins} pairs, ties in {outcomes.ties}, "
            f"prefers the rejected one in {outcomes.losses}."
        )
        return EvaluationResults(
            (*rewards, *reward.where_rulers_err(rewards[0], self._rulers), *log_ratios), notes=(note,)
        )
