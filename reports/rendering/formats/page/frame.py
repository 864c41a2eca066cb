"""A run as one self-contained page: headline and table first, then pictures, every section, answers and examples.

The page loads nothing. Its content security policy allows no script but its own, so that a script in the data would not
run even if it were not escaped.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from reports.comparing.choice import headline_candidate
from reports.comparing.compare import candidates_of
from reports.rendering.content.differences import DifferenceTable, Matrix
from reports.rendering.content.report import Report
from reports.rendering.content.title import report_title
from reports.rendering.formats.page.answers import answers_data, answers_part
from reports.rendering.formats.page.blocks import sections_part
from reports.rendering.formats.page.data import LARGEST_PAGE, json_in_html, n_bytes
from reports.rendering.formats.page.example_sets import example_sets
from reports.rendering.formats.page.examples import examples_data, examples_part, fitting_examples
from reports.rendering.formats.page.first_screen import first_screen, top_line
from reports.rendering.formats.page.pictures import picture_data, pictures_part
from reports.rendering.formats.page.templates import diff_library, template
from reports.rendering.pictures.drawing.palette import DARK, LIGHT, stylesheet
from reports.rendering.pictures.picture import Picture

BESIDE_A_MATRIX = "gain-and-cost"
"""Name of the picture that a matrix has beside it."""
SHOWN_ELSEWHERE = ("headline", "differences", "answers")
"""Names of sections that the page shows in its own way."""
_ROOM = 20_000
"""Bytes of the page around the data of its examples: their form, and what says how many there are."""
STYLES = ("frame.css", "first_screen.css", "below.css", "examples.css", "print.css")
SCRIPTS = ("words.js", "folds.js", "pictures.js", "matrix.js", "examples.js", "answers.js", "start.js")


def html_report(report: Report, pictures: Sequence[Picture], n_examples: int | None = None) -> str:
    """Return the page with the report's pictures as text; it is the same for the same run.

    Args:
        report: What it shows.
        pictures: Those of the report.
        n_examples: Most examples of a set, however large the page gets; None is `MOST_EXAMPLES`, of which texts are
            cut and examples left out where the page would be larger than `LARGEST_PAGE`.
    """
    run, title = report.run, report_title(report.run)
    beside = _beside(report.table, pictures)
    told = [each for each in report.sections if each.name not in SHOWN_ELSEWHERE]
    answers = answers_data(run)
    data = {
        "run": run.name,
        "baseline": run.baseline.name,
        "candidates": [each.name for each in run.candidates],
        "chosen": headline_candidate(run, measured) if (measured := candidates_of(run, report.comparisons)) else None,
        "answers": answers,
        "pictures": picture_data(pictures),
    }
    first = first_screen(report.headline, report.table, beside)
    parts = [
        Part("pictures", "Pictures", pictures_part([each for each in pictures if each is not beside])),
        Part("sections", "Everything else", sections_part(told)),
        Part("answers", "Answers side by side", answers_part(run)),
    ]
    bare = _page(title.text, _body(top_line(run, title), first, parts), data)
    if n_examples is None:
        examples = fitting_examples(run, answers, LARGEST_PAGE - _ROOM - n_bytes(bare))
    else:
        examples = examples_data(run, answers, example_sets(run, n_examples))
    parts.append(Part("examples", "Example by example", examples_part(examples)))
    page = _page(title.text, _body(top_line(run, title), first, parts), data | examples)
    return page.encode("utf-8", errors="backslashreplace").decode("utf-8")  # lone surrogates, which no file can hold


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the page below the first screen; one without HTML is left out."""

    name: str
    title: str
    html: str


def _beside(table: DifferenceTable | Matrix | None, pictures: Sequence[Picture]) -> Picture | None:
    found = (each for each in pictures if each.name == BESIDE_A_MATRIX)
    return next(found, None) if isinstance(table, Matrix) else None


def _body(top: str, first: str, parts: Sequence[Part]) -> str:
    """Return the page in the order in which it is read."""
    shown = [part for part in parts if part.html]
    links = " ".join(f'<a href="#part-{part.name}">{part.title}</a>' for part in shown)
    below = "\n".join(
        f'<section class="below" id="part-{part.name}" aria-labelledby="title-{part.name}">'
        f'<h2 id="title-{part.name}">{part.title}</h2>\n{part.html}</section>'
        for part in shown
    )
    return f'{top}\n<main>\n{first}\n<nav class="where" aria-label="Below">{links}</nav>\n{below}\n</main>'


def _page(title: str, body: str, data: object) -> str:
    scripts = [diff_library(), _own_script()]
    return Template(template("page.html")).substitute(
        title=escape(title),
        style=_style(),
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        body=body,
        data=json_in_html(data),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _style() -> str:
    """Return the style: every colour of the pictures for light and dark, then the style of the page itself."""
    colours = "".join(f"--{name}:light-dark({LIGHT[name]},{DARK[name]});" for name in LIGHT)
    pictures = stylesheet("svg", {name: f"var(--{name})" for name in LIGHT})
    return "\n".join((f":root{{{colours}}}", *map(template, STYLES), pictures))


def _own_script() -> str:
    """Return the page's script, of which no name reaches the window."""
    return "\n".join(('"use strict";(() => {', *map(template, SCRIPTS), "})();"))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
