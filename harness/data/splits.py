"""Seeded splits and samples of whole groups that do not depend on the order of rows."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from suites.inputs import Example, Pair, Question, RatedAnswer

Item = TypeVar("Item", bound=Pair | RatedAnswer | Example | Question)


def position_of(group: str, seed: int, purpose: str) -> float:
    """Where a group falls in [0, 1): uniform over groups, independent between seeds and between purposes."""
    digest = hashlib.sha256(f"{purpose}\n{seed}\n{group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def share_of_groups(groups: Iterable[str], fraction: float, seed: int, purpose: str) -> frozenset[str]:
    """About that fraction of the groups; of two groups or more, at least one is taken and at least one is not."""
    positions = {group: position_of(group, seed, purpose) for group in groups}
    ordered = sorted(positions, key=lambda group: (positions[group], group))
    n_taken = sum(position < fraction for position in positions.values())
    return frozenset(ordered[: min(max(n_taken, 1), len(ordered) - 1)])


def sample_by_group(rows: Sequence[Item], limit: int | None, seed: int) -> tuple[Item, ...]:
    """A seeded sample of whole groups with at most `limit` rows, in the order of `rows`.

    Groups are taken in a seeded order until the next one would be too many. The first one is taken in any case, even
    where it alone has more rows than `limit`. None takes all.
    """
    if limit is None or len(rows) <= limit:
        return tuple(rows)
    sizes = Counter(row.group for row in rows)
    taken: set[str] = set()
    n_rows = 0
    for group in sorted(sizes, key=lambda group: (position_of(group, seed, "sample"), group)):
        if taken and n_rows + sizes[group] > limit:
            break
        taken.add(group)
        n_rows += sizes[group]
    return tuple(row for row in rows if row.group in taken)
