"""A run and its comparisons as Markdown, CSV and a table for the terminal."""

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from tabulate import SEPARATING_LINE, tabulate

from reports.comparing.compare import Against, Comparison
from reports.comparing.seeds import over_seeds
from reports.records import Metric, Run
from reports.rendering.content.display import ARROWS, MINUS, escape_line, label, plain, shown
from reports.rendering.content.flips import flips_section
from reports.rendering.content.published import published_section, published_table, published_tables
from reports.rendering.content.results import (
    NO_CANDIDATE,
    OTHER_WEIGHTS,
    marked,
    numbers,
    results_section,
    seeds_section,
    verdict_section,
    weights_mark,
)
from reports.rendering.content.sections import answers_section, measured_section, provenance_section
from reports.rendering.content.training import selection_section, training_section
from reports.rendering.content.verdict import candidates_of, choice, foremost, recipe_verdicts, verdict

Layout = Literal["differences", "published"]
"""Paired differences with all that belongs to them, or cross-entropies side by side as write-ups print them."""

NARROWEST_TERMINAL = 100
FEW_IN_TERMINAL = 2
"""Of more candidates than these, the terminal shows all metrics of one and primary metrics of the others."""

CSV_COLUMNS: dict[str, Callable[[Run, Comparison], object]] = {
    "run": lambda run, _: run.name,
    "suite_fingerprint": lambda run, _: run.suite_fingerprint,
    "evaluation": lambda _, row: row.metric.evaluation,
    "metric": lambda _, row: row.metric.name,
    "unit": lambda _, row: row.metric.unit,
    "higher_is_better": lambda _, row: row.metric.higher_is_better,
    "primary": lambda _, row: row.primary,
    "candidate": lambda _, row: row.candidate,
    "against": lambda _, row: row.against,
    "baseline": lambda _, row: row.baseline,
    "n": lambda _, row: row.n,
    "n_groups": lambda _, row: row.n_groups,
    "baseline_value": lambda _, row: row.baseline_value,
    "candidate_value": lambda _, row: row.candidate_value,
    "difference": lambda _, row: row.difference,
    "low": lambda _, row: row.interval.low if row.interval else None,
    "high": lambda _, row: row.interval.high if row.interval else None,
    "method": lambda _, row: row.interval.method if row.interval else None,
    "why_no_interval": lambda _, row: row.why_no_interval,
    "outcome": lambda _, row: row.outcome,
    "display": lambda _, row: row.metric.display,
    "shown_baseline": lambda _, row: shown(row).baseline,
    "shown_candidate": lambda _, row: shown(row).candidate,
    "shown_difference": lambda _, row: shown(row).difference,
    "shown_low": lambda _, row: shown(row).low,
    "shown_high": lambda _, row: shown(row).high,
    "shown_unit": lambda _, row: shown(row).unit,
    "recipe": lambda run, row: run.subject(row.candidate).recipe,
    "is_control": lambda run, row: run.subject(row.candidate).is_control,
    "p_value": lambda _, row: row.p_value,
    "p_adjusted": lambda _, row: row.p_adjusted,
    "smallest_detectable": lambda _, row: row.smallest_detectable,
    "correlation": lambda _, row: row.correlation,
    "pairing_factor": lambda _, row: row.pairing_factor,
}
"""Stable columns of report.csv, new ones are only added at the end.

Values, difference, low and high are in `unit` (fractions as fractions, perplexities as nats per token), difference =
candidate_value - baseline_value; the shown_ columns hold them as the tables show them, shown_unit being that of the
difference. `against` is baseline, definition, ruler or candidate, and `baseline` its name. `recipe` is shared by
candidates that differ in their training seed alone, and empty where there is one seed; `is_control` says whether the
candidate is there to be held against. `p_value` is two-sided, from swapping both sides within groups; `p_adjusted` is
that after Holm, in the family of primary metrics of candidates that are not controls. `smallest_detectable` (in `unit`)
is what would be found with a chance of 80 %. `correlation` is that of both sides over groups, and `pairing_factor` how
many times wider the interval were without pairing.
"""
PUBLISHED_CSV_COLUMNS = ("run", "set", "averaged_over", "subject", "is_published", "nats_per_token")
"""Stable columns of report.csv in the published layout: one row a set, average and column of its tables."""


def csv_report(run: Run, comparisons: Sequence[Comparison], *, layout: Layout = "differences") -> str:
    """One tidy row a metric, candidate and thing it is held against, in full precision; missing is empty.

    In the published layout the columns are `PUBLISHED_CSV_COLUMNS`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if layout == "published":
        writer.writerow(PUBLISHED_CSV_COLUMNS)
        writer.writerows(
            (run.name, name, table.average, column.subject, column.is_published, column.nats_per_token.get(name))
            for table in published_tables(run)
            for name in table.sets
            for column in table.columns
        )
        return text.getvalue()
    writer.writerow(CSV_COLUMNS)
    writer.writerows([column(run, row) for column in CSV_COLUMNS.values()] for row in comparisons)
    return text.getvalue()


def markdown_report(run: Run, comparisons: Sequence[Comparison], *, layout: Layout = "differences") -> str:
    """The whole report: headline, verdict, tables, and under them everything needed to judge the numbers.

    In the published layout: headline, those tables alone, and what was measured with what.
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


def terminal_table(run: Run, comparisons: Sequence[Comparison], *, width: int = NARROWEST_TERMINAL) -> str:
    """Headline, verdict and results as plain text; of many candidates, all metrics of the foremost one alone.

    Args:
        run: What was measured.
        comparisons: Of `compare`.
        width: Columns at most, 100 at least.
    """
    width = max(width, NARROWEST_TERMINAL)
    blocks = [textwrap.fill(plain(run.headline), width)] if run.headline else []
    candidates = candidates_of(run, comparisons)
    if not candidates:
        return "\n\n".join([*blocks, NO_CANDIDATE])
    blocks += [textwrap.fill(plain(sentence), width) for sentence in choice(run)]
    for recipe, sentences in recipe_verdicts(over_seeds(run, comparisons)).items():
        blocks.append(_judged(f"{recipe}, over its training seeds:", sentences, width))
    is_long = len(candidates) > FEW_IN_TERMINAL
    for name in [foremost(run, candidates)] if is_long else candidates:
        rows = [row for row in comparisons if row.candidate == name]
        blocks += [
            _judged(f"{name}{weights_mark(run, name)}:", verdict(run, comparisons, name), width),
            _terminal_rows(rows, width),
        ]
    measured = {row.metric for row in comparisons if row.candidate_value is not None}
    primary = [row for row in comparisons if row.primary and row.metric in measured]
    if is_long and primary:
        blocks += ["All candidates, primary metrics:", _terminal_overview(run, primary, width)]
    return "\n\n".join([*blocks, _terminal_note(run, comparisons, width)])


def _judged(title: str, sentences: Iterable[str], width: int) -> str:
    lines = (textwrap.fill(plain(each), width, initial_indent="- ", subsequent_indent="  ") for each in sentences)
    return "\n".join([plain(title), *lines])


def _terminal_rows(rows: Iterable[Comparison], width: int) -> str:
    """A candidate's primary metrics, what else they are held against, and below a line its exploratory metrics."""
    ranks: dict[Against, int] = {"ruler": 0, "candidate": 1}
    rows = sorted(
        (row for row in rows if row.against != "candidate" or row.metric.primary),
        key=lambda row: (not row.primary, ranks.get(row.against, 2)),
    )
    grid = [(_terminal_label(row), [*numbers(row, " *"), ARROWS[row.metric.higher_is_better]]) for row in rows]
    return _terminal_grid(grid, width, n_above_line=sum(row.primary for row in rows))


def _terminal_label(row: Comparison) -> str:
    return label(row.metric) + (f", against {row.baseline}" if row.against in ("ruler", "candidate") else "")


def _terminal_overview(run: Run, rows: Sequence[Comparison], width: int) -> str:
    """Each metric with its baseline, and under it the candidates."""
    by_metric: dict[Metric, list[Comparison]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    grid: list[tuple[str, list[str]]] = []
    for metric, of_metric in by_metric.items():
        baseline, *_, n = numbers(of_metric[0], " *")
        grid.append((label(metric), [baseline, "", "", "", n, ARROWS[metric.higher_is_better]]))
        for row in of_metric:
            _, *differences, _ = numbers(row, "")
            grid.append((f"- {marked(run, row.candidate)}", ["", *differences, "", ""]))
    return _terminal_grid(grid, width)


def _terminal_grid(rows: Sequence[tuple[str, Sequence[str]]], width: int, n_above_line: int = 0) -> str:
    """Rows of a label, which is wrapped to what the numbers leave of the width, and their numbers."""
    header = ["metric", "baseline", "candidate", "difference", "95 % interval", "n", "better"]
    padded = [f"{title}  " for title in header[1:]]  # as tabulate pads them
    widths = [max(map(len, column)) for column in zip(padded, *(cells for _, cells in rows), strict=True)]
    widest_label = max(12, width - sum(widths) - 2 * len(widths))
    table: list[Any] = [["\n".join(textwrap.wrap(plain(name), widest_label)), *cells] for name, cells in rows]
    if 0 < n_above_line < len(rows):
        table.insert(n_above_line, SEPARATING_LINE)
    return tabulate(
        table, header, tablefmt="simple", colalign=("left", *["right"] * 5, "center"), disable_numparse=True
    )


def _terminal_note(run: Run, comparisons: Sequence[Comparison], width: int) -> str:
    notes = ["Primary metrics above the line, exploratory ones below it; intervals are not adjusted for their number."]
    if any(row.against == "definition" for row in comparisons):
        notes.append("* by definition.")
    if any(row.metric.display == "exp" for row in comparisons):
        notes.append(f"Differences of perplexities are candidate / baseline {MINUS} 1.")
    if not all(subject.same_weights for subject in run.subjects):
        notes.append(f"{OTHER_WEIGHTS.strip()} different weights from the baseline's.")
    return textwrap.fill(" ".join(notes), width)
