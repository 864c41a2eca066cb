"""Comparisons of a run's candidates with those of the same name in a reference run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from reports.comparing.compare import Comparison, compare
from reports.errors import UserError
from reports.records import MetricScores, Run, Subject
from reports.scores import Texts

_CONFIGURED = (
    "data.roles",
    "data.lm_eval_tasks",
    "data.max_prompt_tokens",
    "data.max_tokens",
    "model.name",
    "model.template",
    "model.chat_template",
    "model.chat_template_kwargs",
    "model.chat_template_date",
    "model.system_prompt",
    "answers",
    "seed",
)
"""Settings that determine what is measured."""
_WEIGHTS = {
    "fingerprint": "hash",
    "quantization": "quantisation",
    "dtype": "type",
    "compute_dtype": "products in",
    "template": "template",
}
"""Facts about the baseline's weights in a run's provenance, and what they are called."""


class IncomparableRunsError(UserError):
    """Two runs that did not measure the same evaluations on the same examples."""


def check_same_suite(run: Run, other: Run) -> None:
    """Refuse two runs whose suite fingerprints differ in more than beta.

    Raises:
        IncomparableRunsError: They differ; the message names the fields.
    """
    same_but_beta = run.fingerprint_without_beta == other.fingerprint_without_beta != ""
    if run.suite_fingerprint != other.suite_fingerprint and not same_but_beta:
        fields = "; ".join(differing_fields(run, other)) or "the suite's definition or the chat template"
        raise IncomparableRunsError(
            f"{run.name} and {other.name} did not measure the same, they differ in {fields}; "
            "measure both with the same suite and settings"
        )


def differing_fields(run: Run, other: Run) -> list[str]:
    """Return which of suite, settings, metrics and examples differ between two runs, in words."""
    values = {"suite": (run.suite, other.suite)}
    values |= {key: (_setting(run.config, key), _setting(other.config, key)) for key in _CONFIGURED}
    fields = [f"{key} ({_shown(one)} and {_shown(two)})" for key, (one, two) in values.items() if one != two]
    examples, others = _examples(run), _examples(other)
    for alone, name in ((examples.keys() - others.keys(), run.name), (others.keys() - examples.keys(), other.name)):
        if alone:
            fields.append(f"metrics of {name} alone ({', '.join('/'.join(metric) for metric in sorted(alone))})")
    differing: dict[str, list[Texts]] = {}
    for metric in sorted(examples.keys() & others.keys()):
        differing.setdefault(metric[0], []).extend(_in_one_alone(examples[metric], others[metric]))
    fields += [
        f"examples of {evaluation} ({n_differing} in one run alone, such as {first})"
        for evaluation, (n_differing, first) in ((name, _counted(ids)) for name, ids in differing.items())
        if n_differing
    ]
    return fields + _differing_conditions(run, other)


def remarks(run: Run, other: Run) -> list[str]:
    """Return what differs between two comparable runs and matters for their numbers, a line each: weights and beta."""
    lines = []
    if differing := differing_weights(run, other):
        lines.append(
            f"different weights: {'; '.join(differing)} ({run.name} and {other.name}): a difference between their "
            "candidates is that of the weights as well"
        )
    for subject in run.candidates:
        there = next((each for each in other.candidates if each.name == subject.name), None)
        if there is None:
            continue
        if subject.same_weights != there.same_weights:
            kinds = [
                f"{'an adapter' if each.same_weights else 'a model of its own weights'}" for each in (subject, there)
            ]
            lines.append(
                f"different weights: {subject.name} is {kinds[0]} in {run.name} and {kinds[1]} in {other.name}"
            )
        if subject.reference != there.reference:
            lines.append(
                f"different references: {subject.name} is held to {subject.reference or 'none'} in {run.name} and to "
                f"{there.reference or 'none'} in {other.name}: their rewards are not on one scale"
            )
        if subject.beta is not None and there.beta is not None and subject.beta != there.beta:
            lines.append(
                f"different beta: {subject.name} has {subject.beta:g} in {run.name} and {there.beta:g} in "
                f"{other.name}: their reward margins are on different scales"
            )
    return lines


def differing_weights(run: Run, other: Run) -> list[str]:
    """Return which of the baseline's weights, quantisation and types differ between two runs, in words.

    A fact that one of the runs did not record, as older ones, is not compared.
    """
    one, two = (each.provenance.get("base") or {} for each in (run, other))
    return [
        f"{name} {one[key]} and {two[key]}"
        for key, name in _WEIGHTS.items()
        if key in one and key in two and one[key] != two[key]
    ]


def has_weights(run: Run) -> bool:
    """Whether a run recorded which weights its baseline has; older ones may not have."""
    return "fingerprint" in (run.provenance.get("base") or {})


def _differing_conditions(run: Run, other: Run) -> list[str]:
    """Return which conditions of evaluations differ, such as the shots of a task; those of older runs are not known."""
    ours, theirs = ({each.evaluation: each.conditions for each in one.counts} for one in (run, other))
    found, unknown = [], []
    for evaluation in ours.keys() & theirs.keys() - {"training"}:
        one, two = ours[evaluation], theirs[evaluation]
        if bool(one) != bool(two):
            unknown.append(evaluation)
            continue
        found += [
            f"{name} of {evaluation} ({_shown(one.get(name))} and {_shown(two.get(name))})"
            for name in one.keys() | two.keys()
            if one.get(name) != two.get(name)
        ]
    if unknown:
        older = other.name if any(ours[name] for name in unknown) else run.name
        found.append(f"the prompts, shots and versions of {len(unknown)} evaluations, which {older} did not record")
    return sorted(found)


def compare_with(reference: Run, run: Run, names: Sequence[str]) -> list[Comparison]:
    """Compare each named candidate of a run with the reference run's candidate of the same name, paired by example.

    This includes metrics that have a baseline value by definition.

    Raises:
        UnpairedExamplesError: The two were measured on different examples.
    """
    return [row for name in names for row in compare(_side_by_side(reference, name, run, [name]))]


def compare_adapters(run: Run, names: Sequence[str]) -> list[Comparison]:
    """Compare the named candidates of a run with the first of them, paired by example."""
    return compare(_side_by_side(run, names[0], run, names[1:]))


def _side_by_side(reference: Run, name: str, run: Run, candidates: Sequence[str]) -> Run:
    """Return a run whose baseline is a candidate of the reference run."""
    baseline = f"{name} of {reference.name}"
    subjects = [replace(run.subject(candidate), compared_with=()) for candidate in candidates]
    return replace(
        run,
        subjects=(Subject(baseline, "baseline", reference.subject(name).description), *subjects),
        measurements=(
            *(replace(each, subject=baseline) for each in _measured(reference, [name])),
            *_measured(run, candidates),
        ),
    )


def _measured(run: Run, names: Sequence[str]) -> Iterator[MetricScores]:
    """Yield the measurements of the subjects, without values by definition."""
    for each in run.measurements:
        if each.subject in names:
            yield replace(each, metric=replace(each.metric, chance=None))


def _examples(run: Run) -> dict[tuple[str, str], Texts]:
    """Map (evaluation, metric) to the ids of the baseline's examples."""
    return {
        (each.metric.evaluation, each.metric.name): each.scores.examples.ids
        for each in run.measurements
        if each.subject == run.baseline.name
    }


def _in_one_alone(ids: Texts, others: Texts) -> list[Texts]:
    """Return the ids that are not among the others, and the others that are not among these."""
    import pyarrow.compute as pc

    return [one.filter(pc.invert(pc.is_in(one, two))) for one, two in ((ids, others), (others, ids))]


def _counted(ids: Sequence[Texts]) -> tuple[int, str]:
    """Return how many different ids there are, and the first of them in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    together = pa.concat_arrays(ids)
    return int(pc.count_distinct(together).as_py()), str(pc.min(together).as_py())


def _setting(config: dict[str, Any], key: str) -> Any:
    """Return the value at a dotted key, or None."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004
