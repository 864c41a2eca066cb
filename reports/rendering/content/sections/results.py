"""The sections with every difference, and on how to read them."""

from collections import Counter
from collections.abc import Sequence

from reports.comparing.choice import is_chosen
from reports.comparing.compare import Comparison
from reports.comparing.inference import Method
from reports.comparing.seeds import FEWEST_SEEDS
from reports.records import Run
from reports.rendering.content.blocks import Block, Bullets, Code, Paragraph, Section, Subheading, Words
from reports.rendering.content.differences import DifferenceTable, Matrix
from reports.rendering.content.display import MINUS
from reports.rendering.content.sections import rows as columns

MOST_WIDE_ROWS = 40
"""Most rows of primary metrics with everything that is known of them; more have their numbers alone."""
MOST_ROWS = 100
"""Most rows of primary metrics, and of exploratory ones: a comment on a pull request holds 65,536 characters."""
_METHODS: dict[Method, str] = {
    "t and skewness": f"leaving out one group at a time, t with effective groups {MINUS} 1 degrees of freedom, and "
    "Hall's t for skewed differences where that asks for more; for amounts",
    "mid-p and score": "McNemar's mid-p over the groups won and lost, and Tango's score test where that asks for more; "
    "for paired outcomes of 0, 0.5 or 1",
    "mid-p and Wilson": "binomial mid-p and Wilson's score at the effective number of examples; for outcomes of 0, 0.5 "
    "or 1 against a definition",
    "seeds and groups": "variance of the seeds plus that of the groups, with Cochran and Cox's critical value",
}


def primary_section(
    run: Run, comparisons: Sequence[Comparison], table: DifferenceTable | Matrix | None, foremost: str
) -> Section:
    """Return how each primary metric was judged, and the numbers that the first table does not show.

    Of more than `MOST_ROWS` rows, those of the foremost candidate, or of the first adapter of the foremost recipe.
    """
    every = [row for row in comparisons if row.primary]
    rows = _of_foremost(run, every, foremost)
    if not rows:
        return Section("primary", "Primary metrics in full")
    is_shown = isinstance(table, DifferenceTable) and {row.candidate for row in rows} == {table.subject}
    numbers = [columns.BASELINE, columns.value_column(rows), columns.DIFFERENCE, columns.INTERVAL]
    chosen = [columns.METRIC, *columns.candidate_columns(rows), *([] if is_shown else numbers)]
    if any(row.p_adjusted is not None for row in rows):
        chosen.append(columns.CORRECTED_P)
    chosen.append(columns.VERDICT)
    if len(rows) <= MOST_WIDE_ROWS:
        chosen += [columns.EXAMPLES, columns.GROUPS, columns.METHOD]
        if any(row.pairing_factor is not None for row in rows):
            chosen.append(columns.PAIRING)
        if any(row.smallest_detectable is not None for row in rows):
            chosen.append(columns.POWER)
        chosen.append(columns.MACHINE_NAME)
    return Section(
        "primary",
        "Primary metrics in full",
        (columns.comparison_table(run, rows, chosen), *_left_out(len(every) - len(rows))),
        "corrected p, groups, method of the interval, smallest change seen" if is_shown else "every interval",
    )


def exploratory_section(run: Run, comparisons: Sequence[Comparison], foremost: str) -> Section:
    """Return everything that is not claimed: further metrics, also against rulers, controls and other candidates.

    Of more than `MOST_ROWS` rows, those of the foremost candidate, or of the first adapter of the foremost recipe.
    """
    further = [row for row in comparisons if not row.metric.primary and row.against != "base"]
    shown = _of_foremost(run, further, foremost)
    parts = {
        "Against the baseline: hints, not claims": [row for row in shown if row.against in ("baseline", "definition")],
        "Against surface rulers": [row for row in shown if row.against == "ruler"],
        "Against controls and other candidates": [row for row in shown if row.against == "candidate"],
    }
    blocks: list[Block] = []
    for title, rows in parts.items():
        if rows:
            blocks += [Subheading(title), columns.comparison_table(run, rows, _exploratory_columns(rows))]
    n_rows = "1 row" if len(shown) == 1 else f"{len(shown):,} rows"
    blocks += _left_out(len(further) - len(shown))
    return Section("exploratory", "Exploratory metrics", tuple(blocks), f"{n_rows}: hints, not claims")


def _of_foremost(run: Run, rows: list[Comparison], foremost: str) -> list[Comparison]:
    """Return all rows, or of more than `MOST_ROWS` those of the foremost candidate alone."""
    if len(rows) <= MOST_ROWS:
        return rows
    adapters = [subject.name for subject in run.subjects if foremost in (subject.name, subject.recipe)]
    return [row for row in rows if row.candidate in adapters[:1]]


def _left_out(n_rows: int) -> list[Block]:
    """Return where the rows are that a section leaves out."""
    return [Paragraph((f"{n_rows:,} rows of other candidates are in ", Code("report.csv"), "."))] if n_rows else []


def _exploratory_columns(rows: Sequence[Comparison]) -> list[columns.Column]:
    is_main = rows[0].against in ("baseline", "definition")
    other = [columns.BASELINE] if is_main else [columns.OTHER, columns.OTHER_VALUE]
    return [
        *(columns.METRIC, *columns.candidate_columns(rows), *other, columns.value_column(rows)),
        *(columns.DIFFERENCE, columns.INTERVAL, columns.BETTER, columns.EXAMPLES, columns.GROUPS, columns.METHOD),
    ]


def methods_section(run: Run, comparisons: Sequence[Comparison]) -> Section:
    """Return how to read the tables, and by which methods their intervals were computed."""
    if not comparisons:
        return Section("methods", "How the numbers were made")
    displays = {row.metric.display for row in comparisons}
    items: list[Words] = [
        f"Difference: candidate {MINUS} baseline (or what it is compared with), paired by example.",
        "Intervals treat groups as independent, not the rows within them, and are not adjusted for their number.",
        f"An interval holds for one adapter; a claim about a recipe needs at least {FEWEST_SEEDS} training seeds.",
    ]
    if "percent" in displays:
        items.append("pp: percentage points.")
    if "exp" in displays:
        items.append(
            f"Perplexity: difference and interval are candidate / baseline {MINUS} 1 in percent, computed exactly from "
            "the stored difference in nats per token."
        )
    if any(row.primary and row.pairing_factor is not None for row in comparisons):
        items.append(
            "Narrowed by pairing: how many times wider the interval would be without pairing by example, and the "
            "correlation across groups."
        )
    if any(row.primary and row.smallest_detectable is not None for row in comparisons):
        items.append("Smallest change seen: a true change of that size is seen in 80 % of samples like this one.")
    items += _families(run, comparisons)
    methods = Counter(row.method for row in comparisons if row.method)
    items += [
        f"Interval by {method} ({methods[method]:,} of {len(comparisons):,} comparisons): {how}."
        for method, how in _METHODS.items()
        if methods[method]
    ]
    return Section("methods", "How the numbers were made", (Bullets(tuple(items)),), "pairing, intervals, corrections")


def _families(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Return how the p-values of the families were corrected."""
    controls = {subject.name for subject in run.subjects if subject.is_control}
    has_controls = any(row.candidate in controls and row.p_adjusted is not None for row in comparisons)
    n_chosen = n_others = 0
    for row in comparisons:
        if row.p_adjusted is not None and row.candidate not in controls:
            n_chosen += is_chosen(run, row.candidate)
            n_others += not is_chosen(run, row.candidate)
    families = [
        *([f"the {n_chosen} primary metrics of the chosen candidate"] if n_chosen else []),
        *([f"the {n_others} primary metrics of the {'other ' if n_chosen else ''}candidates"] if n_others else []),
        *(["those of each control"] if has_controls else []),
    ]
    if not families:
        return []
    over = ", and apart from these over ".join(families)
    return [
        (
            "Corrected p: two-sided, at most 0.05 before correction exactly where the interval excludes no change; "
            f"corrected by Holm over {over}. Everything else is exploratory."
        )
    ]
