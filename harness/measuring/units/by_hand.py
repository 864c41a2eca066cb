"""One unit by hand, into a workspace that other processes may use at the same time.

Nothing but the workspace connects them: job arrays, make and the like then spread a job over machines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.config.schema import EvaluationConfig
from harness.config.wording import did_you_mean, shown_name
from harness.measuring.evaluations.base import Evaluation
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import Candidate, TrainedAdapter, train_runs, training_runs
from harness.measuring.run import first_plan
from harness.measuring.scorers import score_cache
from harness.measuring.units.doing import score_by_suite, score_on_base
from harness.measuring.units.filling import NoStoreError
from harness.measuring.units.listing import Stage, score_key, stages_of
from harness.measuring.units.unit import ScoreUnit
from harness.models.adapters import attach_adapter
from harness.models.base import load_model
from harness.training.variants import FIRST_STAGE
from reports.errors import UserError


class UnknownUnitError(UserError):
    """There is no unit of that name."""


def train_only(experiment: Experiment, name: str) -> TrainedAdapter:
    """Trains one adapter of an experiment, or reuses it; the one that it continues from comes first.

    Args:
        experiment: What to train on.
        name: Name of the adapter's candidate.

    Raises:
        UnknownUnitError: The experiment trains no such adapter.
        TrainingError: It cannot be trained.
    """
    runs = training_runs(experiment)
    check_name(name, [variant.name for variant, _ in runs])
    chosen = next(run for run in runs if run[0].name == name)
    first = [run for run in runs if run[0].name == FIRST_STAGE and chosen[0].starts_from_sft]
    return train_runs(experiment, [*first, chosen])[-1]


def measure_only(
    experiment: Experiment,
    candidates: Sequence[Candidate],
    suite: Mapping[EvaluationConfig, Evaluation],
    name: str,
) -> None:
    """Measures one subject by one evaluation into the workspace's score cache.

    Args:
        experiment: What to measure on; its base has no adapters before, and the unit's afterwards.
        candidates: In the order of the report.
        suite: The prepared evaluations.
        name: Evaluation and subject, as "preferences: baseline".

    Raises:
        UnknownUnitError: There is no such evaluation of such a subject.
        NoStoreError: There is no score cache to write into.
        UserError: An adapter or a model that does not fit.
    """
    stages = stages_of(replace(experiment.suite, evaluations=tuple(suite)), candidates)
    named = {score_key(stage.evaluation, subject): (stage, subject) for stage in stages for subject in stage.subjects}
    check_name(name, [*named])
    unit = _unit(experiment, candidates, *named[name])
    with score_cache(experiment) as cache:
        if cache is None:
            raise NoStoreError(is_wanted=experiment.use_cache)
        candidate = unit.subject
        if unit.evaluation is None:
            assert candidate is not None
            assert candidate.model is not None
            experiment.loaded.release()
            score_by_suite(load_model(candidate.model), suite, unit, cache, experiment.terminal)
            return
        named_adapters = {each.name: each.adapter for each in candidates if each.adapter is not None}
        for each in unit.adapters:
            attach_adapter(experiment.loaded, each, named_adapters[each])
        score_on_base(experiment, suite, unit, cache)


def _unit(experiment: Experiment, candidates: Sequence[Candidate], stage: Stage, subject: str) -> ScoreUnit:
    """The unit of a subject; an evaluation that reads no reference does not need its adapter, which does no harm."""
    candidate = next((each for each in candidates if each.name == subject), None)
    reference = None if candidate is None else candidate.reference
    adapted = {each.name for each in candidates if each.model is None}
    needed = [each for each in (reference, subject) if each in adapted]
    key = score_key(stage.evaluation, subject)
    return ScoreUnit(key, stage.evaluation, candidate, first_plan(experiment), dict.fromkeys(needed, ""))


def check_name(name: str, names: Sequence[str]) -> None:
    """Checks that there is a unit of a name.

    Raises:
        UnknownUnitError: There is none; lists those that there are.
    """
    if name not in names:
        known = "; ".join(map(shown_name, names))
        raise UnknownUnitError(
            f"--only {shown_name(name)}: there is no such unit{did_you_mean(name, names)}; there are: {known}"
        )
