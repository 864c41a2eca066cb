"""Which evaluations of which subjects can be measured now, and what their units need."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import Evaluation
from harness.measuring.experiment import Experiment
from harness.measuring.kinds import KINDS
from harness.measuring.lineup import Candidate
from harness.measuring.scorers import Mark
from harness.measuring.units.listing import score_key, stages_of
from harness.measuring.units.order import wanted
from harness.measuring.units.stores import DriverStore, parcel_of
from harness.measuring.units.unit import Outcome, Parcel, ScoreUnit
from harness.models.base import BASELINE
from reports.errors import UserError
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.plan import ScoringPlan


class UnkeptOutcomeError(UserError):
    """The score cache does not take what was measured."""


class Measurements:
    """The evaluations of a suite for the subjects that are there."""

    def __init__(
        self,
        experiment: Experiment,
        suite: Mapping[EvaluationConfig, Evaluation],
        cache: ScoreCache,
        plan: ScoringPlan,
        merged: Mapping[str, str],
    ) -> None:
        """Takes what is measured by.

        Args:
            experiment: The experiment.
            suite: Prepared evaluations; empty measures nothing.
            cache: The open score cache.
            plan: The plan that the driver's pass begins by.
            merged: Candidate with weights of its own -> the candidate whose adapter was merged into it.
        """
        self._experiment, self._plan, self._merged = experiment, plan, merged
        self._suite = replace(experiment.suite, evaluations=tuple(suite))
        self._store = DriverStore(cache, experiment.loaded, suite)
        self._candidates: dict[str, Candidate] = {}
        self.failed: dict[str, str] = {}
        """Subject -> why it was not measured."""

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Takes the candidates that are there by now, in the order of the report."""
        self._candidates = {each.name: each for each in candidates}

    @property
    def n_evaluations(self) -> int:
        """Evaluations of the suite; 0 where nothing is measured."""
        return len(self._suite.evaluations)

    @property
    def references(self) -> frozenset[str]:
        """Subjects that implicit rewards of the candidates are taken against."""
        return frozenset(each.reference for each in self._candidates.values() if each.reference is not None)

    def ready(self) -> Iterator[tuple[ScoreUnit, Callable[[], list[Parcel]]]]:
        """Yields the units that can be done now, those too that are being done, and what makes their parcels."""
        candidates = [each for name, each in self._candidates.items() if name not in self.failed]
        if not self._suite.evaluations:
            return
        for evaluation, name, plan in wanted(stages_of(self._suite, candidates), self._plan, self._find):
            before = () if evaluation is None else self._store.before(evaluation)
            if name not in self.failed and all(self._find(each, name, plan) is not None for each in before):
                yield self._unit(evaluation, self._candidates.get(name), plan)

    def take(self, unit: ScoreUnit, outcome: Outcome) -> None:
        """Writes what came of a unit into the score cache.

        Raises:
            UnkeptOutcomeError: It is not there afterwards, so that the same unit would be done again and again.
        """
        self._store.put(unit, outcome)
        if self._find(unit.evaluation, unit.name, unit.plan) is None:
            raise UnkeptOutcomeError(
                f"--workspace: what was measured cannot be kept ({unit.key}): make room on its disk, or end what else "
                f"uses its score cache; the same command goes on from what is kept"
            )

    def fail(self, unit: ScoreUnit, reason: str) -> None:
        """Leaves out a subject."""
        self.failed.setdefault(unit.name, f"{unit.evaluation or unit.key}: {reason}")

    def _find(self, evaluation: str | None, name: str, plan: ScoringPlan) -> Mark | None:
        candidate = self._candidates.get(name)
        reference = "" if evaluation is None else self._context_of_reference(candidate)
        return self._store.find(evaluation, candidate, plan, reference)

    def _context_of_reference(self, candidate: Candidate | None) -> str:
        """Context of a candidate's reference on the base's weights; empty where it has none there."""
        if candidate is None or candidate.reference is None:
            return ""
        reference = self._candidates.get(candidate.reference)
        is_there = candidate.reference == BASELINE or (reference is not None and reference.model is None)
        return self._store.context(reference) if is_there else ""

    def _unit(
        self, evaluation: str | None, candidate: Candidate | None, plan: ScoringPlan
    ) -> tuple[ScoreUnit, Callable[[], list[Parcel]]]:
        """A unit and the adapters that it needs: the subject's own, its reference's, or the one that was merged."""
        name = BASELINE if candidate is None else candidate.name
        needed = [name]
        if evaluation is None:
            needed = [self._merged[name]] if name in self._merged else []
        elif self._reads_reference(evaluation) and candidate is not None and candidate.reference is not None:
            needed = [candidate.reference, name]
        adapters = {each: self._key(each) for each in needed if each != BASELINE}
        unit = ScoreUnit(score_key(evaluation, name), evaluation, candidate, plan, adapters)
        return unit, partial(self._parcels, unit)

    def _reads_reference(self, evaluation: str) -> bool:
        """Whether an evaluation reads a candidate with its reference."""
        kinds = (each.kind for each in self._suite.evaluations if each.name == evaluation)
        return KINDS[next(kinds)].reads_reference

    def _key(self, name: str) -> str:
        """Key of the parcel of a candidate's adapter."""
        return self._store.fingerprint(self._candidates[name])

    def _parcels(self, unit: ScoreUnit) -> list[Parcel]:
        """Adapters as files, which are read when they are sent, and scores that count as found."""
        parcels = [parcel_of(self._candidates[name].adapter or "", key) for name, key in unit.adapters.items()]
        found = [] if unit.evaluation is None else self._store.found(unit.evaluation, unit.subject)
        return [*parcels, *([Parcel(f"scores of {unit.key}", scores=found)] if found else [])]
