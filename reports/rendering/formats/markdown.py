"""A run and its comparisons as the Markdown report."""

from collections.abc import Sequence

from reports.comparing.compare import Comparison
from reports.comparing.seeds import over_seeds
from reports.records import Run
from reports.rendering.content.display import escape_line
from reports.rendering.content.flips import flips_section
from reports.rendering.content.published import ReportLayout, published_section, published_table
from reports.rendering.content.results import results_section, seeds_section, verdict_section
from reports.rendering.content.sections import answers_section, measured_section, provenance_section
from reports.rendering.content.training import selection_section, training_section


def markdown_report(run: Run, comparisons: Sequence[Comparison], *, layout: ReportLayout = "differences") -> str:
    """Return the whole report: headline, verdict, tables, and then everything needed to judge the numbers.

    In the published layout: headline, the published tables alone, what was measured, and provenance.
    """
    if layout == "published":
        body = [published_table(run) or ["No perplexity was measured."], measured_section(run)]
    else:
        recipes = over_seeds(run, comparisons)
        body = [
            verdict_section(run, comparisons, recipes),
            results_section(run, comparisons),
            seeds_section(recipes),
            selection_section(run),
            published_section(run),
            measured_section(run),
            training_section(run),
            flips_section(run),
            answers_section(run),
        ]
    sections = [[escape_line(run.headline)] if run.headline else [], *body, provenance_section(run)]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"
