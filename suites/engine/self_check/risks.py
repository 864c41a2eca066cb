"""What could break a path in the units of a call, and the requests that would show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from suites.engine.units import Unit
from suites.inputs import Request

LARGEST_SAMPLE = 16
"""Requests that a check computes in a forward of their own."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """Units that a check computes, and those of their requests that it compares."""

    units: tuple[int, ...]
    """Indices of the units, ascending."""
    requests: tuple[Request, ...]
    risks: frozenset[str]
    """Everything that the units show which were chosen for their risks."""


def unit_risks(unit: Unit, thresholds: Sequence[int]) -> frozenset[str]:
    """Returns what a unit has that could break its path, each as a phrase.

    How its requests lie beside each other is a risk by itself and together with each length that they exceed: a family
    may be right in a line of tokens and wrong in a tree, and right in a tree until it is longer than a window.

    Args:
        unit: The unit.
        thresholds: Lengths that the configuration names (see `length_thresholds`).
    """
    lengths = [request.n_inputs for request in unit.requests]
    shortest, longest = min(lengths), max(lengths)
    traits = {"requests"}
    if any(len(request.response_ids) > 1 for request in unit.requests):
        traits.add("responses of several tokens")
    if shortest < longest:
        traits.add("requests of several lengths")
    if unit.after is not None:
        traits.add("tokens of the unit before")
    for threshold in thresholds:
        if unit.n_tokens > threshold:
            traits.add(f"more than {threshold} tokens in all")
        if longest > threshold:
            traits.add(f"a request of more than {threshold} tokens")
        if shortest <= threshold < longest:
            traits.add(f"requests on both sides of {threshold} tokens")
    return frozenset(f"{unit.path}, {shape}: {trait}" for shape in _shapes(unit) for trait in traits)


def suspects(
    units: Sequence[Unit],
    risks: Sequence[frozenset[str]],
    thresholds: Sequence[int],
    *,
    unchecked: frozenset[str],
    longest: int | None,
) -> Suspects:
    """Returns few units that show every unchecked risk, and their requests that would show it.

    Of each unit these are the longest, the shortest, the last, the first, those next to each threshold on both sides,
    and others evenly between. Of other units the shortest request is added, those with the widest range of lengths
    first: a family may read otherwise above a length that its configuration does not name, and then only the unit with
    requests on both sides of it shows that.

    Args:
        units: Units of a call.
        risks: What each of them has (see `unit_risks`).
        thresholds: Lengths that the configuration names.
        unchecked: Risks that no check has met yet.
        longest: Length of the longest request where none as long was checked, else None.
    """
    chosen: list[int] = []
    left = unchecked
    while left:
        best = max(range(len(units)), key=lambda index: (len(risks[index] & left), len(units[index].requests), -index))
        chosen.append(best)
        left -= risks[best]
    if longest is not None and all(request.n_inputs < longest for each in chosen for request in units[each].requests):
        with_longest = (any(request.n_inputs == longest for request in unit.requests) for unit in units)
        chosen.append([*with_longest].index(True))
    added = _widest(units, set(chosen))[: max(0, LARGEST_SAMPLE - 2 * len(chosen))] if chosen else []
    shortest = ([min(units[index].requests, key=length_order)] for index in added)
    in_turn = zip_longest(*(_riskiest(units[index].requests, thresholds) for index in chosen), *shortest)
    sample = dict.fromkeys(request for rank in in_turn for request in rank if request is not None)
    return Suspects(
        units=tuple(sorted([*chosen, *added])),
        requests=tuple(sample)[: max(LARGEST_SAMPLE, 2 * len(chosen))],
        risks=frozenset[str]().union(*(risks[index] for index in chosen)),
    )


def length_order(request: Request) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Sort key by length that leaves no ties between different requests."""
    return request.n_inputs, request.prompt_ids, request.response_ids


def _widest(units: Sequence[Unit], chosen: set[int]) -> list[int]:
    """Indices of the other units, the widest range of lengths first; none where units take over tokens from others.

    There each would bring others with it, which are computed only to be taken over from.
    """
    if any(unit.after is not None for unit in units):
        return []

    def length_range(index: int) -> int:
        lengths = [request.n_inputs for request in units[index].requests]
        return max(lengths) - min(lengths)

    return sorted(set(range(len(units))) - chosen, key=length_range, reverse=True)


def _shapes(unit: Unit) -> set[str]:
    """How the requests of a unit lie beside each other."""
    if len(unit.requests) == 1:
        return {"one request"}
    if unit.path not in ("flex", "tree"):
        return {"several requests"}
    shapes = set()
    for first, second in pairwise((request.prompt_ids + request.response_ids)[:-1] for request in unit.requests):
        if first[0] != second[0]:
            shapes.add("several trees")
        elif first != second[: len(first)]:
            shapes.add("branches")
    return shapes or {"prefixes of one request"}


def _riskiest(requests: Sequence[Request], thresholds: Sequence[int]) -> list[Request]:
    """Requests of a unit, those first that would show a fault."""
    by_length = sorted(requests, key=length_order)
    lengths = [request.n_inputs for request in by_length]
    first = [by_length[-1], by_length[0], requests[-1], requests[0]]
    for threshold in thresholds:
        n_within = sum(length <= threshold for length in lengths)
        if 0 < n_within < len(by_length):
            first += by_length[n_within - 1 : n_within + 1]
    step = max(1, len(requests) // LARGEST_SAMPLE)
    return [*dict.fromkeys([*first, *requests[::step], *requests])]
