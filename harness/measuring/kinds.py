"""The table of evaluation kinds: which rows each measures, and what prepares it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.config.schema import EvaluationConfig, RowKind, SuiteConfig
from harness.measuring.evaluations.base import Evaluation, EvaluationInputs, EvaluationResults
from harness.measuring.evaluations.drift import DriftEvaluation
from harness.measuring.evaluations.generations import GenerationsEvaluation
from harness.measuring.evaluations.lm_eval import LmEvalEvaluation
from harness.measuring.evaluations.perplexity import PerplexityEvaluation
from harness.measuring.evaluations.reward import RewardEvaluation
from harness.measuring.scorers import Scorers


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of evaluation."""

    rows: RowKind
    """The rows that its role is read as."""
    prepare: Callable[[EvaluationConfig, EvaluationInputs], Evaluation]
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


def prepare_suite(suite: SuiteConfig, inputs: EvaluationInputs) -> dict[EvaluationConfig, Evaluation]:
    """Prepares every evaluation of a suite, in the suite's order."""
    return {evaluation: KINDS[evaluation.kind].prepare(evaluation, inputs) for evaluation in suite.evaluations}


def run_suite(suite: Mapping[EvaluationConfig, Evaluation], scorers: Scorers) -> EvaluationResults:
    """Runs every prepared evaluation on the subjects of one set of weights."""
    results = EvaluationResults()
    for evaluation, prepared in suite.items():
        own = prepared.measure(scorers)
        counts = tuple(replace(each, suite_group=evaluation.group) for each in own.counts)
        results += replace(own, counts=counts)
    return results
