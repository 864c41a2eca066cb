"""The part of the page with its examples: a form that chooses, filters and sorts them, and its data."""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import isnan
from typing import Any

from reports.records import Metric, Run
from reports.rendering.content.names import metric_names
from reports.rendering.formats.page.answers import Answers
from reports.rendering.formats.page.data import json_in_html, n_bytes
from reports.rendering.formats.page.example_sets import MOST_EXAMPLES, ExampleSet, example_sets
from reports.rendering.formats.page.templates import template
from reports.scores import ExampleScores

SMALLER = (
    *((MOST_EXAMPLES, longest) for longest in (None, 1_000, 500, 200)),
    *((most, 200) for most in (2_000, 500, 100, 1)),
)
"""Most examples of a set, and most characters of a text (None: all that the run has), from large to small."""
MANUAL = "harness report RUN --examples N"
"""The command that writes a page with another number of examples."""

Texts = dict[str, Any]
"""The ids and groups of examples in order, with their prompts and texts as far as the run has them."""


def examples_part(data: Mapping[str, Any]) -> str:
    """Return the form and the empty table that the page's script fills, or nothing if there are no examples."""
    if not data["metrics"]:
        return ""
    return _left_out(data) + template("examples.html")


def _left_out(data: Mapping[str, Any]) -> str:
    """Return a paragraph that says what the page does not have, or nothing where it has everything."""
    largest = max(data["examples"], key=lambda each: each["left"])
    n, n_left, longest = len(largest["ids"]), largest["left"], data["longest"]
    if not n_left and longest is None:
        return ""
    words = f"{n:,} of {n + n_left:,} examples are on this page: those that moved most" if n_left else ""
    cut = "" if longest is None else f"texts are cut to {longest:,} characters"
    said = "; ".join(filter(None, (words, cut)))
    return (
        f"<p>{said[:1].upper()}{said[1:]}. <code>{MANUAL}</code> writes a page with N of them; all of them are in "
        "scores.parquet and examples.jsonl.</p>\n"
    )


def fitting_examples(run: Run, answers: Sequence[Answers], largest_bytes: int) -> dict[str, Any]:
    """Return the data of the examples as far as they fit into so many bytes; texts are cut before examples go."""
    data: dict[str, Any] = {}
    sets: dict[int, list[ExampleSet]] = {}
    for most, longest in SMALLER:
        if most not in sets:
            sets = {most: example_sets(run, most)}
        data = examples_data(run, answers, sets[most], longest)
        if n_bytes(json_in_html(data)) <= largest_bytes:
            break
    return data


def examples_data(
    run: Run, answers: Sequence[Answers], sets: Sequence[ExampleSet], longest: int | None = None
) -> dict[str, Any]:
    """Return the examples; metrics over the same examples of an evaluation share the ids and texts.

    Args:
        run: What was measured.
        answers: Data of the answers, which examples of the same evaluation refer to by their place.
        sets: The examples (`example_sets`).
        longest: Most characters of a text; None is all.
    """
    names = metric_names(run)
    metrics: dict[Metric, dict[str, Any]] = {}
    owners = {place: n for n, own in enumerate(sets) for place in own.places}
    for place in sorted(owners):
        measurement, n = run.measurements[place], owners[place]
        entry = metrics.setdefault(measurement.metric, _metric_entry(measurement.metric, names[measurement.metric], n))
        entry["values"][measurement.subject] = _values(measurement.scores, sets[n])
    examples = [_texts(each, answers, longest) for each in sets]
    shown = [entry for entry in metrics.values() if entry["values"].keys() - {run.baseline.name}]
    readable = [place for place, entry in enumerate(shown) if examples[entry["examples"]]["prompts"]]
    first = min(readable, key=lambda place: not shown[place]["primary"], default=0)
    return {
        "examples": examples,
        "metrics": shown,
        "first": first,
        "sources": _sources(run, shown),
        "longest": longest,
    }


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


def _texts(own: ExampleSet, answers: Sequence[Answers], longest: int | None) -> Texts:
    ids, texts = own.ids, own.texts
    asked = next((place for place, each in enumerate(answers) if each["evaluation"] == own.evaluation), None)
    prompts = {} if asked is None else dict(zip(answers[asked]["ids"], answers[asked]["prompts"], strict=True))
    prompts |= {example_id: text.prompt for example_id, text in texts.items()}
    return {
        "ids": ids,
        "groups": own.groups,
        "left": own.n_left,
        "prompts": [_cut(prompts.get(each, ""), longest) for each in ids] if prompts else None,
        "texts": {
            what: [_cut(texts[each].texts.get(what, ""), longest) if each in texts else "" for each in ids]
            for what in sorted(set(chain(*(text.texts for text in texts.values()))))
        },
        "answers": asked,
    }


def _cut(text: str, longest: int | None) -> str:
    return text if longest is None or len(text) <= longest else text[:longest] + "\u2026"


def _values(scores: ExampleScores, own: ExampleSet) -> list[float | None]:
    """Return values with six digits, as many as the page shows; all digits are in scores.parquet."""
    values = scores.values[scores.examples.order[own.shown]].tolist()
    return [None if isnan(value) else float(f"{value:.6g}") for value in values]
