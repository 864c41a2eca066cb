"""Several runs of one suite in one report: two against each other, more beside each other against one baseline."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, TypeVar

from reports.comparing.against import check_same_suite, differing_weights, has_weights, remarks
from reports.comparing.choice import headline_candidate
from reports.comparing.settings import differing_line, differing_settings, named_by_settings
from reports.example_texts import joined_texts
from reports.records import Generation, MetricScores, Run, Subject, SubjectKind

Record = TypeVar("Record", MetricScores, Generation)

PLAIN_NAME = "adapter"
"""Name of the one adapter of a run, which says nothing beside another run's."""


def put_together(runs: Sequence[Run]) -> Run:
    """Return one run with the candidates of all, in order; of two runs, the second one's against the first one's.

    Candidates of one name are called by what differs in their runs' settings. If another run's baseline has other
    weights, quantisation, types or template, it becomes a candidate, and it and its candidates are marked as having
    different weights. The same weights on another device are one baseline, although their scores differ in the last
    digits. Sweeps and published figures are the first run's, because they belong to that experiment alone.

    Of two runs, what the report is about is the chosen candidate of the second, or the first that is no control, and
    its baseline is that of the first run. The base model and all other candidates stay, compared with that base alone.

    Args:
        runs: At least one, all with the same suite fingerprint.

    Raises:
        IncomparableRunsError: Two of them differ; the message names the fields.
    """
    first, *others = runs
    if not others:
        return first
    for other in others:
        check_same_suite(first, other)
    settings = differing_settings(runs)
    apart = _named_apart(runs, named_by_settings(len(runs), settings))
    notes = [note for other in others for note in (*_notes(first, other), *(f"{other.name}: {n}" for n in other.notes))]
    joined = replace(
        reduce(_joined, apart),
        name=" and ".join(run.name for run in runs),
        notes=tuple(dict.fromkeys((*first.notes, *notes))),
        not_measured=tuple(f"{run.name}: {line}" for run in runs for line in run.not_measured),
        headline=" ".join(filter(None, (first.headline, differing_line(runs, settings)))),
        runs=tuple(run.name for run in runs),
        differing=settings,
    )
    return _second_against_first(joined, *apart) if len(apart) == 2 else joined  # noqa: PLR2004 - see the name


def _second_against_first(joined: Run, first: Run, second: Run) -> Run:
    """Return the joined run with the first one's foremost candidate as its baseline, if both have a candidate."""
    pair = [headline_candidate(run, names) for run in (first, second) if (names := _measured_candidates(run))]
    if len(pair) != len((first, second)):
        return joined
    kinds: dict[str, SubjectKind] = {pair[0]: "baseline", pair[1]: "candidate", joined.baseline.name: "base"}
    subjects = [
        each if each.kind == "ruler" else replace(each, kind=kinds.get(each.name, "aside"), compared_with=())
        for each in joined.subjects
    ]
    alone = {pair[0], pair[1]}  # a recipe is not judged by one of its adapters
    subjects = [replace(each, recipe="") if each.name in alone else each for each in subjects]
    order: list[SubjectKind] = ["baseline", "candidate", "ruler", "base", "aside"]
    return replace(joined, subjects=tuple(sorted(subjects, key=lambda each: order.index(each.kind))))


def _measured_candidates(run: Run) -> list[str]:
    measured = {each.subject for each in run.measurements}
    return [subject.name for subject in run.candidates if subject.name in measured]


def _named_apart(runs: Sequence[Run], by_settings: Sequence[str] | None) -> list[Run]:
    """Return the runs, with candidates and recipes of a name that another run has too called by what differs.

    Where that is too much, or nothing, the name of their run is appended, and its position if runs share that too.
    """
    taken = Counter(name for run in runs for name in {subject.name for subject in run.subjects})
    recipes = Counter(name for run in runs for name in {subject.recipe for subject in run.candidates if subject.recipe})
    run_names = [run.name for run in runs]
    renamed = []
    for position, run in enumerate(runs):
        own = {each.name for each in run.candidates if taken[each.name] > 1}
        own |= {each.recipe for each in run.candidates if recipes[each.recipe] > 1}
        if by_settings:
            names = {name: _called_by(by_settings[position], name) for name in own}
        else:
            label = run.name if run_names.count(run.name) == 1 else f"{run.name}, {position + 1}"
            names = {name: f"{name} ({label})" for name in own}
        renamed.append(_with_names(run, names))
    return renamed


def _called_by(settings: str, name: str) -> str:
    """Return "beta=0.1" for "adapter", "beta=0.1, seed 42" for "adapter, seed 42", and "name (beta=0.1)" else."""
    is_plain = name.partition(",")[0] == PLAIN_NAME
    return settings + name.removeprefix(PLAIN_NAME) if is_plain else f"{name} ({settings})"


def _with_names(run: Run, names: Mapping[str, str]) -> Run:
    """Return the run with other names of subjects and recipes, wherever they stand."""

    def new(name: str) -> str:
        return names.get(name, name)

    return replace(
        run,
        subjects=tuple(_renamed(each, names) for each in run.subjects),
        measurements=tuple(replace(each, subject=new(each.subject)) for each in run.measurements),
        generations=tuple(replace(each, subject=new(each.subject)) for each in run.generations),
        training=tuple(_renamed_row(run, row, names) for row in run.training),
        selection=tuple(
            replace(each, candidate=new(each.candidate), tied_with=tuple(map(new, each.tied_with)))
            for each in run.selection
        ),
    )


def _renamed_row(run: Run, row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of training under the new name of its adapter, which only several adapters have had so far."""
    trained = [subject.name for subject in run.candidates if subject.same_weights]
    name = row.get("candidate") or (trained[0] if len(trained) == 1 else None)
    return dict(row) if name is None else {**row, "candidate": names.get(name, name)}


def _joined(run: Run, other: Run) -> Run:
    """Return the first run with the other one's candidates after its own."""
    scores, others = _scores(run, run.baseline.name), _scores(other, other.baseline.name)
    is_same = not differing_weights(run, other) if has_weights(run) and has_weights(other) else scores == others
    names = {other.baseline.name: run.baseline.name if is_same else f"baseline of {other.name}"}
    other = _with_names(other, names)
    added = [
        replace(
            each,
            kind="candidate" if each.kind == "baseline" else each.kind,
            same_weights=each.same_weights and is_same,
        )
        for each in other.subjects
    ]
    taken = {subject.name for subject in run.subjects}
    return replace(
        run,
        subjects=(*run.subjects, *(each for each in added if each.name not in taken)),
        measurements=(*run.measurements, *_of_new(other.measurements, taken)),
        generations=(*run.generations, *_of_new(other.generations, taken)),
        training=(*run.training, *other.training),
        examples=joined_texts(run.examples, other.examples),
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
        (each.metric.evaluation, each.metric.name): replace(each, subject="", scores=each.scores.in_order())
        for each in run.measurements
        if each.subject == subject
    }


def _renamed(subject: Subject, names: Mapping[str, str]) -> Subject:
    return replace(
        subject,
        name=names.get(subject.name, subject.name),
        recipe=names.get(subject.recipe, subject.recipe),
        reference=None if subject.reference is None else names.get(subject.reference, subject.reference),
        compared_with=tuple(names.get(name, name) for name in subject.compared_with),
    )


def _of_new(records: Sequence[Record], taken: set[str]) -> list[Record]:
    """Return the records of subjects that the first run does not have."""
    return [each for each in records if each.subject not in taken]
