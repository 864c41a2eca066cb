"""The table of evaluation kinds: which rows each measures, and what prepares it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from harness.config.schema import EvaluationConfig, RowKind, SuiteConfig
from harness.measuring.evaluations.base import Evaluation, ImplicitReward, Record
from harness.measuring.evaluations.drift import DriftEvaluation
from harness.measuring.evaluations.generations import GenerationsEvaluation
from harness.measuring.evaluations.lm_eval import LmEvalEvaluation
from harness.measuring.evaluations.perplexity import PerplexityEvaluation
from harness.measuring.evaluations.reward import RewardEvaluation
from harness.measuring.experiment import Experiment
from harness.measuring.scorers import Scorers
from reports.records import EvaluationCounts


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of evaluation."""

    rows: RowKind
    """The rows that its role is read as."""
    prepare: Callable[[EvaluationConfig, Experiment, Mapping[str, ImplicitReward]], Evaluation]
    """Picks the rows and settings that it needs, and encodes them."""


KINDS: dict[str, Kind] = {
    "perplexity": Kind("examples", PerplexityEvaluation.prepare),
    "reward": Kind("pairs", RewardEvaluation.prepare),
    "lm_eval": Kind("tasks", LmEvalEvaluation.prepare),
    "generations": Kind("questions", GenerationsEvaluation.prepare),
    "drift": Kind("questions", DriftEvaluation.prepare),
}
"""Name of a kind in a suite file -> the kind; the configuration and the data read this table too."""


def row_kinds() -> dict[str, RowKind]:
    """Kind of evaluation -> the rows it measures."""
    return {name: kind.rows for name, kind in KINDS.items()}


def roles_of(suite: SuiteConfig) -> dict[RowKind, tuple[str, ...]]:
    """Rows -> the roles that the suite measures as such rows, in its order."""
    roles: dict[RowKind, dict[str, None]] = {}
    for evaluation in suite.evaluations:
        roles.setdefault(KINDS[evaluation.kind].rows, {})[evaluation.role] = None
    return {rows: tuple(names) for rows, names in roles.items()}


def prepare_suite(experiment: Experiment, rewards: Mapping[str, ImplicitReward]) -> dict[EvaluationConfig, Evaluation]:
    """Prepares every evaluation of the experiment's suite, in the suite's order.

    Args:
        experiment: rows, model and settings.
        rewards: candidate -> its implicit reward; a candidate without a reference has none.
    """
    return {
        evaluation: KINDS[evaluation.kind].prepare(evaluation, experiment, rewards)
        for evaluation in experiment.suite.evaluations
    }


def run_suite(suite: Mapping[EvaluationConfig, Evaluation], scorers: Scorers) -> Iterator[Record]:
    """Yields what every prepared evaluation measures of the subjects of one set of weights."""
    for evaluation, prepared in suite.items():
        for record in prepared.measure(scorers):
            if isinstance(record, EvaluationCounts):
                yield replace(record, suite_group=evaluation.group)
            else:
                yield record
