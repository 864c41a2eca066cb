"""The order of a report: headline, table, what limits belief, and then everything that the numbers rest on."""

from collections.abc import Sequence

from reports.comparing.compare import Comparison
from reports.comparing.seeds import OverSeeds
from reports.records import Run
from reports.rendering.content.blocks import Paragraph, Section
from reports.rendering.content.differences import DifferenceTable, Matrix
from reports.rendering.content.headline import Headline
from reports.rendering.content.published import published_blocks, published_section
from reports.rendering.content.sections.answers import answers_section
from reports.rendering.content.sections.flips import flips_section
from reports.rendering.content.sections.limits import limits_section
from reports.rendering.content.sections.measured import measured_section
from reports.rendering.content.sections.opening import differences_section, headline_section, missing_blocks
from reports.rendering.content.sections.provenance import provenance_section
from reports.rendering.content.sections.results import exploratory_section, methods_section, primary_section
from reports.rendering.content.sections.rivals import rivals_section
from reports.rendering.content.sections.runs import base_section, settings_section
from reports.rendering.content.sections.seeds import seeds_section
from reports.rendering.content.sections.training import choice_section, training_section
from reports.rendering.content.title import report_title


def sections(
    run: Run,
    comparisons: Sequence[Comparison],
    recipes: Sequence[OverSeeds],
    first: Headline | None,
    table: DifferenceTable | Matrix | None,
) -> tuple[Section, ...]:
    """Return the sections of a report in order, without those that are empty; the first one has the report's title."""
    found = (
        headline_section(run, first),
        differences_section(run, table),
        limits_section(run, first),
        settings_section(run),
        rivals_section(run, comparisons, recipes, first),
        primary_section(run, comparisons, table, first.subject if first else ""),
        base_section(run, comparisons),
        seeds_section(run, recipes),
        exploratory_section(run, comparisons, first.subject if first else ""),
        methods_section(run, comparisons),
        choice_section(run),
        published_section(run),
        measured_section(run),
        training_section(run),
        flips_section(run, comparisons),
        answers_section(run),
        provenance_section(run),
    )
    return tuple(section for section in found if section.blocks)


def published_sections(run: Run) -> tuple[Section, ...]:
    """Return the sections of the published layout: title and published tables alone, what was measured, provenance."""
    opening = (*((Paragraph(run.headline),) if run.headline else ()), *missing_blocks(run))
    tables = published_blocks(run) or (Paragraph("No perplexity was measured."),)
    opened = Section("published", report_title(run).text, (*opening, *tables))
    return opened, measured_section(run), provenance_section(run)
