"""The section on surface rulers, controls and other candidates: whether a gain is one that they make too."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.comparing.compare import Comparison
from reports.comparing.rivals import Rivals, rivals
from reports.comparing.seeds import FEWEST_SEEDS, OverSeeds
from reports.records import Run
from reports.rendering.content.blocks import Block, Bullets, Code, Folded, Paragraph, Section, Subheading
from reports.rendering.content.headline import Headline
from reports.rendering.content.sections import rows as columns

MOST_OTHERS = 3
"""Most candidates with tables of their own beside the headline's subject."""
_TITLE = "Rulers and controls"
_SUMMARY = "whether a gain is one that the length of answers, counting words or fluency gives too"


@dataclass(frozen=True, slots=True)
class _Contender:
    """A candidate, or a recipe that is judged over its seeds, with its rivals."""

    name: str
    adapter: str
    """The candidate itself, or the first adapter of the recipe."""
    rivals: Rivals


def rivals_section(
    run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds], headline: Headline | None
) -> Section:
    """Return the tests against rulers, controls and other candidates: of the headline's subject, then of the others."""
    everyone = _everyone(run, comparisons, recipes)
    first = [each for each in everyone if headline is not None and each.name == headline.subject]
    blocks = [block for each in first for block in _blocks(run, each)]
    others = {each.name: found for each in everyone if each not in first and (found := _blocks(run, each))}
    if len(others) > MOST_OTHERS:
        names = ", ".join(others)
        blocks.append(Paragraph((f"The same of {len(others)} others is in ", Code("report.csv"), f": {names}.")))
    else:
        blocks += [Folded(f"Of {name}", tuple(found)) for name, found in others.items()]
    return Section("rivals", _TITLE, tuple(blocks), _SUMMARY)


def _everyone(run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds]) -> list[_Contender]:
    """Return each recipe with enough training seeds, and each candidate that is no seed of one of these."""
    judged = [row for row in recipes if len(row.adapters) >= FEWEST_SEEDS]
    recipe_of = {adapter: row.mean.candidate for row in judged for adapter in row.adapters}
    first: dict[str, str] = {}
    rows: dict[str, list[Comparison]] = {}
    for subject in run.candidates:
        name = recipe_of.get(subject.name, subject.name)
        if name not in first:
            first[name] = subject.name
            means = [row.mean for row in judged if row.mean.candidate == name]
            rows[name] = means or [row for row in comparisons if row.candidate == name]
    return [_Contender(name, first[name], rivals(run, rows[name])) for name in first if rows[name]]


def _blocks(run: Run, contender: _Contender) -> list[Block]:
    name, found = contender.name, contender.rivals
    tables = {
        f"{name} against surface rulers: a gain that a ruler makes too is not shown to be alignment": found.rulers,
        f"{name} against controls: a gain that a control makes too says nothing about preferences": found.controls,
        f"{name} against other candidates, exploratory": found.others,
    }
    blocks: list[Block] = []
    for title, rows in tables.items():
        measured = _measured(rows)
        if measured:
            blocks += [Subheading(title), columns.comparison_table(run, measured, _columns(measured))]
    return [*blocks, *_remarks(run, contender)]


def _measured(rows: Sequence[Comparison]) -> list[Comparison]:
    return [row for row in rows if row.outcome != "not measured"]


def _columns(rows: Sequence[Comparison]) -> list[columns.Column]:
    corrected = [columns.CORRECTED_P] if any(row.p_adjusted is not None for row in rows) else []
    return [
        *(columns.METRIC, columns.OTHER, columns.OTHER_VALUE, columns.value_column(rows), columns.DIFFERENCE),
        *(columns.INTERVAL, *corrected, columns.AGAINST),
    ]


def _remarks(run: Run, contender: _Contender) -> list[Block]:
    """Return what a candidate was made from, and which of those it is held against share no metric with it."""
    subject = run.subject(contender.adapter)
    compared = {row.baseline for row in _measured((*contender.rivals.controls, *contender.rivals.others))}
    items = []
    for name in subject.compared_with:
        if name not in compared:
            items.append(f"Against {name}: no primary metric in common.")
        elif subject.reference == name:
            items.append(f"{contender.name} started from {name}.")
        elif run.subject(name).same_weights and not subject.same_weights:
            items.append(f"{contender.name} against {name} is what merging it changed.")
    return [Bullets(tuple(items))] if items else []
