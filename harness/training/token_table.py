"""Training rows as columns of token ids: 4 bytes a token, and an object only of a row that is looked at by itself.

The columns are Arrow's: lists of int32, in memory or in a file without a name that is mapped into memory, so that the
rows of a large dataset are read where they lie.
"""

import hashlib
import mmap
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from harness.training.checkpoints import UnwritableError
from harness.training.recipe import KINDS, RatedRequest, TrainingRow, kind_of
from reports.errors import first_line
from suites.engine.encoding import RULES, EncodedPair, EncodedResponse
from suites.inputs import Request

if TYPE_CHECKING:
    import pyarrow as pa

PROMPT, RESPONSE, REJECTED = "prompt", "response", "rejected"
"""Columns of token ids; the response of a pair is its chosen one."""
RATING = "is_good"
NOTES, REJECTED_NOTES = "notes", "rejected_notes"
"""Columns of pairs: what encoding changed in each response (`_notes_of`)."""
_RESPONSES: Mapping[str, tuple[str, ...]] = {
    KINDS["dpo"]: (RESPONSE, REJECTED),
    KINDS["kto"]: (RESPONSE,),
    KINDS["sft"]: (RESPONSE,),
    "": (),
}
"""Kind of rows -> their columns of responses; no rows have no kind."""
_FLAGS = tuple(RULES.values())
"""Fields of `EncodedResponse` that are kept as bits of one number."""
_ROWS_A_BATCH = 4096
"""Rows that are written, and made objects of, at a time."""


@dataclass(frozen=True)
class TokenTable(Sequence[TrainingRow]):
    """Training rows of one kind; as a sequence it makes objects of the rows that are asked for."""

    kind: str
    """One of the values of `KINDS`; empty without rows."""
    columns: "pa.Table"

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @overload
    def __getitem__(self, index: int) -> TrainingRow: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> TrainingRow | Self:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        number = range(len(self))[index]  # refuses what is outside, counts from the end what is negative
        return next(iter(type(self)(self.kind, self.columns.slice(number, 1))))

    def __iter__(self) -> Iterator[TrainingRow]:
        for batch in self.columns.to_batches(max_chunksize=_ROWS_A_BATCH):
            yield from _rows_of(self.kind, batch.to_pydict())

    def take(self, places: NDArray[np.integer[Any]]) -> Self:
        """Return the rows at these places, in their order."""
        return type(self)(self.kind, self.columns.take(places))

    def stored(self, places: NDArray[np.integer[Any]], folder: Path | None) -> Self:
        """Return the rows at these places, in their order, in a file of their own as `table_of` writes it."""
        parts = (places[first : first + _ROWS_A_BATCH] for first in range(0, len(places), _ROWS_A_BATCH))
        batches = (batch for part in parts for batch in self.columns.take(part).to_batches())
        return type(self)(self.kind, _stored(self.columns.schema, batches, folder))

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, the prompt and one response: shape (n_rows, n_responses)."""
        import pyarrow.compute as pc

        if not self.kind:
            return np.zeros((0, 1), np.int64)
        prompts, *responses = (
            pc.list_value_length(self.columns[name]).to_numpy().astype(np.int64)
            for name in (PROMPT, *_RESPONSES[self.kind])
        )
        return np.stack([prompts + each for each in responses], axis=1)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(self.lengths.max(initial=0))

    @property
    def ratings(self) -> NDArray[np.bool_]:
        """Whether each answer is good; empty where rows have no rating."""
        is_rated = self.kind == KINDS["kto"]
        return np.asarray(self.columns[RATING].to_numpy() if is_rated else (), dtype=bool)

    @cached_property
    def content(self) -> str:
        """Hash of kind, token ids and ratings, however the rows are divided into chunks."""
        digest = hashlib.sha256(f"{self.kind}\n{len(self)}\n".encode())
        for name in (PROMPT, *_RESPONSES[self.kind]) if self.kind else ():
            hash_lists(digest, self.columns[name])
        digest.update(self.ratings.tobytes())
        return digest.hexdigest()[:16]

    def good_answers(self) -> Self:
        """Return the chosen sides of pairs, or the answers that are not rated bad, as answers."""
        columns = self.columns.filter(self.ratings) if len(self.ratings) else self.columns
        return type(self)(self.kind and KINDS["sft"], columns.select([PROMPT, RESPONSE] if self.kind else []))

    def swapped(self, is_swapped: NDArray[np.bool_]) -> Self:
        """Return the rows with wrong labels in some: sides or rating turned round; an answer has no label."""
        if self.kind == KINDS["kto"]:
            return self._with({RATING: np.logical_xor(self.ratings, is_swapped)})
        if self.kind != KINDS["dpo"]:
            return self
        here, there = np.arange(len(self)), np.arange(len(self)) + len(self)
        first, second = np.where(is_swapped, there, here), np.where(is_swapped, here, there)
        turned: dict[str, Any] = {}
        for one, other in ((RESPONSE, REJECTED), (NOTES, REJECTED_NOTES)):
            both = _joined(self.columns[one], self.columns[other])
            turned |= {one: both.take(first), other: both.take(second)}
        return self._with(turned)

    def _with(self, columns: Mapping[str, Any]) -> Self:
        """Return the table with other values in some columns."""
        import pyarrow as pa

        own = {name: columns.get(name, self.columns[name]) for name in self.columns.column_names}
        return type(self)(self.kind, pa.table(own))


def table_of(rows: Iterable[TrainingRow], folder: Path | None = None) -> TokenTable:
    """Return rows of one kind as a table, one that is a table already as it is.

    Args:
        rows: rows, which are taken one by one.
        folder: where the file without a name is written that the table lies in; None keeps it in memory.
    """
    import pyarrow as pa

    if isinstance(rows, TokenTable):
        return rows
    left = iter(rows)
    first = next(left, None)
    if first is None:
        return TokenTable("", pa.table({}))
    kind = kind_of(first)
    types = _types(kind)
    return TokenTable(kind, _stored(pa.schema(types), _batches(kind, chain([first], left), types), folder))


def hash_lists(digest: Any, column: "pa.ChunkedArray") -> None:
    """Add the lists of a column to a hash: how long each is, then all their numbers."""
    import pyarrow.compute as pc

    digest.update(pc.list_value_length(column).to_numpy().astype("<i4").tobytes())
    for chunk in column.chunks:
        digest.update(chunk.flatten().to_numpy().astype("<i4", copy=False).data)


def _stored(schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]", folder: Path | None) -> "pa.Table":
    """Return batches as one table: in memory, or in a file that has no name and ends with the last use of the table.

    Raises:
        UnwritableError: the folder does not take the file.
    """
    import pyarrow as pa

    def write(sink: Any) -> None:
        with pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    if folder is None:
        memory = pa.BufferOutputStream()
        write(memory)
        return pa.ipc.open_stream(memory.getvalue()).read_all()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            write(file)
            file.flush()
            mapped = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise UnwritableError(
            f"--workspace: the rows' tokens cannot be written into {folder} ({error.strerror or first_line(error)}); "
            f"free some space, or choose another folder"
        ) from error
    return pa.ipc.open_stream(mapped).read_all()


def _types(kind: str) -> dict[str, Any]:
    """Return the columns of a kind of rows with their types."""
    import pyarrow as pa

    tokens, notes = pa.list_(pa.int32()), pa.list_(pa.int32(), 3)
    types = {PROMPT: tokens, **dict.fromkeys(_RESPONSES[kind], tokens)}
    if kind == KINDS["dpo"]:
        return {**types, NOTES: notes, REJECTED_NOTES: notes}
    return {**types, RATING: pa.bool_()} if kind == KINDS["kto"] else types


def _batches(kind: str, rows: Iterable[TrainingRow], types: Mapping[str, Any]) -> "Iterator[pa.RecordBatch]":
    """Yield rows of one kind as batches of Arrow's."""
    some = _Batch()
    for row in rows:
        if kind_of(row) != kind:
            raise ValueError(f"a table of {kind} takes no {kind_of(row)}")
        some.add(row)
        if len(some) == _ROWS_A_BATCH:
            yield some.as_arrow(types)
            some = _Batch()
    if len(some):
        yield some.as_arrow(types)


class _Batch:
    """Some rows as arrays that grow."""

    def __init__(self) -> None:
        self._ids = {name: array("i") for name in (PROMPT, RESPONSE, REJECTED)}
        self._starts = {name: array("i", [0]) for name in self._ids}
        self._notes = {name: array("i") for name in (NOTES, REJECTED_NOTES)}
        self._ratings = array("b")

    def __len__(self) -> int:
        return len(self._starts[PROMPT]) - 1

    def add(self, row: TrainingRow) -> None:
        """Add a row of the kind that all others have."""
        match row:
            case EncodedPair():
                self._add(PROMPT, row.prompt_ids)
                self._add(RESPONSE, row.chosen_ids)
                self._add(REJECTED, row.rejected_ids)
                self._notes[NOTES].extend(_notes_of(row.chosen))
                self._notes[REJECTED_NOTES].extend(_notes_of(row.rejected))
            case RatedRequest():
                self._add_request(row.request)
                self._ratings.append(row.is_good)
            case Request():
                self._add_request(row)

    def _add_request(self, request: Request) -> None:
        self._add(PROMPT, request.prompt_ids)
        self._add(RESPONSE, request.response_ids)

    def _add(self, name: str, ids: Iterable[int]) -> None:
        self._ids[name].extend(ids)
        self._starts[name].append(len(self._ids[name]))

    def as_arrow(self, types: Mapping[str, Any]) -> "pa.RecordBatch":
        """Return the rows as a batch with columns of these types."""
        import pyarrow as pa

        lists = {
            name: pa.ListArray.from_arrays(np.frombuffer(self._starts[name], "i4"), np.frombuffer(ids, "i4"))
            for name, ids in self._ids.items()
        }
        notes = {
            name: pa.FixedSizeListArray.from_arrays(np.frombuffer(each, "i4"), 3) for name, each in self._notes.items()
        }
        ratings = pa.array(np.frombuffer(self._ratings, "i1").astype(bool))
        columns = {**lists, **notes, RATING: ratings}
        return pa.record_batch([columns[name] for name in types], schema=pa.schema(types))


def _notes_of(response: EncodedResponse) -> tuple[int, int, int]:
    """Return what is known of a response beside its ids: terminator, bytes, and a bit for each rule that applied."""
    flags = sum(getattr(response, name) << bit for bit, name in enumerate(_FLAGS))
    return response.n_terminator_tokens, response.n_content_bytes, flags


def _response(request: Request, notes: Sequence[int]) -> EncodedResponse:
    """Return the response that `_notes_of` took apart."""
    n_terminator_tokens, n_content_bytes, flags = notes
    applied = {name: bool(flags >> bit & 1) for bit, name in enumerate(_FLAGS)}
    return EncodedResponse(request, n_terminator_tokens, n_content_bytes, **applied)


def _rows_of(kind: str, columns: Mapping[str, Sequence[Any]]) -> Iterator[TrainingRow]:
    """Yield rows as objects."""
    for number, prompt in enumerate(map(tuple, columns.get(PROMPT, ()))):
        request = Request(prompt, tuple(columns[RESPONSE][number]))
        if kind == KINDS["dpo"]:
            rejected = Request(prompt, tuple(columns[REJECTED][number]))
            yield EncodedPair(
                _response(request, columns[NOTES][number]), _response(rejected, columns[REJECTED_NOTES][number])
            )
        elif kind == KINDS["kto"]:
            yield RatedRequest(request, columns[RATING][number])
        else:
            yield request


def _joined(one: "pa.ChunkedArray", other: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow as pa

    return pa.chunked_array([*one.chunks, *other.chunks], type=one.type)
