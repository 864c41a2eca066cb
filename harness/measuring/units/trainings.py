"""Which adapters of a job can be trained now, and what their units need."""

from collections.abc import Callable, Iterator
from functools import partial

from harness.measuring.experiment import Experiment
from harness.measuring.lineup import (
    TrainedAdapter,
    TrainingRun,
    find_trained,
    merged_variants,
    start_of,
    training_runs,
    try_recipes,
)
from harness.measuring.units.engine import ForeignNodeError
from harness.measuring.units.listing import reference_of, reference_unit, train_unit
from harness.measuring.units.stores import parcel_of, put_results
from harness.measuring.units.unit import Outcome, Parcel, ReferenceUnit, TrainUnit
from harness.training.fixture import Fixture, find_fixture, put_fixture
from harness.training.recipe import EncodedRows, requests_of
from harness.training.trainer import reference_context
from harness.training.variants import FIRST_STAGE
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.scoring import exact_key
from suites.inputs import Request


class Trainings:
    """The adapters of an experiment: those that are there, those that can be trained now, and those that failed."""

    def __init__(self, experiment: Experiment, cache: ScoreCache) -> None:
        """Finds what is trained already, and tries the recipes of the others.

        Raises:
            TrainingError: A recipe cannot be trained.
        """
        self._experiment, self._cache = experiment, cache
        self._runs = training_runs(experiment)
        self._trained = {each.variant.name: each for each in find_trained(experiment, self._runs)}
        self._lacking = [run for run in self._runs if run[0].name not in self._trained]
        self._references: dict[str, Parcel | None] = {}
        """Reference -> its scores of training rows, once they are there; None where there are none to share."""
        self.failed: dict[str, str] = {}
        """Variant -> why it was not trained."""
        try_recipes(experiment, self._lacking)

    @property
    def trained(self) -> tuple[TrainedAdapter, ...]:
        """Those that are there, in the order of the experiment."""
        return tuple(self._trained[variant.name] for variant, _ in self._runs if variant.name in self._trained)

    @property
    def names(self) -> list[str]:
        """Names of all of them."""
        return [variant.name for variant, _ in self._runs]

    @property
    def merged(self) -> list[str]:
        """Names of those whose merged models are measured too, where any are."""
        return [variant.name for variant in merged_variants([variant for variant, _ in self._runs])]

    @property
    def is_finished(self) -> bool:
        """Whether none is left to train."""
        return len(self._trained) + len(self.failed) == len(self._runs)

    @property
    def n_left(self) -> int:
        """Adapters that are still to be trained."""
        return len(self._runs) - len(self._trained) - len(self.failed)

    @property
    def starts(self) -> frozenset[str]:
        """Names of those that others continue."""
        return frozenset({FIRST_STAGE} if any(variant.starts_from_sft for variant, _ in self._runs) else ())

    def ready(self) -> Iterator[tuple[ReferenceUnit | TrainUnit, Callable[[], list[Parcel]]]]:
        """Yields the units that can be done now, those too that are being done, and what makes their parcels."""
        for variant, _ in self._lacking:
            if variant.name in self._trained or variant.name in self.failed:
                continue
            start = start_of(variant, self.trained)
            if variant.starts_from_sft and start is None:
                continue
            reference = reference_of(variant)
            if reference not in self._references:
                unit = reference_unit(self._experiment.loaded, self._of(reference), _fingerprint(start))
                if unit is not None:
                    yield unit, partial(self._parcels_of_reference, reference, start)
                    continue
                self._references[reference] = None
            yield train_unit(variant, _fingerprint(start)), partial(self._parcels, reference, start)

    def take(self, unit: ReferenceUnit | TrainUnit, outcome: Outcome) -> None:
        """Writes what came of a unit into the workspace.

        Raises:
            ForeignNodeError: Another adapter was trained than the driver would look for.
        """
        put_results(self._cache, outcome)
        if isinstance(unit, ReferenceUnit):
            reference = reference_of(self._run(unit.variants[0])[0])
            found = self._found(reference, start_of(self._run(unit.variants[0])[0], self.trained))
            self._references[reference] = Parcel(unit.key, scores=(*found.scores, *outcome.scores))
            return
        variant, rows = self._run(unit.variant)
        loaded, fixtures = self._experiment.loaded, self._experiment.workspace.fixtures
        assert outcome.adapter is not None
        put_fixture(fixtures, outcome.adapter.key, outcome.adapter.files)
        fixture = find_fixture(loaded, rows, variant.recipe, fixtures, start=start_of(variant, self.trained))
        if fixture is None:
            raise ForeignNodeError(
                f"node {outcome.node} trained {variant.name} from other inputs than the machine where this was started"
            )
        for note in fixture.notes:
            self._experiment.terminal.say(f"{variant.name}: {note}")
        self._trained[variant.name] = TrainedAdapter(variant, fixture, rows)

    def fail(self, unit: ReferenceUnit | TrainUnit, reason: str) -> None:
        """Leaves out the adapters that cannot be trained because a unit failed."""
        if isinstance(unit, ReferenceUnit):
            reference = reference_of(self._run(unit.variants[0])[0])
            names = [variant.name for variant, _ in self._of(reference)]
            reason = f"the training rows could not be scored by its reference: {reason}"
        else:
            names = [unit.variant]
        self.failed |= dict.fromkeys(names, reason)
        if FIRST_STAGE in names:
            later = [variant.name for variant, _ in self._lacking if variant.starts_from_sft]
            self.failed |= dict.fromkeys(later, f"{FIRST_STAGE}, which it continues, was not trained")

    def _run(self, name: str) -> TrainingRun:
        return next(run for run in self._runs if run[0].name == name)

    def _of(self, reference: str) -> list[TrainingRun]:
        """Those that are to be trained against a reference."""
        return [run for run in self._lacking if reference_of(run[0]) == reference]

    def _parcels_of_reference(self, reference: str, start: Fixture | None) -> list[Parcel]:
        """What the unit of a reference needs: the adapter that is the reference, and scores that are there already."""
        return [*_adapters(start), self._found(reference, start)]

    def _parcels(self, reference: str, start: Fixture | None) -> list[Parcel]:
        """What a training needs: the adapter that it continues from, and the scores of its rows by its reference."""
        scores = self._references[reference]
        return [*_adapters(start), *([] if scores is None else [scores])]

    def _found(self, reference: str, start: Fixture | None) -> Parcel:
        """Scores of training and selection rows by a reference that earlier commands left in the cache."""
        context = reference_context(self._experiment.loaded, None if start is None else start.folder)
        requests = {request: None for _, rows in self._of(reference) for request in _requests(rows)}
        found = self._cache.lookup(exact_key(context), [*requests])
        return Parcel(f"scores by {reference}", scores=[(exact_key(context), found)] if found else [])


def _requests(rows: EncodedRows) -> list[Request]:
    return requests_of((*rows.training, *rows.selection))


def _fingerprint(start: Fixture | None) -> str | None:
    return None if start is None else start.fingerprint


def _adapters(start: Fixture | None) -> list[Parcel]:
    """The parcel of the adapter that a training continues from."""
    return [] if start is None else [parcel_of(str(start.folder), start.fingerprint)]
