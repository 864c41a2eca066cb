"""A run as one self-contained page: the Markdown report, pictures, every example, and answers side by side.

The page loads nothing. Its content security policy allows no script but its own, so that a script in the data would not
run even if it were not escaped.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from importlib.resources import files
from itertools import chain, groupby
from string import Template
from typing import Any

from markdown_it import MarkdownIt

from reports.comparing.compare import Comparison
from reports.comparing.seeds import over_seeds
from reports.records import ExampleScore, Generation, Metric, Run, without_nan
from reports.rendering.content.display import label
from reports.rendering.content.sections.order import sections
from reports.rendering.content.verdict import candidates_of, headline_candidate
from reports.rendering.formats.figures import (
    Picture,
    forest_plots,
    margin_histograms,
    scatters,
    series,
    training_curves,
)
from reports.rendering.formats.markdown import markdown_blocks

MOST_PROMPTS = 100
"""Most prompts whose answers are shown side by side; the others are in generations.jsonl."""
LONGEST_ANSWER = 4_000
"""Most characters of an answer that are shown."""

_VERDICT, _TRAINING, _ANSWERS, _PROVENANCE = (
    "Differences from the baseline",
    "Training",
    "Answers side by side",
    "Provenance",
)
"""Titles of sections to which the page adds content."""
_MARGINS, _EXAMPLES = "Reward margins", "Example by example"
"""Headings that only the page has."""
_WORD = re.compile(r"\S+\s*|\s+")
_FOREST = (
    "<h3>Differences from the baseline</h3><p>Dots and lines: differences and 95 % intervals, in colour where the "
    "interval is clear of zero; hollow dots have no interval.</p>"
)
_MARKS = (
    "<p>Marked: words of a candidate that differ from the baseline's answer; in the baseline, words that no candidate "
    "has.</p>"
)


def html_report(run: Run, comparisons: Sequence[Comparison]) -> str:
    """Return the page as text; it is the same for the same run."""
    lead, sections = _sections_html(run, comparisons)
    candidates = candidates_of(run, comparisons)
    data = _examples_data(run)
    answers, provenance = sections.pop(_ANSWERS, ""), sections.pop(_PROVENANCE, "")
    colours = series(run)
    _add(sections, _VERDICT, _pictures(forest_plots(comparisons), colours, _FOREST))
    _add(sections, _TRAINING, _pictures(training_curves(run), colours))
    _add(sections, _MARGINS, _pictures(margin_histograms(run), colours))
    if candidates:
        name = headline_candidate(run, candidates)
        _add(sections, _EXAMPLES, _pictures(scatters(run, name), colours, f"<p>Of {escape(name)}:</p>"))
    if data["metrics"]:
        _add(sections, _EXAMPLES, _template("examples.html"))
    _add(sections, _ANSWERS, answers + _side_by_side(run) if run.generations else "")
    _add(sections, _PROVENANCE, provenance)
    page = _page(run, lead, sections, data)
    return page.encode("utf-8", errors="backslashreplace").decode("utf-8")  # lone surrogates, which no file can hold


def _add(sections: dict[str, str], title: str, html: str) -> None:
    if html:
        sections[title] = sections.get(title, "") + html


def _page(run: Run, lead: str, sections: Mapping[str, str], data: object) -> str:
    script = _template("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    anchors = {title: re.sub(r"\W+", "-", title.lower()) for title in sections}
    return Template(_template("page.html")).substitute(
        title=escape(run.name),
        style=_template("page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        lead=lead,
        links=" ".join(f'<a href="#{anchor}">{title}</a>' for title, anchor in anchors.items()),
        sections="\n".join(
            f'<section id="{anchors[title]}">\n<h2>{title}</h2>\n{html}\n</section>' for title, html in sections.items()
        ),
        data=_json_in_html(data),
    )


def _template(name: str) -> str:
    return files("reports").joinpath("rendering", "formats", "templates", name).read_text(encoding="utf-8")


def _json_in_html(data: object) -> str:
    """Return JSON without a character that could end the HTML element it is in."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _sections_html(run: Run, comparisons: Sequence[Comparison]) -> tuple[str, dict[str, str]]:
    """Return the HTML of the opening, and that of each section by its title.

    The answers are reduced to the table of refusals, because the page shows them in its own way.
    """
    parser = MarkdownIt("commonmark").enable("table")
    rendered = {}
    for section in sections(run, comparisons, over_seeds(run, comparisons)):
        blocks = section.blocks[:1] if section.title == _ANSWERS else section.blocks
        html = parser.render(markdown_blocks(blocks))
        html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>')
        rendered[section.title] = html.replace("</table>", "</table></div>")
    return rendered.pop(next(iter(rendered))), rendered


def _pictures(pictures: Iterable[Picture], colours: Mapping[str, str], lead: str = "") -> str:
    """Return pictures side by side, with a legend of the candidates' colours if there are several."""
    shown = list(pictures)
    names = dict.fromkeys(name for picture in shown for name in picture.candidates if name in colours)
    items = [f'<li><i style="background:var(--{colours[name]})"></i>{escape(name)}</li>' for name in names]
    legend = f'<ul class="legend">{"".join(items)}</ul>' if len(items) > 1 else ""
    figures = [
        f"<figure><figcaption>{escape(picture.title)}</figcaption>{picture.svg}"
        + (f'<p class="note">{escape(picture.note)}</p>' if picture.note else "")
        + "</figure>"
        for picture in shown
    ]
    return f'{lead}{legend}<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _examples_data(run: Run) -> dict[str, Any]:
    """Return the data of the table of examples; metrics over the same examples of an evaluation share the ids."""
    subjects = {subject.name for subject in run.subjects if subject.kind != "ruler"}
    places: dict[tuple[str, tuple[str, ...]], int] = {}
    examples: list[dict[str, Any]] = []
    metrics: dict[Metric, dict[str, Any]] = {}
    for measurement in map(without_nan, run.measurements):
        if measurement.subject in subjects and measurement.scores:
            metric, scores = measurement.metric, sorted(measurement.scores, key=lambda score: score.example_id)
            key = (metric.evaluation, tuple(score.example_id for score in scores))
            if key not in places:
                places[key] = len(examples)
                examples.append(_columns(run, metric.evaluation, scores))
            entry = metrics.setdefault(metric, _metric_entry(metric, places[key]))
            entry["values"][measurement.subject] = [_value(score) for score in scores]
    baseline = run.baseline.name
    shown = [entry for entry in metrics.values() if entry["values"].keys() - {baseline}]
    first = next((place for place, entry in enumerate(shown) if examples[entry["examples"]]["prompts"]), 0)
    candidates = [subject.name for subject in run.candidates]
    return {"baseline": baseline, "candidates": candidates, "examples": examples, "metrics": shown, "first": first}


def _metric_entry(metric: Metric, place: int) -> dict[str, Any]:
    return {
        "label": label(metric),
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "chance": metric.chance,
        "examples": place,
        "values": {},
    }


def _columns(run: Run, evaluation: str, scores: Sequence[ExampleScore]) -> dict[str, Any]:
    """Return ids and groups of examples in order, with their prompts, texts and answers as far as the run has them."""
    ids = [score.example_id for score in scores]
    texts = {text.example_id: text for text in run.examples if text.evaluation == evaluation}
    answers: dict[str, dict[str, Generation]] = {}
    for generation in run.generations:
        if generation.evaluation == evaluation:
            answers.setdefault(generation.subject, {})[generation.example_id] = generation
    prompts = {each.example_id: each.prompt for of_subject in answers.values() for each in of_subject.values()}
    prompts |= {example_id: text.prompt for example_id, text in texts.items()}
    return {
        "ids": ids,
        "groups": [score.group for score in scores],
        "prompts": [prompts.get(each, "") for each in ids] if prompts else None,
        "texts": {
            what: [texts[each].texts.get(what, "") if each in texts else "" for each in ids]
            for what in sorted(set(chain(*(text.texts for text in texts.values()))))
        },
        "answers": {
            subject: [of_subject[each].answer if each in of_subject else "" for each in ids]
            for subject, of_subject in answers.items()
        },
    }


def _value(score: ExampleScore) -> float | None:
    """Return an example's value with six digits, as many as the page shows; all digits are in scores.parquet."""
    return float(f"{score.total / score.count:.6g}") if score.count else None


def _side_by_side(run: Run) -> str:
    """Return the answers to each prompt, with the words marked that differ from the baseline's."""
    by_prompt: dict[tuple[str, str], list[Generation]] = {}
    for generation in run.generations:
        by_prompt.setdefault((generation.evaluation, generation.example_id), []).append(generation)
    shown = list(by_prompt.values())[:MOST_PROMPTS]
    articles = [_article(place, answers, run.baseline.name) for place, answers in enumerate(shown, start=1)]
    rest = len(by_prompt) - len(shown)
    return _MARKS + "".join(articles) + (f"<p>{rest:,} more prompts are in generations.jsonl.</p>" if rest else "")


def _article(place: int, generations: Sequence[Generation], baseline: str) -> str:
    marked = mark_changes({each.subject: each.answer[:LONGEST_ANSWER] for each in generations}, baseline)
    kind = f" {escape(generations[0].kind)}" if generations[0].kind else ""
    answers = [
        f'<div class="answer"><h4>{escape(each.subject)}{" (refused)" if each.refused else ""}</h4>'
        f"<div>{marked[each.subject] or '<em>(empty)</em>'}</div>{_rest(each.answer)}</div>"
        for each in generations
    ]
    return (
        f'<article><h3>{place}.{kind}</h3><blockquote class="prompt">{escape(generations[0].prompt)}</blockquote>'
        f'<div class="answers">{"".join(answers)}</div></article>'
    )


def _rest(answer: str) -> str:
    n_left = len(answer) - LONGEST_ANSWER
    return f'<p class="note">\u2026 {n_left:,} more characters</p>' if n_left > 0 else ""


def mark_changes(answers: Mapping[str, str], baseline: str) -> dict[str, str]:
    """Return answers by subject as HTML, with marks around words that differ from the baseline's.

    In a candidate's answer these are the words that do not match the baseline's; in the baseline's, the words that
    match no candidate's. Without an answer of the baseline nothing is marked.
    """
    if baseline not in answers:
        return {name: escape(answer) for name, answer in answers.items()}
    words = {name: _WORD.findall(answer) for name, answer in answers.items()}
    bare = {name: [word.strip() for word in found] for name, found in words.items()}
    kept: dict[str, set[int]] = {name: set() for name in answers}
    for name in answers.keys() - {baseline}:
        for block in SequenceMatcher(None, bare[baseline], bare[name], autojunk=False).get_matching_blocks():
            kept[baseline].update(range(block.a, block.a + block.size))
            kept[name].update(range(block.b, block.b + block.size))
    if len(answers) == 1:
        kept[baseline].update(range(len(words[baseline])))
    return {name: _marked(found, kept[name]) for name, found in words.items()}


def _marked(words: Sequence[str], kept: set[int]) -> str:
    """Return the words as HTML, with marks around those that are not kept; trailing spaces are not marked."""
    html = []
    for is_kept, stretch in groupby(range(len(words)), key=lambda place: place in kept):
        text = "".join(words[place] for place in stretch)
        bare = text.rstrip()
        html.append(escape(text) if is_kept or not bare else f"<mark>{escape(bare)}</mark>{text[len(bare) :]}")
    return "".join(html)
