"""Whom the headline is about, and the rows that it is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.comparing.choice import headline_candidate
from reports.comparing.compare import Comparison, candidates_of
from reports.comparing.rivals import rivals
from reports.comparing.seeds import FEWEST_SEEDS, OverSeeds
from reports.records import Run


@dataclass(frozen=True, slots=True)
class Judged:
    """The candidate or recipe that the headline is about, with its rows on primary metrics."""

    name: str
    adapters: tuple[str, ...]
    """The candidate alone, or the adapters of the recipe, one a training seed."""
    is_recipe: bool
    target: tuple[Comparison, ...]
    """Rows on what it was trained for: see `judged`."""
    elsewhere: tuple[Comparison, ...]
    """Its other rows."""
    against_rulers: tuple[Comparison, ...]
    """Rows against surface rulers, with p-values adjusted over all of them."""
    against_controls: tuple[Comparison, ...]
    """Rows against controls, with p-values adjusted over all of them."""

    @property
    def rows(self) -> tuple[Comparison, ...]:
        """All rows that claims are made from."""
        return self.target + self.elsewhere

    @property
    def has_preferences(self) -> bool:
        """Whether it is judged by preferences, of which its baseline has no accuracy by definition but chance."""
        return any(row.metric.chance is not None for row in self.target)


def judged(run: Run, comparisons: Sequence[Comparison], recipes: Sequence[OverSeeds]) -> Judged | None:
    """Return whom the headline is about, or None without a candidate.

    It is the chosen candidate of a sweep, or the first that is no control; its recipe instead, if at least three
    training seeds were measured. Its target is the accuracy of its implicit reward, in evaluations that the suite puts
    in no group; where there is none, all primary metrics of such evaluations.
    """
    candidates = candidates_of(run, comparisons)
    if not candidates:
        return None
    name = headline_candidate(run, candidates)
    rows = [row for row in comparisons if row.candidate == name]
    adapters: tuple[str, ...] = (name,)
    recipe = run.subject(name).recipe
    seeds = [row for row in recipes if row.mean.candidate == recipe != "" and len(row.adapters) >= FEWEST_SEEDS]
    if seeds:
        name, rows, adapters = recipe, [row.mean for row in seeds], seeds[0].adapters
    grouped = {counts.evaluation for counts in run.counts if counts.suite_group}
    primary = [row for row in rows if row.primary]
    ungrouped = [row for row in primary if row.metric.evaluation not in grouped]
    target = [row for row in ungrouped if row.metric.chance is not None] or ungrouped
    others = rivals(run, rows)
    return Judged(
        name=name,
        adapters=adapters,
        is_recipe=bool(seeds),
        target=tuple(target),
        elsewhere=tuple(row for row in primary if row not in target),
        against_rulers=others.rulers,
        against_controls=others.controls,
    )
