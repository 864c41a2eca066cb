"""Splits, samples and blocks of rows that keep together what belongs together: groups, or rows of one prompt."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from harness.data.make import Trainable
from suites.inputs import Example, Pair, Prompt, Question, RatedAnswer

Item = TypeVar("Item", bound=Pair | RatedAnswer | Example | Question)

PROMPTS_A_BLOCK = 1024
"""Prompts whose answers are tokens as Python's objects at a time."""


def position_of(group: str, seed: int, purpose: str) -> float:
    """A number in [0, 1) that is uniform over groups and independent between seeds and between purposes."""
    digest = hashlib.sha256(f"{purpose}\n{seed}\n{group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def share_of_groups(groups: Iterable[str], fraction: float, seed: int, purpose: str) -> frozenset[str]:
    """About that fraction of the groups; of two or more groups at least one is taken and at least one is left."""
    positions = {group: position_of(group, seed, purpose) for group in groups}
    ordered = sorted(positions, key=lambda group: (positions[group], group))
    n_taken = sum(position < fraction for position in positions.values())
    return frozenset(ordered[: min(max(n_taken, 1), len(ordered) - 1)])


def blocks_by_prompt(rows: Sequence[Trainable], n_prompts: int) -> list[list[int]]:
    """Divides the places of rows into blocks of so many prompts, each with all rows of its prompts.

    Blocks are in the order in which their prompts come first. Answers to one prompt are tokenised with one boundary, so
    that no block needs another one.
    """
    numbers: dict[Prompt, int] = {}
    blocks: list[list[int]] = []
    for place, row in enumerate(rows):
        number = numbers.setdefault(row.prompt, len(numbers))
        if number // n_prompts == len(blocks):
            blocks.append([])
        blocks[number // n_prompts].append(place)
    return blocks


def sample_by_group(rows: Sequence[Item], limit: int | None, seed: int) -> tuple[Item, ...]:
    """A seeded sample of whole groups with at most `limit` rows, in the order of `rows`.

    Groups are taken in a seeded order until the next one would exceed the limit. The first one is always taken, even if
    it alone has more rows than `limit`. None takes all rows.

    `suites.lm_eval.tasks.sample_by_group` samples lm-eval's rows in another seeded order. Both orders are kept, because
    changing either would change which rows past runs were measured on. This order comes from a hash of each group, so
    that a sample stays nearly the same when a dataset gains rows.
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
