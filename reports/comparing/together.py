"""Several runs of one suite in one report, with all candidates compared with the first run's baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TypeVar

from reports.comparing.against import check_same_suite, differing_weights, has_weights, remarks
from reports.records import ExampleText, Generation, MetricScores, Run, Subject

Record = TypeVar("Record", MetricScores, Generation)


def put_together(runs: Sequence[Run]) -> Run:
    """Return one run with the candidates of all, in order.

    A candidate keeps its name unless it is taken; then the name of its run is appended. If another run's baseline has
    other weights, quantisation, types or template, it becomes a candidate, and it and its candidates are marked as
    having different weights. The same weights on another device are one baseline, although their scores differ in the
    last digits. Training, sweeps and published figures are the first run's, because they belong to that experiment
    alone.

    Args:
        runs: At least one, all with the same suite fingerprint.

    Raises:
        IncomparableRunsError: Two of them differ; the message names the fields.
    """
    return reduce(_joined, runs)


def _joined(run: Run, other: Run) -> Run:
    """Return the first run with the other one's candidates after its own."""
    check_same_suite(run, other)
    scores, others = _scores(run, run.baseline.name), _scores(other, other.baseline.name)
    is_same = not differing_weights(run, other) if has_weights(run) and has_weights(other) else scores == others
    names = _new_names(run, other, drops_baseline=is_same)
    added = [replace(_renamed(each, names), same_weights=each.same_weights and is_same) for each in other.subjects]
    taken = {subject.name for subject in run.subjects}
    return replace(
        run,
        name=f"{run.name} and {other.name}",
        subjects=(*run.subjects, *(each for each in added if each.name not in taken)),
        measurements=(*run.measurements, *_of_new(other.measurements, names, taken)),
        generations=(*run.generations, *_of_new(other.generations, names, taken)),
        examples=_distinct((*run.examples, *other.examples)),
        notes=tuple(
            dict.fromkeys((*run.notes, *_notes(run, other), *(f"{other.name}: {note}" for note in other.notes)))
        ),
    )


def _notes(run: Run, other: Run) -> list[str]:
    """Return what differs between two runs beside their candidates: weights, betas, or scores of the same baseline."""
    scores, others = _scores(run, run.baseline.name), _scores(other, other.baseline.name)
    n_differing = sum(scores[metric] != others.get(metric) for metric in scores)
    if differing_weights(run, other) or not n_differing or not (has_weights(run) and has_weights(other)):
        return remarks(run, other)
    devices = " and ".join(str(each.provenance.get("device", "a device not recorded")) for each in (run, other))
    line = (
        f"the baselines of {run.name} and {other.name} are the same weights, on {devices}; their scores differ in "
        f"{n_differing} of {len(scores)} metrics, and {run.name}'s are shown"
    )
    return [line, *remarks(run, other)]


def _scores(run: Run, subject: str) -> dict[tuple[str, str], MetricScores]:
    """Map (evaluation, metric) to the measurement of a subject, in a form that can be tested for equality."""
    return {
        (each.metric.evaluation, each.metric.name): replace(
            each, subject="", scores=tuple(sorted(each.scores, key=repr))
        )
        for each in run.measurements
        if each.subject == subject
    }


def _new_names(run: Run, other: Run, *, drops_baseline: bool) -> dict[str, str]:
    """Map names in the other run to names in the joined one; rulers, and an equal baseline, are the first run's."""
    taken = {subject.name for subject in run.subjects}
    names = {}
    for subject in other.subjects:
        if subject.kind == "ruler":
            names[subject.name] = subject.name
        elif subject.kind == "baseline":
            names[subject.name] = run.baseline.name if drops_baseline else f"baseline of {other.name}"
        else:
            names[subject.name] = f"{subject.name} ({other.name})" if subject.name in taken else subject.name
    return names


def _renamed(subject: Subject, names: Mapping[str, str]) -> Subject:
    return replace(
        subject,
        name=names[subject.name],
        kind="candidate" if subject.kind == "baseline" else subject.kind,
        reference=None if subject.reference is None else names.get(subject.reference, subject.reference),
        compared_with=tuple(names.get(name, name) for name in subject.compared_with),
    )


def _of_new(records: Sequence[Record], names: Mapping[str, str], taken: set[str]) -> list[Record]:
    """Return the records of subjects that the first run does not have, under their new names."""
    return [replace(each, subject=names[each.subject]) for each in records if names[each.subject] not in taken]


def _distinct(examples: Sequence[ExampleText]) -> tuple[ExampleText, ...]:
    return tuple({(each.evaluation, each.example_id): each for each in examples}.values())
