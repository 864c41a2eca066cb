"""Encode an experiment's rows for its trainers: all, the good answers alone, or with half of the labels swapped."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from harness.data.experiment_data import ExperimentData
from harness.data.make import Trainable, answers_of
from harness.data.splits import PROMPTS_A_BLOCK, blocks_by_prompt
from harness.training.recipe import EncodedRows, RatedRequest, TrainingRow
from harness.training.token_table import TokenTable, table_of
from harness.training.variants import RowsOf, half_of
from suites.engine.encoding import (
    RULES,
    EncodedPair,
    EncodedResponse,
    Encoder,
    UnwrittenAnswerError,
    count_touched,
)
from suites.inputs import Prompt, RatedAnswer


def encode_rows(
    data: ExperimentData,
    encoder: Encoder,
    seed: int,
    progress: Callable[[int, int], object] | None = None,
    *,
    kinds: Collection[RowsOf] = get_args(RowsOf),
    folder: Path | None = None,
) -> Mapping[RowsOf, EncodedRows]:
    """Return the encoded rows of the kinds of variants that are asked for, those of a first stage only where it exists.

    Controls have the experiment's own selection rows, so that their accuracies can be compared with the candidate's.

    Args:
        data: rows by split.
        encoder: the encoder that is also used for measuring.
        seed: determines which half of the labels is swapped.
        progress: called with the numbers of training prompts that are encoded and of all.
        kinds: kinds of rows that are trained on.
        folder: where files without a name hold the token ids of training rows; None keeps them in memory.
    """
    own = _encode(data.training, encoder, progress, folder)
    selection = _encode(data.selection, encoder).rows
    groups = frozenset(row.group for row in (*data.training, *data.sft))

    def of_kind(rows: TokenTable) -> EncodedRows:
        return EncodedRows(rows, selection, own.touched, own.n_equal, groups)

    by_kind: dict[RowsOf, EncodedRows] = {"experiment": of_kind(own.rows)}
    if "chosen" in kinds:
        by_kind["chosen"] = of_kind(own.rows.good_answers())
    if "shuffled" in kinds:
        in_half = half_of(own.ids, seed)
        by_kind["shuffled"] = of_kind(own.rows.swapped(np.array([each in in_half for each in own.ids], dtype=bool)))
    if "sft" in kinds and data.sft:
        first = _encode(data.sft, encoder, folder=folder)
        by_kind["sft"] = EncodedRows(
            first.rows,
            _encode(data.sft_selection, encoder).rows,
            first.touched,
            groups=frozenset(row.group for row in data.sft),
        )
    return by_kind


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Rows in token ids, without the pairs that truncation made equal."""

    rows: TokenTable
    ids: Sequence[str]
    """Ids of the rows."""
    touched: Mapping[str, int]
    """Rule -> number of rows that it changed."""
    n_equal: int
    """Pairs that are not among them, because their sides are equal."""


def _encode(
    rows: Sequence[Trainable],
    encoder: Encoder,
    progress: Callable[[int, int], object] | None = None,
    folder: Path | None = None,
) -> _Encoded:
    """Return rows in token ids, of which a block at a time is objects."""
    blocks = blocks_by_prompt(rows, PROMPTS_A_BLOCK)
    touched: Counter[str] = Counter()
    places: list[int] = []

    def each() -> Iterator[TrainingRow]:
        for block, encoded in zip(blocks, _encoded_blocks(rows, blocks, encoder, progress), strict=True):
            unequal = [
                (place, responses)
                for place, responses in zip(block, encoded, strict=True)
                if len(responses) == 1 or responses[0].request != responses[1].request
            ]
            touched.update(count_touched(responses for _, responses in unequal))
            places.extend(place for place, _ in unequal)
            yield from (_training_row(rows[place], responses) for place, responses in unequal)

    table = table_of(each(), folder)
    order = np.argsort(places)
    if np.any(order[:-1] > order[1:]):  # rows of a prompt that lie apart
        table = table.stored(order, folder)
    ids = [rows[places[each]].example_id for each in order]
    return _Encoded(table, ids, {rule: touched[rule] for rule in RULES if touched[rule]}, len(rows) - len(ids))


def _encoded_blocks(
    rows: Sequence[Trainable],
    blocks: Sequence[Sequence[int]],
    encoder: Encoder,
    progress: Callable[[int, int], object] | None,
) -> Iterator[list[list[EncodedResponse]]]:
    """Yield the responses of each block's rows in token ids.

    Raises:
        UnwrittenAnswerError: the template does not write some of the responses, which are counted over all rows.
    """

    def items(places: Iterable[int]) -> list[tuple[Prompt, tuple[str, ...]]]:
        return [(rows[place].prompt, answers_of(rows[place])) for place in places]

    n_prompts = len({row.prompt for row in rows}) if progress else 0
    for number, block in enumerate(blocks):

        def told(done: int, _: int, before: int = number * PROMPTS_A_BLOCK) -> None:
            if progress is not None:
                progress(before + done, n_prompts)

        try:
            yield encoder.encode_all(items(block), told)
        except UnwrittenAnswerError:
            encoder.encode_all(items(range(len(rows))))
            raise


def _training_row(row: Trainable, responses: Sequence[EncodedResponse]) -> TrainingRow:
    """Return a row's responses in the form that its method trains on."""
    if len(responses) > 1:
        return EncodedPair(*responses)
    request = responses[0].request
    return RatedRequest(request, row.is_good) if isinstance(row, RatedAnswer) else request
