"""What is seen first: of what the report is, the headline, and the table with its picture."""

import re
from collections.abc import Sequence
from html import escape

from reports.records import Run
from reports.rendering.content.differences import DifferenceTable, Matrix
from reports.rendering.content.headline import Headline, HeadlineKind, HeadlineLine
from reports.rendering.content.title import NOT_COMPLETE, Title
from reports.rendering.formats.page.difference_table import difference_table
from reports.rendering.formats.page.matrix import matrix_table
from reports.rendering.formats.page.pictures import figure
from reports.rendering.pictures.picture import Picture

_UNIT = re.compile(r"(?<=\d) (?=%|pp\b)")
_SHOWN: dict[HeadlineKind, tuple[str, str, str]] = {
    "gained": ("gained", "\u25b2", "Gained"),
    "lost": ("lost", "\u25bc", "Lost"),
    "no change seen": ("unseen-change", "\u2013", "No change seen"),
    "cannot tell": ("unknown", "?", "Cannot tell"),
}
"""Kind of a line -> its class, mark and words."""
NO_CANDIDATE = "No candidate was measured."
MOST_METRICS_BESIDE = 5
"""Most metrics of a matrix that leaves room for a picture beside it."""
N_LIMITS_SAID = 2
"""Limits that are in sight, as many as the headline has in other formats; the others are folded."""


def top_line(run: Run, title: Title) -> str:
    """Return the line above everything: subject, baseline, training and run; below it, what was not measured."""
    subject = f"<b><bdi>{escape(title.baseline)}</bdi></b>"
    if title.subject:
        subject = f"<b><bdi>{escape(title.subject)}</bdi></b> against {subject}"
    missing = (NOT_COMPLETE, *run.not_measured) if run.not_measured else ()
    said = (*filter(None, [run.headline]), *missing)
    about = "".join(f'<p class="about" dir="auto">{escape(line)}</p>' for line in said)
    made = tuple(fact for fact in title.run if fact != f"run {run.name}")  # the window's title has it
    facts = _facts(title.training, "trained") + _facts(made, "made")
    return f'<header><div class="top"><span>{subject}</span>{facts}</div>{about}</header>'


def first_screen(headline: Headline | None, table: DifferenceTable | Matrix | None, beside: Picture | None) -> str:
    """Return the headline and the table with its picture.

    Args:
        headline: None if no candidate was measured.
        table: None if there is nothing to compare.
        beside: The picture that goes with a matrix: beside the headline if the matrix takes the whole width.
    """
    said = _headline(headline) if headline else f"<h1>{NO_CANDIDATE}</h1>"
    match table:
        case None:
            return said
        case DifferenceTable():
            return f'{said}<section class="results" aria-label="Results">{difference_table(table)}</section>'
        case Matrix():
            kind = "broad" if len(table.metrics) > MOST_METRICS_BESIDE else "narrow"
            return (
                f'<div class="several {kind}">{said}<section class="results" aria-label="Results">'
                f"{matrix_table(table)}</section>{figure(beside, folds_note=True) if beside else ''}</div>"
            )


def _facts(facts: tuple[str, ...], kind: str) -> str:
    told = " \u00b7 ".join(f"<bdi>{escape(fact)}</bdi>" for fact in facts)
    return f'<span class="{kind}">{told}</span>' if told else ""


def _headline(headline: Headline) -> str:
    lines = "".join(_line(line) for line in headline.lines if line.kind in _SHOWN)
    return (
        f'<section class="headline" aria-labelledby="said"><h1 id="said" dir="auto">{_text(headline.sentence)}</h1>'
        f'<dl class="facts">{lines}</dl>{_belief(headline.limits)}</section>'
    )


def _text(text: str) -> str:
    """Return a text in which no line begins with the unit of the number before it."""
    return escape(_UNIT.sub("\u00a0", text))


def _line(line: HeadlineLine) -> str:
    kind, mark, words = _SHOWN[line.kind]
    return (
        f'<dt class="{kind}"><span aria-hidden="true">{mark}</span> {words}</dt><dd dir="auto">{_text(line.text)}</dd>'
    )


def _belief(limits: Sequence[str]) -> str:
    """Return what limits belief: the weightiest in sight, the others folded."""
    if not limits:
        return ""
    said, rest = _list(limits[:N_LIMITS_SAID]), limits[N_LIMITS_SAID:]
    more = (
        f"<details><summary>{len(rest)} lesser limit{'s' if len(rest) > 1 else ''}</summary>{_list(rest)}</details>"
        if rest
        else ""
    )
    return f'<div class="belief"><h2>Believe it?</h2>{said}{more}</div>'


def _list(limits: Sequence[str]) -> str:
    items = "".join(f'<li dir="auto">{_text(limit)}</li>' for limit in limits)
    return f"<ul>{items}</ul>"
