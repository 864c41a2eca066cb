"""The bar that the report's claims are held to, and where a cell misses it."""

import math
from collections.abc import Iterator

from cells import Cell
from populations import Amounts
from rates import Rates, Share

WRONG = ("false claims", "false stops", "false no change")
MOST_WRONG = 0.06
"""A cell misses where the lower 99 % bound of a wrong share is above it."""
LEAST_COVERAGE = 0.94
"""A cell misses where the upper 99 % bound of the coverage is below it."""
MOST_UNTOLD = 0.05
"""Largest share of experiments with groups of equal size in which "cannot tell" may be said."""
POWER_LOST = {"normal": 0.05, "t3": 0.08, "exponential": 0.05, "lognormal": 0.05}
"""Distribution -> how much less often than before an effect towards the long tail may be found."""
SYMMETRIC = ("normal", "t3")
LEAST_POWER_AWAY = 0.75
"""Of exponential differences away from the long tail, at 5.6 true standard errors, from `FEWEST_AWAY` groups."""
FEWEST_AWAY = 60


def is_power_held(cell: Cell) -> bool:
    """Whether power is held to that of before: amounts in groups of equal size, where a t interval's is the measure."""
    population = cell.family[0][0]
    return cell.is_held and isinstance(population, Amounts) and population.sizes == "equal"


def misses(cell: Cell, rates: Rates, before: Rates | None) -> list[str]:
    """Returns where a cell misses the bar, in words; cells that are not held need only be no worse than before."""
    return list(_misses_held(cell, rates, before or {}) if cell.is_held else _worse_than_before(rates, before or {}))


def _misses_held(cell: Cell, rates: Rates, before: Rates) -> Iterator[str]:
    for measure in WRONG:
        if measure in rates and rates[measure].bound(upper=False) > MOST_WRONG:
            yield f"{measure}: {_percent(rates[measure])} is above {MOST_WRONG:.0%}"
    coverage = rates["coverage"]
    if coverage.n and coverage.bound(upper=True) < LEAST_COVERAGE:
        yield f"coverage: {_percent(coverage)} is below {LEAST_COVERAGE:.0%}"
    if is_power_held(cell):
        yield from _power_misses(cell.family[0][0], rates, before)


def _power_misses(rows: Amounts, rates: Rates, before: Rates) -> Iterator[str]:
    if rates["cannot tell"].bound(upper=False) > MOST_UNTOLD:
        yield f"cannot tell: {_percent(rates['cannot tell'])} is above {MOST_UNTOLD:.0%}"
    for measure in ("power", "power away") if rows.distribution in SYMMETRIC else ("power",):
        allowed = POWER_LOST[rows.distribution]
        if measure in before and _excess(before[measure], rates[measure]) > allowed:
            lost = f"{_percent(rates[measure])}, before {_percent(before[measure])}"
            yield f"{measure}: {lost}; {100 * allowed:.0f} points may be lost"
    is_told_away = rows.distribution == "exponential" and rows.n_groups >= FEWEST_AWAY
    if is_told_away and rates["power away 5.6"].bound(upper=True) < LEAST_POWER_AWAY:
        yield f"power away 5.6: {_percent(rates['power away 5.6'])} is below {LEAST_POWER_AWAY:.0%}"


def _worse_than_before(rates: Rates, before: Rates) -> Iterator[str]:
    for measure in WRONG:
        if measure in rates and measure in before:
            is_wrong = rates[measure].bound(upper=False) > MOST_WRONG
            if is_wrong and _excess(rates[measure], before[measure]) > 0:
                yield f"{measure}: {_percent(rates[measure])} is worse than before, {_percent(before[measure])}"
    if rates["coverage"].n and "coverage" in before:
        is_wrong = rates["coverage"].bound(upper=True) < LEAST_COVERAGE
        if is_wrong and _excess(before["coverage"], rates["coverage"]) > 0:
            yield f"coverage: {_percent(rates['coverage'])} is worse than before, {_percent(before['coverage'])}"


def _excess(one: Share, other: Share) -> float:
    """Returns by how much one share is larger than another, at least, with 99 %: normal approximation."""
    variance = sum(share.value * (1 - share.value) / share.n for share in (one, other))
    return one.value - other.value - 2.326 * math.sqrt(variance)


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} %"
