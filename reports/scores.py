"""The scores of a metric by example, as columns: however many rows there are, none of them is a Python object."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Texts = Any
"""An Arrow array of texts (`pyarrow.LargeStringArray`), which pyarrow has no types for."""
ROWS_AT_A_TIME = 16_384
"""Rows that are made Python objects at a time, where something has to go through them one by one."""


@dataclass(frozen=True, slots=True)
class ExampleScore:
    """One example's contribution to a metric, which is always sum(total) / sum(count)."""

    example_id: str
    group: str
    total: float
    count: float


@dataclass(frozen=True, eq=False)
class ScoredExamples:
    """The ids and groups of examples in a row: one for all metrics and subjects that were scored on them."""

    ids: Texts
    groups: Texts
    """The group of each example."""

    @classmethod
    def of(cls, ids: Iterable[str], groups: Iterable[str]) -> "ScoredExamples":
        """Return the examples of these ids and groups, as many of one as of the other."""
        return cls(as_texts(ids), as_texts(groups))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        """Whether the other ones have the same ids and groups in the same order."""
        if not isinstance(other, ScoredExamples):
            return NotImplemented
        return self is other or bool(self.ids.equals(other.ids) and self.groups.equals(other.groups))

    def __hash__(self) -> int:
        return hash(len(self))

    @cached_property
    def order(self) -> Positions:
        """The positions of the examples in the order of their ids; equal ids in the order that they have here."""
        import pyarrow.compute as pc

        return np.asarray(pc.array_sort_indices(self.ids), dtype=np.int64)

    @cached_property
    def sorted_ids(self) -> Texts:
        """The ids in their own order."""
        return self.ids.take(self.order)

    @cached_property
    def group_numbers(self) -> Positions:
        """Each example's group, as its position among the groups' sorted names; shape (n_examples,)."""
        import pyarrow.compute as pc

        coded = self.groups.dictionary_encode()
        numbers = np.empty(len(coded.dictionary), dtype=np.int64)
        numbers[np.asarray(pc.array_sort_indices(coded.dictionary))] = np.arange(len(numbers))
        return np.asarray(numbers[np.asarray(coded.indices)])

    @cached_property
    def n_groups(self) -> int:
        """Number of different groups."""
        return int(self.group_numbers.max(initial=-1)) + 1

    @cached_property
    def repeated_id(self) -> str | None:
        """The first id, in their order, that several of the examples have."""
        import pyarrow.compute as pc

        ids = self.sorted_ids
        place = int(pc.index(pc.equal(ids[1:], ids[:-1]), value=True).as_py())
        return None if place < 0 else str(ids[place])

    def lacking(self, other: "ScoredExamples") -> Texts:
        """Return the sorted ids of the examples of the other ones that are not among these, by id and group.

        No id may stand here twice.
        """
        import pyarrow.compute as pc

        ids, groups = other.sorted_ids, other.groups.take(other.order)
        own_groups = self.groups.take(pc.index_in(ids, self.ids))
        return ids.filter(pc.invert(pc.fill_null(pc.equal(own_groups, groups), fill_value=False)))

    def part(self, where: NDArray[np.bool_]) -> "ScoredExamples":
        """Return the examples of a mask."""
        return ScoredExamples(self.ids.filter(where), self.groups.filter(where))


@dataclass(frozen=True, eq=False)
class ExampleScores(Sequence[ExampleScore]):
    """Scores as columns; whoever goes through them one by one gets an `ExampleScore` at a time."""

    examples: ScoredExamples
    totals: Floats
    """Shape (n_examples,)."""
    counts: Floats
    """Shape (n_examples,)."""

    @classmethod
    def of(cls, rows: Iterable[ExampleScore]) -> "ExampleScores":
        """Return rows as columns."""
        own = tuple(rows)
        examples = ScoredExamples.of((row.example_id for row in own), (row.group for row in own))
        return cls.from_columns(examples, (row.total for row in own), (row.count for row in own))

    @classmethod
    def from_columns(
        cls, examples: ScoredExamples, totals: Iterable[float], counts: Iterable[float] | None = None
    ) -> "ExampleScores":
        """Return the scores of examples.

        Args:
            examples: What was scored.
            totals: One for each.
            counts: One for each; None is a count of 1.
        """
        own = np.ones(len(examples)) if counts is None else _as_floats(counts, len(examples))
        return cls(examples, _as_floats(totals, len(examples)), own)

    def __len__(self) -> int:
        return len(self.totals)

    def __iter__(self) -> Iterator[ExampleScore]:
        for start in range(0, len(self), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            names = self.examples.ids[rows].to_pylist(), self.examples.groups[rows].to_pylist()
            yield from map(ExampleScore, *names, self.totals[rows].tolist(), self.counts[rows].tolist())

    @overload
    def __getitem__(self, place: int) -> ExampleScore: ...

    @overload
    def __getitem__(self, place: slice) -> "ExampleScores": ...

    def __getitem__(self, place: int | slice) -> "ExampleScore | ExampleScores":
        if isinstance(place, slice):
            positions = np.arange(len(self))[place]
            examples = ScoredExamples(self.examples.ids.take(positions), self.examples.groups.take(positions))
            return ExampleScores(examples, self.totals[place], self.counts[place])
        place = range(len(self))[place]
        names = self.examples.ids[place].as_py(), self.examples.groups[place].as_py()
        return ExampleScore(*names, float(self.totals[place]), float(self.counts[place]))

    def __eq__(self, other: object) -> bool:
        """Whether the other ones, or a tuple of rows, are the same scores in the same order; NaN equals nothing."""
        if isinstance(other, tuple):
            return tuple(self) == other
        if not isinstance(other, ExampleScores):
            return NotImplemented
        return self is other or (
            len(self) == len(other)
            and np.array_equal(self.totals, other.totals)
            and np.array_equal(self.counts, other.counts)
            and self.examples == other.examples
        )

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{len(self):,} scores>"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Columns do not come from run.json, so that nothing in there is taken for some."""
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(cls)

    @cached_property
    def sum_of_totals(self) -> float:
        """Sum of the totals, correctly rounded."""
        return exact_sum(self.totals)

    @cached_property
    def sum_of_counts(self) -> float:
        """Sum of the counts, correctly rounded."""
        return exact_sum(self.counts)

    @cached_property
    def not_finite(self) -> Positions:
        """Positions of the scores that are NaN or infinite."""
        return np.flatnonzero(~(np.isfinite(self.totals) & np.isfinite(self.counts)))

    @property
    def values(self) -> Floats:
        """Total / count of each example, NaN without a count; shape (n_examples,)."""
        with np.errstate(over="ignore"):
            values = np.divide(self.totals, self.counts, out=np.full(len(self), np.nan), where=self.counts != 0)
        return np.asarray(values)

    def part(self, where: NDArray[np.bool_]) -> "ExampleScores":
        """Return the scores of a mask."""
        return ExampleScores(self.examples.part(where), self.totals[where], self.counts[where])

    def in_order(self) -> "ExampleScores":
        """Return the scores in the order of their ids."""
        order = self.examples.order
        examples = ScoredExamples(self.examples.sorted_ids, self.examples.groups.take(order))
        return ExampleScores(examples, self.totals[order], self.counts[order])


def as_texts(texts: Iterable[str]) -> Texts:
    """Return texts as an Arrow array."""
    import pyarrow as pa

    return pa.array(texts if isinstance(texts, list | tuple) else list(texts), pa.large_string())


def exact_sum(values: Floats) -> float:
    """Return the sum, correctly rounded as by `math.fsum`; infinite where it is too large for a float."""
    try:
        return math.fsum(one_by_one(values))
    except OverflowError:
        return float(values.sum())


def one_by_one(values: Floats) -> Iterator[float]:
    """Return an iterator over a column as Python's floats, few of which are there at a time."""
    starts = range(0, len(values), ROWS_AT_A_TIME)
    return chain.from_iterable(values[start : start + ROWS_AT_A_TIME].tolist() for start in starts)


def _as_floats(values: Iterable[float], n: int) -> Floats:
    if isinstance(values, np.ndarray):
        return np.asarray(values, dtype=np.float64)
    return np.fromiter(values, dtype=np.float64, count=n)
