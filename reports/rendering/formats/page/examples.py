"""The part of the page with every example: a form that chooses, filters and sorts them, and its data."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from reports.records import ExampleScore, Metric, Run, without_nan
from reports.rendering.content.names import metric_names
from reports.rendering.formats.page.answers import Answers
from reports.rendering.formats.page.templates import template

Texts = dict[str, Any]
"""The ids and groups of examples in order, with their prompts and texts as far as the run has them."""


def examples_part(data: Mapping[str, Any]) -> str:
    """Return the form and the empty table that the page's script fills, or nothing if there are no examples."""
    return template("examples.html") if data["metrics"] else ""


def examples_data(run: Run, answers: Sequence[Answers]) -> dict[str, Any]:
    """Return the examples; metrics over the same examples of an evaluation share the ids and texts.

    Args:
        run: What was measured; rulers are left out.
        answers: Data of the answers, which examples of the same evaluation refer to by their place.
    """
    subjects = {subject.name for subject in run.subjects if subject.kind != "ruler"}
    names = metric_names(run)
    places: dict[tuple[str, tuple[str, ...]], int] = {}
    examples: list[Texts] = []
    metrics: dict[Metric, dict[str, Any]] = {}
    for measurement in map(without_nan, run.measurements):
        if measurement.subject in subjects and measurement.scores:
            metric, scores = measurement.metric, sorted(measurement.scores, key=lambda score: score.example_id)
            key = (metric.evaluation, tuple(score.example_id for score in scores))
            if key not in places:
                places[key] = len(examples)
                examples.append(_texts(run, metric.evaluation, scores, answers))
            entry = metrics.setdefault(metric, _metric_entry(metric, names[metric], places[key]))
            entry["values"][measurement.subject] = [_value(score) for score in scores]
    shown = [entry for entry in metrics.values() if entry["values"].keys() - {run.baseline.name}]
    readable = [place for place, entry in enumerate(shown) if examples[entry["examples"]]["prompts"]]
    first = min(readable, key=lambda place: not shown[place]["primary"], default=0)
    return {"examples": examples, "metrics": shown, "first": first, "sources": _sources(run, shown)}


def _metric_entry(metric: Metric, name: str, place: int) -> dict[str, Any]:
    return {
        "evaluation": metric.evaluation,
        "name": name,
        "unit": metric.unit,
        "primary": metric.primary,
        "higher_is_better": metric.higher_is_better,
        "chance": metric.chance,
        "examples": place,
        "values": {},
    }


def _sources(run: Run, metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Map each evaluation that has examples to what people call it, and where its rows are from."""
    datasets = {counts.evaluation: counts.dataset_name or counts.dataset for counts in run.counts}
    first_metrics = {entry["evaluation"]: entry["name"] for entry in reversed(metrics)}
    evaluations = dict.fromkeys(entry["evaluation"] for entry in metrics)
    return {each: f"{first_metrics[each].partition(',')[0]} ({datasets.get(each) or each})" for each in evaluations}


def _texts(run: Run, evaluation: str, scores: Sequence[ExampleScore], answers: Sequence[Answers]) -> Texts:
    ids = [score.example_id for score in scores]
    texts = {text.example_id: text for text in run.examples if text.evaluation == evaluation}
    asked = next((place for place, each in enumerate(answers) if each["evaluation"] == evaluation), None)
    prompts = {} if asked is None else dict(zip(answers[asked]["ids"], answers[asked]["prompts"], strict=True))
    prompts |= {example_id: text.prompt for example_id, text in texts.items()}
    return {
        "ids": ids,
        "groups": [score.group for score in scores],
        "prompts": [prompts.get(each, "") for each in ids] if prompts else None,
        "texts": {
            what: [texts[each].texts.get(what, "") if each in texts else "" for each in ids]
            for what in sorted(set(chain(*(text.texts for text in texts.values()))))
        },
        "answers": asked,
    }


def _value(score: ExampleScore) -> float | None:
    """Return an example's value with six digits, as many as the page shows; all digits are in scores.parquet."""
    return float(f"{score.total / score.count:.6g}") if score.count else None
