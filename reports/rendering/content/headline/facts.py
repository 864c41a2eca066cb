"""What the rows of a headline show, as words from closed lists: everything its sentence is made from.

A claim is made from rows alone whose p-values are corrected for the number of comparisons.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports.comparing.choice import is_chosen, peers
from reports.comparing.compare import Comparison
from reports.records import Run
from reports.rendering.content.headline.evidence import fewer_refusals
from reports.rendering.content.headline.subject import Judged

Standing = Literal["better", "worse", "changed", "no change seen", "cannot tell", "not finite", "not measured"]
"""What one row shows and may claim; changed: it moved, and neither direction is better."""
Versus = Literal["baseline", "other run"]
"""What it is compared with: the baseline (or chance), or the candidate of another run."""
Aim = Literal["preferences", "measures"]
"""What the target is: the accuracy of an implicit reward, or any primary metrics where there is none."""
Target = Literal["gain", "loss", "both", "changed", "no change seen", "cannot tell", "not finite", "not measured"]
Elsewhere = Literal["gains", "losses", "both", "everything worse", "none", "cannot tell", "not finite", "not measured"]
Rival = Literal["none", "behind", "cannot tell", "not told apart", "as well", "ahead"]
"""The strongest ruler, or control, on what was gained; in rising order.

as well: not told apart from the candidate, and better than chance (a control: than the baseline) by itself. Of one that
is only not told apart it is not known whether it does as well.
"""
Seeds = Literal["not trained here", "one", "few", "recipe"]
Choice = Literal["only", "first of several", "chosen"]
Refused = Literal["fewer", "not fewer"]
"""Whether fewer harmful prompts were refused, by count: too few are asked for a test."""

RIVALS: tuple[Rival, ...] = ("none", "behind", "cannot tell", "not told apart", "as well", "ahead")


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the sentence of a headline follows from."""

    versus: Versus
    aim: Aim
    target: Target
    elsewhere: Elsewhere
    ruler: Rival
    control: Rival
    seeds: Seeds
    choice: Choice
    refused: Refused = "not fewer"


@dataclass(frozen=True, slots=True)
class Rivalry:
    """A ruler or control on one metric of the candidate."""

    name: str
    rival: Rival
    row: Comparison


def standing(row: Comparison) -> Standing:
    """Return what a row shows; an outcome that is not corrected claims nothing."""
    if not row.is_finite:
        return "not finite"
    outcome = row.outcome
    if outcome in ("no change seen", "cannot tell", "not measured"):
        return outcome
    if not row.is_claim:
        return "cannot tell"
    return outcome if outcome in ("better", "worse") else "changed"


def facts_of(run: Run, judged: Judged, comparisons: Sequence[Comparison]) -> Facts:
    """Return what the rows show."""
    return Facts(
        versus="other run" if run.base else "baseline",
        aim="preferences" if judged.has_preferences else "measures",
        target=_target([standing(row) for row in judged.target]),
        elsewhere=_elsewhere([standing(row) for row in judged.elsewhere]),
        ruler=strongest(on_target(judged, ruler_rivalries(judged))),
        control=strongest(on_target(judged, control_rivalries(judged, comparisons))),
        seeds=_seeds(run, judged),
        choice=_choice(run, judged),
        refused="fewer" if fewer_refusals(run, judged.adapters) else "not fewer",
    )


def _target(found: Sequence[Standing]) -> Target:
    if "not finite" in found:
        return "not finite"
    if "better" in found:
        return "both" if "worse" in found else "gain"
    if "worse" in found:
        return "loss"
    for outcome in ("changed", "no change seen", "cannot tell"):
        if outcome in found:
            return outcome
    return "not measured"


def _elsewhere(found: Sequence[Standing]) -> Elsewhere:
    if "not finite" in found:
        return "not finite"
    if "better" in found:
        return "both" if "worse" in found else "gains"
    if "worse" in found:
        return "everything worse" if len(found) > 1 and set(found) == {"worse"} else "losses"
    if "no change seen" in found or "changed" in found:
        return "none"
    return "cannot tell" if "cannot tell" in found else "not measured"


def ruler_rivalries(judged: Judged) -> list[Rivalry]:
    """Return how each ruler does on what the candidate gained, the strongest first."""
    return _rivalries(judged, [(row, _ruler_beats_chance(row)) for row in judged.against_rulers])


def control_rivalries(judged: Judged, comparisons: Iterable[Comparison]) -> list[Rivalry]:
    """Return how each control does on what the candidate gained, the strongest first."""
    gains = {(row.candidate, row.metric) for row in comparisons if row.primary and standing(row) == "better"}
    return _rivalries(judged, [(row, (row.baseline, row.metric) in gains) for row in judged.against_controls])


def on_target(judged: Judged, rivalries: Iterable[Rivalry]) -> list[Rivalry]:
    """Return those of metrics of the target."""
    metrics = {row.metric for row in judged.target}
    return [each for each in rivalries if each.row.metric in metrics]


def strongest(rivalries: Iterable[Rivalry]) -> Rival:
    """Return the strongest of them, or none."""
    return max((each.rival for each in rivalries), key=RIVALS.index, default="none")


def _rivalries(judged: Judged, rows: Iterable[tuple[Comparison, bool]]) -> list[Rivalry]:
    """Return the rivalries of rows, each with whether the ruler or control gains by itself, on gained metrics alone."""
    gained = {row.metric for row in judged.rows if standing(row) == "better"}
    found = [Rivalry(row.baseline, _rival(row, gains=gains), row) for row, gains in rows if row.metric in gained]
    return sorted(found, key=lambda each: (-RIVALS.index(each.rival), -(each.row.baseline_value or 0.0)))


def _rival(row: Comparison, *, gains: bool) -> Rival:
    shown = standing(row)
    if shown == "better":
        return "behind"
    if shown == "worse":
        return "ahead"
    if shown == "no change seen":
        return "as well" if gains else "not told apart"
    return "cannot tell"


def _ruler_beats_chance(row: Comparison) -> bool:
    """Whether the ruler's own interval lies above chance."""
    paired, chance = row.paired, row.metric.chance
    if paired is None or chance is None:
        return False
    totals, counts = paired.baseline_totals, paired.baseline_counts
    if paired.over_seeds:  # rulers have no seeds: each row of these arrays is the same
        totals, counts = totals[0], counts[0]
    alone = replace(paired, candidate_totals=totals, candidate_counts=counts, over_seeds=False).against(chance)
    return not alone.cannot_tell and float(alone.interval()[0]) > 0


def _seeds(run: Run, judged: Judged) -> Seeds:
    if judged.is_recipe:
        return "recipe"
    subject = run.subject(judged.name)
    if not subject.same_weights:
        return "not trained here"
    seeds = [each for each in run.candidates if each.recipe == subject.recipe != ""]
    return "few" if len(seeds) > 1 else "one"


def _choice(run: Run, judged: Judged) -> Choice:
    if is_chosen(run, judged.adapters[0]):
        return "chosen"
    return "first of several" if n_peers(run) > 1 else "only"


def n_peers(run: Run) -> int:
    """Return how many candidates there are to choose from, of which seeds of a recipe are one."""
    return len({subject.recipe or subject.name for subject in peers(run)})
