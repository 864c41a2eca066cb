"""The part of the page with the answers of the baseline and one candidate side by side, and its data."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from reports.records import Generation, Run
from reports.rendering.content.sections.answers import refusals_table
from reports.rendering.formats.page.blocks import blocks_html
from reports.rendering.formats.page.data import LARGEST_ANSWERS, json_in_html, n_bytes
from reports.rendering.formats.page.footnotes import Footnotes
from reports.rendering.formats.page.templates import template

MOST_PROMPTS = 500
"""Most prompts of an evaluation whose answers the page has, as far as they fit; the others are in generations.jsonl."""
LONGEST_ANSWER = 4_000
"""Most characters of an answer that the page has."""

Answers = dict[str, Any]
"""The prompts of an evaluation in order, and the answers of each subject in that order, None where it has none."""


def answers_part(run: Run) -> str:
    """Return the counts of refusals and the form that chooses whose answers are shown, or nothing without answers."""
    if not run.generations:
        return ""
    subjects = list(dict.fromkeys(each.subject for each in run.generations))
    refusals = blocks_html((refusals_table(run.generations, subjects),), Footnotes(), "Refusals")
    return refusals + template("answers.html")


def answers_data(run: Run) -> list[Answers]:
    """Return the answers of each evaluation that has some."""
    by_evaluation: dict[str, list[Generation]] = {}
    for generation in run.generations:
        by_evaluation.setdefault(generation.evaluation, []).append(generation)
    return [
        _answers(evaluation, generations, LARGEST_ANSWERS // len(by_evaluation))
        for evaluation, generations in by_evaluation.items()
    ]


def _answers(evaluation: str, generations: Sequence[Generation], largest_bytes: int) -> Answers:
    asked = {each.example_id: each for each in reversed(generations)}
    ids = list(dict.fromkeys(each.example_id for each in generations))
    shown = ids[: min(MOST_PROMPTS, _n_fitting(ids, generations, largest_bytes))]
    places = {example_id: place for place, example_id in enumerate(shown)}
    subjects: dict[str, list[dict[str, Any] | None]] = {}
    for each in generations:
        if each.example_id in places:
            subjects.setdefault(each.subject, [None] * len(shown))[places[each.example_id]] = _answer(each)
    return {
        "evaluation": evaluation,
        "ids": shown,
        "prompts": [asked[each].prompt for each in shown],
        "kinds": [asked[each].kind for each in shown],
        "left": len(ids) - len(shown),
        "subjects": subjects,
    }


def _n_fitting(ids: Sequence[str], generations: Sequence[Generation], largest_bytes: int) -> int:
    """Return how many prompts, from the first on, fit into so many bytes with all their answers."""
    sizes = dict.fromkeys(ids, 0)
    prompts = dict.fromkeys(ids, "")
    for each in generations:
        sizes[each.example_id] += n_bytes(json_in_html(_answer(each)))
        prompts[each.example_id] = each.prompt
    together = accumulate(sizes[each] + n_bytes(json_in_html(prompts[each])) for each in ids)
    return sum(1 for size in together if size <= largest_bytes)


def _answer(generation: Generation) -> dict[str, Any]:
    """Return an answer's text, whether it refuses, and how many of its characters are left out, where there are any."""
    answer: dict[str, Any] = {"text": generation.answer[:LONGEST_ANSWER]}
    if generation.refused:
        answer["refused"] = True
    if len(generation.answer) > LONGEST_ANSWER:
        answer["left"] = len(generation.answer) - LONGEST_ANSWER
    return answer
