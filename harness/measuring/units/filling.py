"""Fill the stores by units on an engine, so that the ordinary command then finds everything.

What is submitted, collected and written, and what counts as failed, is decided here, in the driver. Where a unit is
done, and how often it is begun, is the engine's.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import Evaluation
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import Candidate, candidate_of, merged_name, trained_candidates
from harness.measuring.run import Filled, first_plan
from harness.measuring.scorers import score_cache
from harness.measuring.units.attached import Attached
from harness.measuring.units.engine import Done, Engine, ForeignNodeError, UnitDied
from harness.measuring.units.inputs import check_inputs
from harness.measuring.units.measurements import Measurements
from harness.measuring.units.status import Watch
from harness.measuring.units.trainings import Trainings
from harness.measuring.units.unit import Outcome, Parcel, ScoreUnit, Tell, TrainUnit, Unit
from harness.models.base import BASELINE, LoadedModel
from reports.errors import UserError, first_line
from suites.engine.cache.score_cache import ScoreCache


class NoStoreError(UserError):
    """Units need the score cache, and there is none."""

    def __init__(self, *, is_wanted: bool) -> None:
        """Takes whether the command asks for the cache, which then cannot be opened."""
        what = "--workspace: the cache cannot be opened there" if is_wanted else "leave out --no-cache"
        super().__init__(f"what units compute is kept in the score cache alone: {what}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for, and what every process must read for it."""

    inputs: Mapping[str, str]
    """What the driver read (`inputs_of`)."""
    log: Path
    """File that tracebacks of faults are added to."""
    trains: bool = True
    """Whether the experiment's adapters are trained and measured."""
    suite: Mapping[EvaluationConfig, Evaluation] | None = None
    """Prepared evaluations; None measures nothing."""
    others: tuple[Candidate, ...] = ()
    """Candidates that exist already."""


def fill(experiment: Experiment, asked: Asked, engine: Engine, watch: Watch) -> Filled:
    """Has everything trained and measured that is not there yet, and writes it into the workspace as each unit ends.

    Args:
        experiment: What the driver read.
        asked: What is to be there in the end.
        engine: Does the units; the caller closes it.
        watch: Shows how far they are.

    Raises:
        ForeignNodeError: A process cannot prepare the job, or read something else than the driver.
        UserError: A recipe that cannot be trained, or a candidate that does not fit.
    """
    with score_cache(experiment) as cache:
        if cache is None:
            raise NoStoreError(is_wanted=experiment.use_cache)
        return _Filling(experiment, asked, engine, watch, cache).run()


class _Filling:
    """The state of one call of `fill`."""

    def __init__(self, experiment: Experiment, asked: Asked, engine: Engine, watch: Watch, cache: ScoreCache) -> None:
        self._experiment, self._asked, self._engine, self._watch = experiment, asked, engine, watch
        self._plan = first_plan(experiment)
        self._trainings = Trainings(experiment, cache) if asked.trains else None
        dtype, names = experiment.config.merged, [] if self._trainings is None else self._trainings.names
        merged = {} if dtype is None else {merged_name(name, dtype): name for name in names}
        self._measurements = Measurements(experiment, asked.suite or {}, cache, self._plan, merged)
        self._in_flight: dict[str, Unit] = {}
        self._is_complete = False
        """Whether all candidates that there will be are known."""

    def run(self) -> Filled:
        """Submits and collects until nothing is left to do."""
        while True:
            self._add_candidates()
            ready = self._ready()
            known = {unit.key: unit for unit, _ in ready} | self._in_flight
            self._watch.expect(len(known) + self._n_later(sum(isinstance(each, TrainUnit) for each in known.values())))
            for unit, make_parcels in ready:
                if unit.key not in self._in_flight:  # by another plan only once it ended by the one before
                    self._in_flight[unit.key] = unit
                    self._watch.submitted(unit)
                    self._engine.submit(unit, make_parcels())
            if not self._in_flight:
                return self._filled()
            self._take(self._engine.next_done())

    def _n_later(self, n_trained: int) -> int:
        """Units that cannot be done yet, about as many as there will be, where so many adapters can be trained now."""
        if self._trainings is None or self._is_complete:
            return 0
        n_left = self._trainings.n_left
        return n_left - n_trained + n_left * self._measurements.n_evaluations

    def _ready(self) -> list[tuple[Unit, Callable[[], list[Parcel]]]]:
        trainings = () if self._trainings is None else self._trainings.ready()
        # References come before what waits for them; a baseline that cannot be measured shows before long trainings.
        return sorted([*trainings, *self._measurements.ready()], key=lambda ready: isinstance(ready[0], TrainUnit))

    def _add_candidates(self) -> None:
        """Tells the measurements which candidates are there; full models are the last."""
        if self._is_complete:
            return
        config, others = self._experiment.config, self._asked.others
        if self._trainings is None:
            candidates, self._is_complete = list(others), True
        elif self._trainings.is_finished and self._asked.suite is not None:
            candidates = [*trained_candidates(self._experiment, self._trainings.trained, others)]
            self._is_complete = True
        else:
            candidates = [candidate_of(each, config) for each in self._trainings.trained]
        self._measurements.add(candidates)

    def _take(self, done: Done) -> None:
        """Writes what came of a unit, or leaves out what failed."""
        unit = self._in_flight.pop(done.unit.key)
        self._watch.done(done)
        if isinstance(done.failure, ForeignNodeError):
            raise done.failure
        if done.failure is not None:
            self._fail(unit, done)
            return
        assert done.outcome is not None
        check_inputs(self._asked.inputs, done.outcome.inputs, done.outcome.node)
        self._write(unit, done.outcome)

    def _write(self, unit: Unit, outcome: Outcome) -> None:
        if isinstance(unit, ScoreUnit):
            self._measurements.take(unit, outcome)
        else:
            assert self._trainings is not None
            self._trainings.take(unit, outcome)

    def _fail(self, unit: Unit, done: Done) -> None:
        """Leaves out whatever a unit's failure concerns; the traceback of a fault goes into the log."""
        assert done.failure is not None
        reason = first_line(done.failure)
        if not isinstance(done.failure, UserError | UnitDied):
            self._asked.log.parent.mkdir(parents=True, exist_ok=True)
            with self._asked.log.open("a", encoding="utf-8") as log:
                log.write(f"{unit.key}\n{done.traceback}\n")
            self._experiment.terminal.say(f"{unit.key}: the traceback is in {self._asked.log}")
            reason = f"{type(done.failure).__name__}: {reason}"
        if isinstance(unit, ScoreUnit):
            self._measurements.fail(unit, reason)
        else:
            assert self._trainings is not None
            self._trainings.fail(unit, reason)

    def _filled(self) -> Filled:
        """What is left out, in the order of the report, and why."""
        failed, needed = dict(self._measurements.failed), {BASELINE, *self._measurements.references}
        if self._trainings is not None:
            failed |= self._trainings.failed
            needed |= self._trainings.starts
            dtype = self._experiment.config.merged
            if dtype is not None:
                names = [name for name in self._trainings.merged if name in self._trainings.failed]
                failed |= {merged_name(name, dtype): f"{name} was not trained" for name in names}
        return Filled(self._plan, failed, has_report=needed.isdisjoint(failed))


def _try_adapters(loaded: LoadedModel, candidates: Sequence[Candidate]) -> None:
    """Puts existing adapters on the driver's base once, as its last pass will, which then says its notes of them.

    Raises:
        AdapterError: One does not fit; nothing was measured yet.
    """
    tried = Attached()
    tried.put_on(loaded, {each.name: Path(each.adapter) for each in candidates if each.adapter is not None})
    tried.take_off(loaded)


EngineMaker: TypeAlias = Callable[[Experiment, Mapping[str, str], Tell], Engine]
"""Makes an engine from what the driver read, as objects and as hashes, and from what takes its events."""


def fill_on(make: EngineMaker, experiment: Experiment, asked: Asked) -> Filled:
    """Fills the workspace on an engine that is made for it and closed at the end, however that comes; see `fill`."""
    _try_adapters(experiment.loaded, asked.others)
    with experiment.terminal.changing() as show:
        watch = Watch(show, experiment.terminal.say)
        with closing(make(experiment, asked.inputs, watch.tell)) as engine:
            return fill(experiment, asked, engine, watch)
