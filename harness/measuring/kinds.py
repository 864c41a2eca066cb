"""The table of evaluation kinds: which rows each measures, and what prepares it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from harness.config.load import ConfigError
from harness.config.schema import EvaluationConfig, RowKind, SuiteConfig
from harness.config.wording import did_you_mean, listed, shown
from harness.measuring.evaluations.base import Evaluation, ImplicitReward, Record
from harness.measuring.evaluations.drift import DriftEvaluation
from harness.measuring.evaluations.generations import GenerationsEvaluation
from harness.measuring.evaluations.lm_eval import LmEvalEvaluation
from harness.measuring.evaluations.perplexity import PerplexityEvaluation
from harness.measuring.evaluations.reward import RewardEvaluation
from harness.measuring.experiment import Experiment
from harness.measuring.scorers import Scorers
from reports.errors import UserError
from reports.records import EvaluationCounts
from suites.engine.cache.kept import NotKeptError
from suites.evaluations import drift, generations, perplexity, reward
from suites.inputs import content_id


class MissingResultError(UserError):
    """Something that must be among what was computed before is not there; names evaluation and subject."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of evaluation."""

    rows: RowKind
    """The rows that its role is read as."""
    prepare: Callable[[EvaluationConfig, Experiment, Mapping[str, ImplicitReward]], Evaluation]
    """Picks the rows and settings that it needs, and encodes them."""
    metrics: tuple[str, ...] = ()
    """Names of what it measures, without a part in brackets; empty where they are not known before."""
    is_scored: bool = True
    """Whether its results are scores of requests, which may depend on the plan that they were computed by."""
    reads_reference: bool = False
    """Whether it measures candidates alone, each with its reference on the same weights."""


KINDS: dict[str, Kind] = {
    "perplexity": Kind("examples", PerplexityEvaluation.prepare, perplexity.METRICS),
    "reward": Kind("pairs", RewardEvaluation.prepare, reward.METRICS),
    "lm_eval": Kind("tasks", LmEvalEvaluation.prepare),
    "generations": Kind("questions", GenerationsEvaluation.prepare, generations.METRICS, is_scored=False),
    "drift": Kind("questions", DriftEvaluation.prepare, drift.METRICS, is_scored=False, reads_reference=True),
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


def with_rewards(
    suite: Mapping[EvaluationConfig, Evaluation], rewards: Mapping[str, ImplicitReward]
) -> dict[EvaluationConfig, Evaluation]:
    """A suite that was prepared before its candidates were there, with their implicit rewards."""
    return {
        evaluation: replace(each, rewards=rewards) if isinstance(each, RewardEvaluation | DriftEvaluation) else each
        for evaluation, each in suite.items()
    }


def check_gates(suite: SuiteConfig, tasks: Iterable[str]) -> None:
    """Checks that a suite measures what its gates are on, before anything is trained.

    Args:
        suite: evaluations and gates.
        tasks: names of the lm-eval tasks and groups that its evaluations measure.

    Raises:
        ConfigError: a gate on a metric that no evaluation has.
    """
    tasks = sorted(tasks)
    known: list[str] = []
    of_tasks: list[str] = []
    for each in suite.evaluations:
        kind = KINDS[each.kind]
        known += [f"{each.name}/{metric}" for metric in kind.metrics]
        if not kind.metrics:
            of_tasks += [f"{each.name}/{task}/" for task in tasks] if kind.rows == "tasks" else [f"{each.name}/"]
    for index, gate in enumerate(suite.gates):
        metric = gate.metric.partition("[")[0]
        if metric not in known and not metric.startswith(tuple(of_tasks)):
            hint = did_you_mean(metric, [*known, *of_tasks])
            raise ConfigError(
                f"suite {suite.name}: gates.{index}: no evaluation measures {shown(gate.metric)}{hint}; measured are: "
                f"{listed([*known, *(f'{each}...' for each in of_tasks)])}"
            )


def run_suite(suite: Mapping[EvaluationConfig, Evaluation], scorers: Scorers) -> Iterator[Record]:
    """Yields what every prepared evaluation measures of the subjects of one set of weights, and marks it as done.

    Raises:
        MissingResultError: Everything must be found in the cache, and something is not there.
    """
    for evaluation, prepared in suite.items():
        scorers.state.begin_evaluation()
        begun = scorers.state.plan
        try:
            for record in prepared.measure(scorers):
                if isinstance(record, EvaluationCounts):
                    yield replace(record, suite_group=evaluation.group)
                else:
                    yield record
        except NotKeptError as error:
            raise MissingResultError(
                f"{evaluation.name}: {error.subject}: {error.what} of it must be there and cannot be found in the "
                "score cache; start the same command again, which computes what is missing"
            ) from error
        kind = KINDS[evaluation.kind]
        for subject, content in _contents(prepared, scorers, kind).items():
            scorers.mark(subject, content, begun, is_scored=kind.is_scored)


def _contents(prepared: Evaluation, scorers: Scorers, kind: Kind) -> dict[str, str]:
    """Subject that was measured -> hash of what it was asked."""
    if scorers.cache is None:
        return {}
    content = prepared.content()
    if not kind.reads_reference:
        return dict.fromkeys(scorers.subjects, content)
    assert isinstance(prepared, DriftEvaluation)
    return {
        candidate: content_beside(content, scorers.kept(own.reference).context)
        for candidate, own in prepared.rewards.items()
        if candidate in scorers.subjects and own.reference in scorers.subjects
    }


def content_beside(content: str, reference: str) -> str:
    """Hash of what a candidate is asked that is read with its reference, whose context is given."""
    return content_id(content, reference)
