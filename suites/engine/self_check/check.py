"""Checks a path against one forward a request, on the requests that could break it, before it scores anything."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from time import perf_counter

from reports.errors import first_line
from suites.engine.plan import PathCheck, ScoringPlan
from suites.engine.self_check.noise import difference, noise_sample, plain_noise
from suites.engine.self_check.risks import Suspects
from suites.engine.units import Unit, UnitMaker, UnitTooLargeError, in_turn
from suites.inputs import Request, ResponseScore

UnitScores = dict[int, dict[Request, ResponseScore]]
"""Index of a unit -> scores of its requests."""


def check_path(
    maker: UnitMaker,
    units: Sequence[Unit],
    suspects: Suspects,
    plan: ScoringPlan,
    alone: dict[Request, ResponseScore],
    *,
    is_exact: bool,
) -> tuple[PathCheck, UnitScores]:
    """Compares the plan's path with one forward a request; returns scores of units that need not be computed again too.

    The units are those that will be scored, at their full size: a family may be right in small packs only.

    Args:
        maker: Makes the units of a model.
        units: Units that are about to be scored.
        suspects: Units and requests to compare.
        plan: The plan that is checked.
        alone: Scores of requests in a forward of their own, which are added to it: a slower path needs them again.
        is_exact: Whether the model computes in fp32. Below it the tolerance is the plain path's own spread.

    Raises:
        UnitTooLargeError: Memory ran out.
    """
    try:
        computed = _computed(units, suspects.units)
        fast = {request: score for scores in computed.values() for request, score in scores.items()}
        if not is_exact:
            sample = noise_sample([request for unit in units for request in unit.requests])
            fast |= maker.scores([request for request in sample if request not in fast], plan)
    except UnitTooLargeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a foreign kernel or a family's own code may raise
        message = f"{type(error).__name__}: {first_line(error)}"
        return PathCheck(plan.path, len(suspects.requests), None, 0.0, message), {}
    if is_exact:
        return _exact_check(maker, plan, suspects.requests, fast, alone), computed
    compared = dict.fromkeys([*suspects.requests, *sample])
    for request in compared:
        alone.setdefault(request, maker.alone(request, plan))
    own = {request: alone[request] for request in compared}
    noise, found = plain_noise(maker, plan, own), difference({request: fast[request] for request in own}, own)
    check = PathCheck(
        plan.path,
        len(own),
        found.nats,
        max(1e-4, 2 * noise.nats),
        n_greedy_differences=found.n_greedy,
        n_greedy_differences_allowed=max(2, 2 * noise.n_greedy),
    )
    return check, computed


def is_slower(units: Sequence[Unit], others: Sequence[Unit]) -> bool:
    """Whether the fullest of these units takes longer than the fullest of the others, both warmed up."""

    def seconds(candidates: Sequence[Unit]) -> float:
        fullest = max(candidates, key=lambda unit: len(unit.requests))
        fullest.collect(fullest.start())
        started = perf_counter()
        fullest.collect(fullest.start())
        return perf_counter() - started

    return seconds(units) > seconds(others)


def _computed(units: Sequence[Unit], chosen: Sequence[int]) -> UnitScores:
    """Scores of these units and of all that take over from them, launched as without a check: none is needed again."""
    rows = {id(units[index].row[0]) for index in chosen}
    indices = [index for index, unit in enumerate(units) if id(unit.row[0]) in rows]
    wanted = iter(indices)
    computed: UnitScores = {}
    for unit, is_wanted in in_turn(units[index] for index in indices):
        token_scores = unit.start()
        if is_wanted:
            computed[next(wanted)] = unit.collect(token_scores)
    return computed


def _exact_check(
    maker: UnitMaker,
    plan: ScoringPlan,
    requests: Sequence[Request],
    fast: Mapping[Request, ResponseScore],
    alone: dict[Request, ResponseScore],
) -> PathCheck:
    """In fp32: the first response that is beyond its tolerance, or the one closest to it."""
    closest, largest_share = PathCheck(plan.path, len(requests), 0.0, 1e-4), -1.0
    for n_compared, request in enumerate(requests, start=1):
        if request not in alone:
            alone[request] = maker.alone(request, plan)
        mine, right = fast[request].log_probability, alone[request].log_probability
        tolerance = max(1e-4, 1e-6 * abs(right))
        are_alike = mine == right or (isnan(mine) and isnan(right))  # infinite and missing values too
        nats = 0.0 if are_alike else abs(mine - right)
        flags_differ = int(fast[request].is_greedy != alone[request].is_greedy)
        check = PathCheck(plan.path, n_compared, nats, tolerance, n_greedy_differences=flags_differ)
        if not check.passed:
            return check
        if nats / tolerance > largest_share:
            closest, largest_share = check, nats / tolerance
    return replace(closest, n_requests=len(requests))
