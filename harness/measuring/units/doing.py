"""Do one unit, in any process."""

import atexit
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from harness.config.schema import EvaluationConfig
from harness.measuring.evaluations.base import Evaluation, ImplicitReward
from harness.measuring.experiment import Experiment
from harness.measuring.kinds import KINDS, prepare_suite, run_suite, with_rewards
from harness.measuring.lineup import TrainingRun, training_runs
from harness.measuring.preparation import prepare
from harness.measuring.scorers import Mark, Scorers, Store
from harness.measuring.units.attached import Attached
from harness.measuring.units.engine import ForeignNodeError
from harness.measuring.units.inputs import check_inputs, inputs_of
from harness.measuring.units.results import UnitStore
from harness.measuring.units.unit import Event, Job, Outcome, Parcel, ReferenceUnit, ScoreUnit, Tell, TrainUnit, Unit
from harness.models.base import BASELINE, LoadedModel, load_model
from harness.models.merge import merge_adapter
from harness.terminal import Done, Terminal
from harness.training.fixture import Fixture, Workplace, build_or_reuse, put_fixture
from harness.training.recipe import LogLine
from harness.training.reference_ahead import score_reference
from reports.errors import UserError
from reports.whole import scratch_folder
from suites.engine.causal_model import computes_exactly
from suites.engine.plan import ScoringState


def _untold(_event: Event) -> None:
    """Tells nobody."""


def do_unit(job: Job, unit: Unit, parcels: Sequence[Parcel] = (), tell: Tell = _untold) -> Outcome:
    """Does a unit and returns what came of it; opens none of the driver's stores.

    The process prepares the job at its first unit, and keeps rows, base and suite for the next. It does not matter what
    it did before: adapters of other units are taken off. It tells of "begun" first and of "ended" last, and of a
    training's steps in between.

    Args:
        job: The same object content for all units of a process; another job's is prepared anew.
        unit: What to do.
        parcels: Those that the unit names, in any order.
        tell: Takes events; it must not wait.

    Raises:
        ForeignNodeError: The job cannot be prepared here, or what was read is not what the driver read.
        UserError: A mistake in the unit's variant or subject, such as a loss that became NaN.
        torch.OutOfMemoryError: A GPU's memory ran out in training; the process should do no further unit.
    """
    with telling(unit, tell):
        return _bench_of(job).do(unit, parcels, tell)


@contextmanager
def telling(unit: Unit, tell: Tell) -> Iterator[None]:
    """Tells that a unit begins, and that it ends, however it does."""
    tell(event_of(unit, "begun"))
    try:
        yield
    finally:
        tell(event_of(unit, "ended"))


_latest: list[tuple[tuple[object, ...], "Bench"]] = []
"""The job that this process works on, and what it holds for it."""


def _bench_of(job: Job) -> "Bench":
    """What this process holds for a job, prepared now where it is the first unit of it here."""
    identity = (job.options, job.inputs, job.mark, [parcel.key for parcel in job.adapters])
    if not _latest or _latest[0][0] != identity:
        for _, other in _latest:
            other.close()
        _latest[:] = [(identity, _prepared(job))]
    return _latest[0][1]


def _prepared(job: Job) -> "Bench":
    """What a process holds that is not the driver's.

    Raises:
        ForeignNodeError: The job cannot be prepared here, or something else was read than in the driver.
    """
    import torch

    left = ExitStack()
    atexit.register(left.close)
    folder, options = left.enter_context(scratch()), job.options
    is_shared = bool(job.mark) and (options.workspace / job.mark).is_file()
    names = (name for name, _ in options.adapters)
    laid = [(name, lay_down(parcel, folder)) for name, parcel in zip(names, job.adapters, strict=True)]
    workspace = options.workspace if is_shared else folder / "workspace"
    try:
        experiment = prepare(replace(options, workspace=workspace, adapters=tuple(laid), out=None))
    except UserError as error:
        raise ForeignNodeError(f"node {platform.node()} cannot prepare this job: {error}") from error
    torch.set_num_threads(job.n_threads)
    inputs = inputs_of(experiment)
    check_inputs(job.inputs, inputs, platform.node())
    return Bench(experiment, inputs, folder, {parcel.key: parcel for parcel in job.adapters}, left.close)


def scratch() -> AbstractContextManager[Path]:
    """A process's own folder; Ray ends processes without a last word, so the next one removes what they left."""
    return scratch_folder(Path(tempfile.gettempdir()) / "harness-units")


def lay_down(parcel: Parcel, folder: Path) -> Path:
    """Writes the files of an adapter into a folder of its own, unless they are there, and returns that."""
    adapter = folder / "adapters" / parcel.key
    if not adapter.exists():
        adapter.mkdir(parents=True)
        for name, content in parcel.files.items():
            (adapter / name).write_bytes(content)
    return adapter


def fixture_parcel(folder: Path, fingerprint: str) -> Parcel:
    """All files of an adapter that was trained now."""
    return Parcel(fingerprint, {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()})


@dataclass(slots=True)
class Bench:
    """What a process holds between units: rows, base, suite, and adapters as files."""

    experiment: Experiment
    inputs: Mapping[str, str]
    folder: Path
    """A folder of its own for adapters and merged models."""
    adapters: Mapping[str, Parcel] = field(default_factory=dict)
    """Parcels of adapters that exist already, by their keys."""
    close: Callable[[], object] = bool
    """Removes the folder."""
    keeps_base: bool = False
    """Whether somebody else needs the base, so that it stays in memory beside a model with weights of its own."""
    _is_base_here: bool = True
    _attached: Attached = field(default_factory=Attached)
    _runs: list[TrainingRun] = field(default_factory=list)
    _suite: dict[EvaluationConfig, Evaluation] = field(default_factory=dict)

    def do(self, unit: Unit, parcels: Sequence[Parcel], tell: Tell) -> Outcome:
        """Does a unit; see `do_unit`."""
        started = time.perf_counter()
        given = {**self.adapters, **{parcel.key: parcel for parcel in parcels}}
        store = UnitStore([scores for parcel in parcels for scores in parcel.scores])
        outcome = Outcome(self.inputs, platform.node(), 0.0)
        match unit:
            case ReferenceUnit():
                self._score_reference(unit, given, store, tell)
            case TrainUnit():
                outcome = replace(outcome, adapter=self._train(unit, given, store, tell))
            case ScoreUnit():
                mark = self._score(unit, given, store, tell)
                outcome = replace(outcome, plan=mark.plan, is_exact=mark.is_exact)
        seconds = time.perf_counter() - started
        return replace(outcome, seconds=seconds, scores=tuple(store.scores), kept=store.kept)

    def _score_reference(self, unit: ReferenceUnit, given: Mapping[str, Parcel], store: UnitStore, tell: Tell) -> None:
        start, terminal = self._start(unit.start, given), telling_terminal(self.experiment.terminal, unit, tell)
        say = _said_and_told(terminal, unit, tell)
        for name in unit.variants:
            variant, rows = self._run(name)
            # What is wrong with one of them, its own training will tell.
            with suppress(UserError), terminal.training(unit.key) as show:
                place = Workplace(self.experiment.workspace.folder, say, show, store)
                score_reference(self._base(), rows, variant.recipe, place, start=start)

    def _train(self, unit: TrainUnit, given: Mapping[str, Parcel], store: UnitStore, tell: Tell) -> Parcel:
        """Trains an adapter in the workspace of this process, which may be the driver's, and returns its files."""
        variant, rows = self._run(unit.variant)
        base, terminal = self._base(), telling_terminal(self.experiment.terminal, unit, tell)
        with terminal.training(variant.name) as show:
            say = _said_and_told(terminal, unit, tell)
            place = Workplace(self.experiment.workspace.folder, say, show, store)
            fixture = build_or_reuse(base, rows, variant.recipe, place, start=self._start(unit.start, given))
        if fixture.told:
            say(fixture.told)
        return fixture_parcel(fixture.folder, fixture.fingerprint)

    def _score(self, unit: ScoreUnit, given: Mapping[str, Parcel], store: UnitStore, tell: Tell) -> Mark:
        terminal = telling_terminal(self.experiment.terminal, unit, tell)
        folders = {name: lay_down(given[key], self.folder) for name, key in unit.adapters.items()}
        suite = self._suite = self._suite or prepare_suite(self.experiment, {})
        if unit.evaluation is None:
            return self._score_model(unit, folders, store, terminal)
        experiment = replace(self.experiment, loaded=self._loaded(), terminal=terminal)
        self._attached.put_on(experiment.loaded, folders)
        return score_on_base(experiment, suite, unit, store)

    def _score_model(self, unit: ScoreUnit, folders: Mapping[str, Path], store: UnitStore, terminal: Terminal) -> Mark:
        """Measures a subject with weights of its own, which take the place of the base in memory."""
        assert unit.subject is not None
        assert unit.subject.model is not None
        model = unit.subject.model
        if folders and not Path(model.name).is_dir():
            model = replace(model, name=str(self._merged(next(iter(folders.values())))))
        if not self.keeps_base:
            self.take_adapters_off()
            self.experiment.loaded.release()
            self._is_base_here = False
        with terminal.waiting(f"loading {unit.name}"):
            loaded = load_model(model)
        try:
            return score_by_suite(loaded, self._suite, unit, store, terminal)
        finally:
            loaded.release()

    def _merged(self, adapter: Path) -> Path:
        """Merges an adapter as the driver did, whose folder this process does not see; gives the same weights."""
        config = self.experiment.config
        assert config.merged is not None
        folder = self.folder / "merged" / f"{adapter.name}-{config.merged}"
        merge_adapter(str(adapter), folder, dtype=config.merged, base=config.model)
        return folder

    def _base(self) -> LoadedModel:
        """The base without adapters."""
        loaded = self._loaded()
        self.take_adapters_off()
        return loaded

    def _loaded(self) -> LoadedModel:
        """The base with the adapters that are on it now, loaded again where other weights took its place."""
        if not self._is_base_here:
            self.experiment = replace(self.experiment, loaded=load_model(self.experiment.config.model))
            self._is_base_here = True
        return self.experiment.loaded

    def take_adapters_off(self) -> None:
        """Leaves the base without adapters to whoever uses it next."""
        self._attached.take_off(self.experiment.loaded)

    def _run(self, name: str) -> TrainingRun:
        """The variant of a name with its rows, which are encoded once."""
        self._runs = self._runs or training_runs(self.experiment)
        return next(run for run in self._runs if run[0].name == name)

    def _start(self, key: str | None, given: Mapping[str, Parcel]) -> Fixture | None:
        """The fixture of an earlier stage, laid into the workspace of this process."""
        if key is None:
            return None
        folder = put_fixture(self.experiment.workspace.fixtures, key, given[key].files)
        return Fixture(folder, key, reused=True, log=(), notes=())


def score_on_base(
    experiment: Experiment, suite: Mapping[EvaluationConfig, Evaluation], unit: ScoreUnit, store: Store
) -> Mark:
    """Measures a subject by one evaluation on the base's weights, stores what it computes, and returns its mark.

    Args:
        experiment: what to measure on; the unit's adapters are attached to its base.
        suite: the prepared evaluations.
        unit: the subject and the evaluation.
        store: takes scores and results.
    """
    loaded, state = experiment.loaded, ScoringState(unit.plan, experiment.terminal.say)
    evaluation = next(each for each in suite if each.name == unit.evaluation)
    candidate, kind, names = unit.subject, KINDS[evaluation.kind], {unit.name: unit.name}
    rewards: dict[str, ImplicitReward] = {}
    if kind.reads_reference:
        assert candidate is not None
        assert candidate.reference is not None
        rewards = {candidate.name: ImplicitReward(candidate.reference, candidate.beta)}
        names = {candidate.reference: candidate.reference, **names}
    scorers = Scorers(loaded, names, state, store, experiment.terminal)
    for _ in run_suite(with_rewards({evaluation: suite[evaluation]}, rewards), scorers):
        pass
    return Mark(state.plan, not kind.is_scored or computes_exactly(loaded.base))


def score_by_suite(
    loaded: LoadedModel,
    suite: Mapping[EvaluationConfig, Evaluation],
    unit: ScoreUnit,
    store: Store,
    terminal: Terminal,
) -> Mark:
    """Measures a subject with weights of its own by the whole suite, and returns its mark."""
    state = ScoringState(unit.plan, terminal.say)
    scorers = Scorers(loaded, {unit.name: BASELINE}, state, store, terminal)
    for _ in run_suite(with_rewards(suite, {}), scorers):
        pass
    return Mark(state.plan, computes_exactly(loaded.base))


@dataclass(frozen=True)
class _TellingTerminal(Terminal):
    """A terminal that tells of progress elsewhere too."""

    tell: Callable[[int, int, Mapping[str, float]], object] = lambda _n_done, _total, _numbers: None

    @contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Done]:
        """Shows progress here, and tells of it."""
        with Terminal.progress(self, description, total) as done:

            def both(n_done: int, total: int | None = None) -> None:
                done(n_done, total)
                self.tell(n_done, total or 0, {})

            yield both

    @contextmanager
    def training(self, name: str) -> Iterator[Callable[[int, int, LogLine], None]]:
        """Shows steps here, and tells of them."""
        with Terminal.training(self, name) as show:

            def both(step: int, n_steps: int, line: LogLine) -> None:
                show(step, n_steps, line)
                self.tell(step, n_steps, {"loss": line["loss"]} if "loss" in line else {})

            yield both


def telling_terminal(terminal: Terminal, unit: Unit, tell: Tell) -> Terminal:
    """A terminal that shows what another one does, and tells of a unit's steps."""

    def step(n_done: int, total: int, numbers: Mapping[str, float]) -> None:
        tell(replace(event_of(unit, "step"), step=n_done, n_steps=total, numbers=numbers))

    return _TellingTerminal(terminal.console, terminal.clock, step)


def _said_and_told(terminal: Terminal, unit: Unit, tell: Tell) -> Callable[[str], None]:
    """Takes what a training says: prints it here, and tells it.

    What scoring says is kept beside the scores, and told where those are found.
    """

    def say(line: str) -> None:
        terminal.say(line)
        tell(replace(event_of(unit, "said"), line=line))

    return say


def event_of(unit: Unit, kind: Literal["begun", "step", "said", "ended"]) -> Event:
    """What this process tells of a unit."""
    return Event(unit.key, kind, platform.node(), os.getpid())
