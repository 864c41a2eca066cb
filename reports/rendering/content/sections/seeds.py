"""The section on results over training seeds."""

from collections.abc import Sequence

from reports.comparing.seeds import FEWEST_SEEDS, OverSeeds
from reports.records import Run
from reports.rendering.content.blocks import Bullets, Noted, Section, Table, Words
from reports.rendering.content.display import OUTCOME_MARKS, cells, low_to_high, p_text, spread
from reports.rendering.content.names import metric_names

_READING = (
    "Mean, standard deviation and interval over adapters that differ only in their training seed.",
    "The interval over seeds has the variance of the seeds and that of the groups, which all adapters share.",
    "It holds for the recipe on rows like these; corrected p is two-sided, after Holm over a recipe's primary metrics.",
    "The width by example is a mean over adapters; such an interval holds for one adapter on rows like these.",
    f"A recipe is judged from at least {FEWEST_SEEDS} adapters.",
)


def seeds_section(run: Run, recipes: Sequence[OverSeeds]) -> Section:
    """Return the table of recipes over their training seeds, against the baseline or a definition."""
    rows = [row for row in recipes if row.mean.primary]
    if not rows:
        return Section("seeds", "Over training seeds")
    names = metric_names(run)
    header = (
        *("Metric", "Recipe", "Adapters", "Mean difference", "Standard deviation", "95 % interval over seeds"),
        *("Corrected p", "Verdict", "Mean width by example"),
    )
    lines = tuple(_line(row, names.get(row.mean.metric, row.mean.metric.name)) for row in rows)
    return Section(
        "seeds",
        "Over training seeds",
        (Table(header, lines, "llrrrrrlr"), Bullets(_READING)),
        "how far adapters of one recipe lie apart",
    )


def _line(row: OverSeeds, name: str) -> tuple[Words, ...]:
    mean, is_judged = row.mean, len(row.adapters) >= FEWEST_SEEDS
    interval: Words = low_to_high(cells(mean)) if is_judged else "not judged"
    if is_judged and mean.why_no_interval:
        interval = Noted(low_to_high(cells(mean)), (f"No interval: {mean.why_no_interval}.",))
    return (
        name,
        mean.candidate,
        f"{len(row.adapters):,}",
        cells(mean).difference,
        spread(row.standard_deviation, mean.metric),
        interval,
        p_text(mean.p_adjusted),
        f"{OUTCOME_MARKS[mean.outcome]} {mean.outcome}" if is_judged else "not judged",
        spread(row.mean_width, mean.metric),
    )
