"""Comparisons of a run's candidates with those of the same name in a reference run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from reports.comparing.compare import Comparison, compare
from reports.errors import UserError
from reports.records import MetricScores, Run, Subject

_CONFIGURED = (
    "data.roles",
    "data.lm_eval_tasks",
    "data.max_prompt_tokens",
    "data.max_tokens",
    "model.name",
    "model.template",
    "model.system_prompt",
    "answers",
    "seed",
)
"""Settings that determine what is measured."""


class IncomparableRunsError(UserError):
    """Two runs that did not measure the same evaluations on the same examples."""


def check_same_suite(run: Run, other: Run) -> None:
    """Refuse two runs whose suite fingerprints differ.

    Raises:
        IncomparableRunsError: They differ; the message names the fields.
    """
    if run.suite_fingerprint != other.suite_fingerprint:
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
    differing: dict[str, set[str]] = {}
    for metric in sorted(examples.keys() & others.keys()):
        differing.setdefault(metric[0], set()).update(examples[metric] ^ others[metric])
    fields += [
        f"examples of {evaluation} ({len(ids)} in one run alone, such as {min(ids)})"
        for evaluation, ids in differing.items()
        if ids
    ]
    return fields


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


def _examples(run: Run) -> dict[tuple[str, str], frozenset[str]]:
    """Map (evaluation, metric) to the ids of the baseline's examples."""
    return {
        (each.metric.evaluation, each.metric.name): frozenset(score.example_id for score in each.scores)
        for each in run.measurements
        if each.subject == run.baseline.name
    }


def _setting(config: dict[str, Any], key: str) -> Any:
    """Return the value at a dotted key, or None."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004
