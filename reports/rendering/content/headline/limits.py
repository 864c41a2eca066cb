"""What limits belief in a headline, weightiest first.

The order is how much of the sentence a limit can undo:

1. numbers that are not finite;
2. the strongest ruler and controls that are not behind on what was gained, for then it is no gain of preferences;
3. if no gain was seen, the smallest change that could have been seen, and what could not be told at all; this first if
   it is the target;
4. how many training seeds there are;
5. training rows won far more often than held-out ones, and further rulers that are not behind;
6. what is assumed or not known of the candidate's origin;
7. values without information, or no preferences at all;
8. if a gain was seen, what 3. says of the other metrics;
9. the number of comparisons, few groups and long tails, a choice that chance explains or that was a tie, and twins that
   contradict each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

from reports.comparing.compare import ERROR_RATE, FEW_GROUPS, Comparison, family
from reports.comparing.seeds import ENOUGH_SEEDS
from reports.records import Metric, Run, Selection
from reports.rendering.content.display import cells, number, spread
from reports.rendering.content.headline.evidence import training_accuracy
from reports.rendering.content.headline.facts import (
    Facts,
    Rivalry,
    control_rivalries,
    on_target,
    ruler_rivalries,
    standing,
)
from reports.rendering.content.headline.subject import Judged
from reports.rendering.content.headline.words import opened, rival_term, shortened
from reports.rendering.content.names import metric_names

LONGEST_LIMIT = 100
"""Characters of a limit, so that two fit into the headline."""
_LONGEST_METRIC = 34
_MOST_UNITS = 2
_OF_A_COIN = 1.645 * 0.5
"""Standard deviation of a coin, times the normal distribution's 95 % quantile."""
_NOT_BEHIND = ("ahead", "as well", "not told apart")


def limits(run: Run, judged: Judged, facts: Facts, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Return everything that limits belief, a short sentence each, weightiest first."""
    names, unseen = metric_names(run), [*_without_interval(judged), *_coarse(judged.rows)]
    if facts.target != "cannot tell":
        unseen.reverse()
    is_gain, rulers, winners = facts.target in ("gain", "both"), _rulers(judged), _winners(run, facts)
    return (
        *_not_finite(run, judged),
        *rulers[:1],
        *_controls(judged, control_rivalries(judged, comparisons)),
        *([] if is_gain else unseen),
        *_seeds(judged, facts),
        *_training(run, judged),
        *rulers[1:],
        *_origin(run, judged),
        *_information(judged, facts),
        *(unseen if is_gain else []),
        *_corrected(run, judged, comparisons),
        *_groups(judged),
        *_by_chance(winners),
        *_tie(winners),
        *_twins(judged, names),
        *_no_control(run, judged),
    )


def _not_finite(run: Run, judged: Judged) -> list[str]:
    broken, found = run.not_finite(), []
    other = "The other's" if run.base else "The baseline's"
    for whose, subjects in (("Its", judged.adapters), (other, (run.baseline.name,))):
        n_broken = sum(len(broken.get(name, ())) for name in subjects)
        n_all = sum(each.subject in subjects for each in run.measurements)
        if n_broken:
            found.append(f"{whose} numbers are not finite (NaN or infinite) in {n_broken:,} of {n_all:,} metrics.")
    return found


def _rulers(judged: Judged) -> list[str]:
    return [_rival(each) for each in ruler_rivalries(judged) if each.rival in _NOT_BEHIND]


def _controls(judged: Judged, rivalries: Sequence[Rivalry]) -> list[str]:
    """Return the controls that are not behind: on the target with their value, on the other gains by their number."""
    target = on_target(judged, rivalries)
    found = [_rival(each) for each in target if each.rival in _NOT_BEHIND]
    elsewhere = [each for each in rivalries if each not in target]
    n_gained = sum(standing(row) == "better" for row in judged.elsewhere)
    for name in dict.fromkeys(each.name for each in elsewhere):
        n_equal = sum(each.rival in ("ahead", "as well") for each in elsewhere if each.name == name)
        if n_equal:
            found.append(f"{opened(rival_term(name))} gains as much on {n_equal:,} of {n_gained:,} gains elsewhere.")
    return found


def _rival(each: Rivalry) -> str:
    """Return "Picking the longest answer reaches 62.2 %, not told apart from 63.2 % here."."""
    shown = cells(each.row)
    how = "more than" if each.rival == "ahead" else "not told apart from"
    return f"{opened(rival_term(each.name))} reaches {shown.baseline}, {how} {shown.candidate} here."


def _seeds(judged: Judged, facts: Facts) -> list[str]:
    n_seeds = len(judged.adapters)
    if facts.versus == "other run" and facts.seeds == "one":
        return ["One adapter of each run: this holds for these two, not for their recipes."]
    if facts.seeds == "one":
        return ["One training seed: holds for this adapter, not for its recipe."]
    if facts.seeds == "few":
        return ["Too few training seeds to judge the recipe: this holds for this adapter."]
    if facts.seeds == "recipe" and n_seeds < ENOUGH_SEEDS:
        return [f"{n_seeds} training seeds hardly tell how far seeds lie apart."]
    return []


def _training(run: Run, judged: Judged) -> list[str]:
    """Return how much more often training pairs were won than held-out ones; see `training_accuracy` for when."""
    rewards = [row for row in judged.target if row.against == "definition" and row.metric.display == "percent"]
    for row in rewards:
        share = training_accuracy(run, judged.adapters, row)
        if share is not None:
            return [f"Wins {number(100 * share, 0)} % of its training pairs, {cells(row).candidate} of held-out ones."]
    return []


def _origin(run: Run, judged: Judged) -> list[str]:
    subject = run.subject(judged.adapters[0])
    found = []
    if not subject.knows_rows:
        found.append("Whether it saw these rows in training is not known.")
    if subject.reference_basis == "unknown":
        found.append("What its training started from is not here, so it has no implicit reward.")
    elif subject.reference is not None and subject.beta is not None:
        bases = {"reference": subject.reference_basis, "beta": subject.beta_basis}
        assumed = [name for name, basis in bases.items() if basis == "assumed"]
        if assumed:
            verb, them = ("is", "it") if len(assumed) == 1 else ("are", "them")
            found.append(f"Its {' and '.join(assumed)} {verb} assumed: nothing records {them}.")
    if not subject.same_weights:
        found.append("Its weights are not the baseline's: more than tuning differs.")
    if not subject.is_of_base:
        found.append("Its files name another base model or none: only the shapes are known to be alike.")
    return found


def _information(judged: Judged, facts: Facts) -> list[str]:
    n_empty, found = sum(not row.is_informative for row in judged.rows), []
    if n_empty:
        found.append(f"Worse than a guess at random, so a gain there means nothing: {_share_of(n_empty, judged)}.")
    if facts.aim == "measures":
        found.append("No preferences were measured: what it prefers is not known.")
    return found


def _share_of(n_metrics: int, judged: Judged) -> str:
    return f"{n_metrics:,} of {len(judged.rows):,} metrics"


def _coarse(rows: Iterable[Comparison]) -> list[str]:
    """Return the largest change of each unit that could be there unseen, where no change was seen."""
    coarsest: dict[str, tuple[float, Comparison]] = {}
    for row in rows:
        if standing(row) == "no change seen":
            amount, unit = _unseen(row), cells(row).unit
            if amount > coarsest.get(unit, (0.0, row))[0]:
                coarsest[unit] = amount, row
    amounts = [_amount(amount, row.metric) for amount, row in coarsest.values()][:_MOST_UNITS]
    return [f"Changes smaller than {' or '.join(amounts)} may be there unseen."] if amounts else []


def _unseen(row: Comparison) -> float:
    """Return the change that could have been seen, or the interval's far end if groups are alike; 0 of equal ones."""
    if row.smallest_detectable is not None:
        return row.smallest_detectable
    return max(map(abs, row.interval)) if row.interval else 0.0


def _amount(amount: float, metric: Metric) -> str:
    return spread(amount, metric) + (f" {shortened(metric.unit, 16)}" if metric.display == "mean" else "")


def _corrected(run: Run, judged: Judged, comparisons: Iterable[Comparison]) -> list[str]:
    """Return over how many comparisons the p-values are corrected: those of all candidates that were not chosen."""
    if judged.is_recipe:
        n_corrected = sum(row.is_claim for row in judged.rows)
    else:
        own = family(run, judged.name)
        n_corrected = sum(row.primary and row.is_claim and family(run, row.candidate) == own for row in comparisons)
    return [f"Corrected for {n_corrected:,} comparisons."] if n_corrected > 1 else []


def _without_interval(judged: Judged) -> list[str]:
    """Return how many metrics have numbers and no interval: too few groups carry them, or all differ by as much."""
    without = [row for row in judged.rows if row.difference is not None and row.interval is None]
    enough = [bool(row.paired.has_enough_groups) for row in without if row.paired is not None and not row.is_identical]
    found = []
    if n_too_few := enough.count(False):
        found.append(f"Too few independent rows to tell anything: {_share_of(n_too_few, judged)}.")
    if n_equal := enough.count(True):
        found.append(f"Every row differs by the same amount, which no test can judge: {_share_of(n_equal, judged)}.")
    return found


def _groups(judged: Judged) -> list[str]:
    n_few = sum(row.method == "t and skewness" and row.n_groups < FEW_GROUPS for row in judged.rows)
    n_tails = sum(row.long_tail is not None for row in judged.rows)
    found = []
    if n_few:
        found.append(f"Under {FEW_GROUPS} independent rows, where claims err more often: {_share_of(n_few, judged)}.")
    if n_tails:
        found.append(f"A long tail, so rare large values may be missing: {_share_of(n_tails, judged)}.")
    return found


def _winners(run: Run, facts: Facts) -> list[Selection]:
    """What was chosen on selection rows; nothing where the headline is of no choice."""
    return [each for each in run.selection if each.is_winner] if facts.choice == "chosen" else []


def _by_chance(winners: Iterable[Selection]) -> list[str]:
    """A choice by rows on which the chosen one is within the standard deviations of a coin that 95 of 100 are."""
    return [
        f"Chosen on {winner.n:,} rows, of which it favours {number(100 * winner.accuracy, 1)} %: no clearer than "
        f"chance, so as good as drawn."
        for winner in winners
        if winner.accuracy is not None and winner.accuracy <= 0.5 + _OF_A_COIN / sqrt(winner.n)
    ]


def _tie(winners: Iterable[Selection]) -> list[str]:
    rules = {"loss": "the lower loss decided", "order": "the first was taken"}
    found = []
    for winner in winners:
        if winner.tied_with:
            n_tied = len(winner.tied_with)
            others = shortened(winner.tied_with[0]) if n_tied == 1 else f"{n_tied:,} others"
            found.append(f"The choice was a tie with {others}: {rules.get(winner.decided_by or '', rules['order'])}.")
    return found


def _twins(judged: Judged, names: Mapping[Metric, str]) -> list[str]:
    return [
        f"{shortened(names[row.metric], _LONGEST_METRIC)} is not called unchanged: words and end of turn moved apart."
        for row in judged.rows
        if row.is_contradicted and row.p_unchanged is not None and row.p_unchanged <= ERROR_RATE
    ]


def _no_control(run: Run, judged: Judged) -> list[str]:
    is_gain = any(standing(row) == "better" and row.metric.display == "exp" for row in judged.rows)
    if not is_gain or any(subject.is_control for subject in run.subjects):
        return []
    return ["No control was measured: a lower perplexity alone says nothing of preferences."]
