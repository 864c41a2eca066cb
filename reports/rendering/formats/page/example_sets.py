"""Which examples the page has: all of a small set, and of a large one those that moved most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reports.example_texts import texts_of
from reports.records import ExampleText, MetricScores, Run, without_nan
from reports.rendering.content.moves import measured_in, moves
from reports.scores import Positions, ScoredExamples

MOST_EXAMPLES = 5_000
"""Most examples of a set that the page has, unless its reader asks for another number."""


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """Examples that metrics of one evaluation were measured on, some or all of which the page has."""

    evaluation: str
    examples: ScoredExamples
    places: tuple[int, ...]
    """Places of what was measured on them among the run's measurements."""
    shown: Positions
    """Those that the page has, as places in the order of all ids; shape (n_shown,)."""
    texts: Mapping[str, ExampleText] = field(default_factory=dict)
    """Id -> texts of an example on the page, or of another one of the evaluation."""

    @property
    def ids(self) -> list[str]:
        """Ids of those on the page, in their order."""
        return list(self.examples.sorted_ids.take(self.shown).to_pylist())

    @property
    def groups(self) -> list[str]:
        """Groups of those on the page."""
        return list(self.examples.groups.take(self.examples.order[self.shown]).to_pylist())

    @property
    def n_left(self) -> int:
        """How many examples the page does not have."""
        return len(self.examples) - len(self.shown)


def example_sets(run: Run, most: int) -> list[ExampleSet]:
    """Return the sets of examples of a run, in the order of its measurements; rulers are left out.

    Args:
        run: What was measured.
        most: Most examples of a set that the page has.
    """
    subjects = {subject.name for subject in run.subjects if subject.kind != "ruler"}
    sets: list[ExampleSet] = []
    for place, measurement in enumerate(map(without_nan, run.measurements)):
        if measurement.subject not in subjects or not measurement.scores:
            continue
        n = next((n for n, each in enumerate(sets) if _is_of(measurement, each)), None)
        if n is None:
            evaluation, examples = measurement.metric.evaluation, measurement.scores.examples
            sets.append(ExampleSet(evaluation, examples, (place,), np.arange(min(most, len(examples)))))
        else:
            sets[n] = replace(sets[n], places=(*sets[n].places, place))
    chosen = [replace(each, shown=_moved_most(run, each, most)) if each.n_left else each for each in sets]
    return _with_texts(run, chosen)


def _is_of(measurement: MetricScores, own: ExampleSet) -> bool:
    """Whether a measurement is of the examples of a set, in whatever order."""
    examples = measurement.scores.examples
    if measurement.metric.evaluation != own.evaluation or len(examples) != len(own.examples):
        return False
    return examples is own.examples or bool(examples.sorted_ids.equals(own.examples.sorted_ids))


def _moved_most(run: Run, own: ExampleSet, most: int) -> Positions:
    """Return the examples that are among the first by how far they moved, on one metric and candidate or another.

    Each metric and candidate has its own order, and gives as many examples as every other one.
    """
    measured, candidates = measured_in(run), {each.name for each in run.candidates}
    ranks = np.full(len(own.examples), len(own.examples))
    for each in (run.measurements[place] for place in own.places):
        if each.subject in candidates:
            baseline = measured.get((own.evaluation, each.metric.name, run.baseline.name))
            ranked = moves(each, baseline).ranked()
            places = np.empty_like(ranks)
            places[each.scores.examples.order] = np.arange(len(places))
            ranks[places[ranked]] = np.minimum(ranks[places[ranked]], np.arange(len(ranked)))
    return np.sort(np.argsort(ranks, kind="stable")[:most])


def _with_texts(run: Run, sets: Sequence[ExampleSet]) -> list[ExampleSet]:
    wanted: dict[str, list[str]] = {}
    for each in sets:
        wanted.setdefault(each.evaluation, []).extend(each.ids)
    by_evaluation: dict[str, dict[str, ExampleText]] = {}
    for (evaluation, example_id), text in texts_of(run.examples, wanted).items():
        by_evaluation.setdefault(evaluation, {})[example_id] = text
    return [replace(each, texts=by_evaluation.get(each.evaluation, {})) for each in sets]
