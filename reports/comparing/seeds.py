"""Results over training seeds: the adapters of one recipe together, where every other table judges a single one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from reports.comparing.compare import Comparison, in_family, inferred
from reports.comparing.inference import PairedDifference
from reports.records import Run

FEWEST_SEEDS = 3
"""Fewest adapters from which a recipe is judged."""
ENOUGH_SEEDS = 5
"""Adapters from which a report no longer says that they are few."""


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A primary metric of a recipe, against the baseline or a definition, a ruler or a control."""

    mean: Comparison
    """Comparison with the recipe as its candidate: means over adapters, judged by the spread of seeds and of groups."""
    adapters: tuple[str, ...]
    """Names of the adapters."""
    standard_deviation: float | None
    """Standard deviation of the adapters' differences, in the metric's unit; None if there is one adapter."""
    mean_width: float | None
    """Mean width of the adapters' own intervals, in the metric's unit; None if one of them has none."""


def over_seeds(run: Run, comparisons: Sequence[Comparison]) -> list[OverSeeds]:
    """Return each recipe on each primary metric that its adapters have, in the order of the comparisons.

    The primary metrics of a recipe against the baseline, or a definition, are a family: their p-values are adjusted
    over all of them.
    """
    adapters: dict[str, tuple[str, ...]] = {}
    for subject in run.subjects:
        if subject.recipe:
            adapters[subject.recipe] = (*adapters.get(subject.recipe, ()), subject.name)
    recipe_of = {name: recipe for recipe, names in adapters.items() for name in names}
    by_recipe: dict[tuple[str, str, str, str], list[Comparison]] = {}
    for row in comparisons:
        if row.metric.primary and row.candidate in recipe_of and row.against != "base":
            key = recipe_of[row.candidate], row.metric.evaluation, row.metric.name, row.baseline
            by_recipe.setdefault(key, []).append(row)
    found = [_over_seeds(recipe, adapters[recipe], rows) for (recipe, *_), rows in by_recipe.items()]
    for recipe in adapters:
        family = [n for n, row in enumerate(found) if row.mean.candidate == recipe and row.mean.primary]
        for n, mean in zip(family, in_family([found[n].mean for n in family], run.gates), strict=True):
            found[n] = replace(found[n], mean=mean)
    return found


def _over_seeds(recipe: str, adapters: tuple[str, ...], rows: Sequence[Comparison]) -> OverSeeds:
    differences = {row.candidate: row.difference for row in rows if row.difference is not None}
    widths = [row.interval[1] - row.interval[0] for row in rows if row.interval]
    mean = replace(_bare(recipe, rows[0]), is_finite=all(row.is_finite for row in rows))
    reason = _why_no_mean(adapters, differences, rows)
    if reason:
        mean = replace(mean, candidate_value=None, difference=None, why_no_interval=reason)
        return OverSeeds(mean, adapters, None, None)
    twins = [row.twin_difference for row in rows if row.twin_difference is not None]
    mean = replace(
        mean,
        twin_difference=fmean(twins) if len(twins) == len(rows) else None,
        candidate_value=fmean(row.candidate_value for row in rows if row.candidate_value is not None),
        difference=fmean(differences.values()),
    )
    sums = [row.paired for row in rows if row.paired is not None]
    if len(adapters) < FEWEST_SEEDS:
        reason = f"not judged: {len(adapters)} of at least {FEWEST_SEEDS} training seeds"
        mean = replace(mean, why_no_interval=reason)
    elif len(sums) == len(rows):
        mean = inferred(replace(mean, paired=_stacked(sums)))
    deviation = stdev(differences.values()) if len(differences) > 1 else None
    return OverSeeds(mean, adapters, deviation, fmean(widths) if len(widths) == len(adapters) else None)


def _why_no_mean(adapters: Sequence[str], differences: Mapping[str, float], rows: Sequence[Comparison]) -> str:
    """Return whose numbers are not finite, and which other adapters have no difference; empty if all have one."""
    broken = [row for row in rows if not row.is_finite]
    of = dict.fromkeys(row.candidate if row.candidate_value is None else row.baseline for row in broken)
    lacking = [name for name in adapters if name not in {*differences, *(row.candidate for row in broken)}]
    reasons = [f"numbers of {', '.join(of)} are not finite"] if of else []
    return "; ".join([*reasons, *([f"no difference of {', '.join(lacking)}"] if lacking else [])])


def _bare(recipe: str, row: Comparison) -> Comparison:
    """Return a comparison of the recipe with nothing that is known of one adapter."""
    return Comparison(
        metric=row.metric,
        candidate=recipe,
        against=row.against,
        baseline=row.baseline,
        baseline_value=row.baseline_value,
        candidate_value=row.candidate_value,
        difference=row.difference,
        n=row.n,
        n_groups=row.n_groups,
        why_no_interval=row.why_no_interval,
    )


def _stacked(sums: Sequence[PairedDifference]) -> PairedDifference:
    """Return the adapters' sums with an axis of seeds, all shapes (n_seeds, n_groups)."""
    return replace(
        sums[0],
        candidate_totals=np.stack([each.candidate_totals for each in sums]),
        candidate_counts=np.stack([each.candidate_counts for each in sums]),
        baseline_totals=np.stack([each.baseline_totals for each in sums]),
        baseline_counts=np.stack([each.baseline_counts for each in sums]),
        is_outcomes=all(each.is_outcomes for each in sums),
        over_seeds=True,
    )
