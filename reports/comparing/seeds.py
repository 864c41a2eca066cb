"""Results over training seeds: the adapters of one recipe together, where every other table judges a single one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from reports.comparing.compare import Comparison
from reports.comparing.inference import Inference
from reports.comparing.statistics import SeedSpread, seed_spread
from reports.records import Metric, Run

FEWEST_SEEDS = 3
"""Fewest adapters from which a recipe is judged."""


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """A primary metric of a recipe: mean and spread over its adapters."""

    mean: Comparison
    """Comparison with the recipe as its candidate: means over adapters, and an interval over adapters."""
    adapters: tuple[str, ...]
    """Names of the adapters."""
    standard_deviation: float | None
    """Standard deviation of the adapters' differences, in the metric's unit; None if there is one adapter."""
    mean_width: float | None
    """Mean width of the adapters' own intervals, in the metric's unit; None if one of them has none."""


def over_seeds(run: Run, comparisons: Sequence[Comparison]) -> list[OverSeeds]:
    """Return each recipe on each primary metric that its adapters have, in the order of the comparisons."""
    adapters: dict[str, tuple[str, ...]] = {}
    for subject in run.subjects:
        if subject.recipe:
            adapters[subject.recipe] = (*adapters.get(subject.recipe, ()), subject.name)
    recipe_of = {name: recipe for recipe, names in adapters.items() for name in names}
    by_recipe: dict[tuple[Metric, str], list[Comparison]] = {}
    for row in comparisons:
        if row.primary and row.candidate in recipe_of:
            by_recipe.setdefault((row.metric, recipe_of[row.candidate]), []).append(row)
    return [_over_seeds(recipe, adapters[recipe], rows) for (_, recipe), rows in by_recipe.items()]


def _over_seeds(recipe: str, adapters: tuple[str, ...], rows: Sequence[Comparison]) -> OverSeeds:
    differences = {row.candidate: row.difference for row in rows if row.difference is not None}
    widths = [row.interval.high - row.interval.low for row in rows if row.interval]
    lacking = [name for name in adapters if name not in differences]
    if lacking:
        unmeasured = replace(
            rows[0],
            candidate=recipe,
            candidate_value=None,
            difference=None,
            inference=Inference(why_no_interval=f"no difference of {', '.join(lacking)}"),
            p_adjusted=None,
        )
        return OverSeeds(unmeasured, adapters, None, None)
    spread = seed_spread(np.array([differences[name] for name in adapters]))
    is_judged = len(adapters) >= FEWEST_SEEDS
    mean = replace(
        rows[0],
        candidate=recipe,
        candidate_value=fmean(row.candidate_value for row in rows if row.candidate_value is not None),
        difference=spread.mean,
        inference=Inference(
            interval=spread.interval if is_judged else None, why_no_interval=_why_no_interval(len(adapters), spread)
        ),
        p_adjusted=None,
    )
    return OverSeeds(mean, adapters, spread.standard_deviation, fmean(widths) if len(widths) == len(adapters) else None)


def _why_no_interval(n_adapters: int, spread: SeedSpread) -> str | None:
    if n_adapters < FEWEST_SEEDS:
        return f"not judged: {n_adapters} of at least {FEWEST_SEEDS} training seeds"
    return None if spread.interval else "the same difference with every seed, so its spread cannot be estimated"
