"""Encode an experiment's rows for its trainers: all, the good answers alone, or with half of the labels swapped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.data.experiment_data import ExperimentData
from harness.data.make import Trainable, answers_of
from harness.training.recipe import EncodedRows, RatedRequest, TrainingRow
from harness.training.variants import RowsOf, half_of
from suites.engine.encoding import EncodedPair, EncodedResponse, Encoder, count_touched
from suites.inputs import RatedAnswer, Request


def encode_rows(
    data: ExperimentData, encoder: Encoder, seed: int, progress: Callable[[int, int], object] | None = None
) -> Mapping[RowsOf, EncodedRows]:
    """Return the encoded rows of every kind of variant, those of a first stage only where there is one.

    Controls have the experiment's own selection rows, so that their accuracies can be compared with the candidate's.

    Args:
        data: rows by split.
        encoder: the encoder that is also used for measuring.
        seed: determines which half of the labels is swapped.
        progress: called with the numbers of training prompts that are encoded and of all.
    """
    encoded, n_equal = _encode(data.training, encoder, progress)
    selection = _training_rows(data.selection, encoder)
    rows = [_training_row(row, responses) for row, responses in encoded]
    in_half = half_of([row.example_id for row, _ in encoded], seed)
    shuffled = [
        _swapped(row) if data_row.example_id in in_half else row
        for row, (data_row, _) in zip(rows, encoded, strict=True)
    ]
    good = [answer for row in rows if (answer := _good_answer(row)) is not None]
    changed = count_touched(responses for _, responses in encoded)
    groups = frozenset(row.group for row in (*data.training, *data.sft))
    by_kind: dict[RowsOf, EncodedRows] = {
        "experiment": EncodedRows(tuple(rows), selection, changed, n_equal, groups),
        "chosen": EncodedRows(tuple(good), selection, changed, n_equal, groups),
        "shuffled": EncodedRows(tuple(shuffled), selection, changed, n_equal, groups),
    }
    if data.sft:
        first, _ = _encode(data.sft, encoder)
        by_kind["sft"] = EncodedRows(
            tuple(_training_row(row, responses) for row, responses in first),
            _training_rows(data.sft_selection, encoder),
            count_touched(responses for _, responses in first),
            groups=frozenset(row.group for row in data.sft),
        )
    return by_kind


def _encode(
    rows: Sequence[Trainable], encoder: Encoder, progress: Callable[[int, int], object] | None = None
) -> tuple[list[tuple[Trainable, list[EncodedResponse]]], int]:
    """Return each row with its responses, and the number of pairs dropped because truncation made their sides equal."""
    encoded = encoder.encode_all([(row.prompt, answers_of(row)) for row in rows], progress)
    unequal = [
        (row, responses)
        for row, responses in zip(rows, encoded, strict=True)
        if len(responses) == 1 or responses[0].request != responses[1].request
    ]
    return unequal, len(rows) - len(unequal)


def _training_rows(rows: Sequence[Trainable], encoder: Encoder) -> tuple[TrainingRow, ...]:
    return tuple(_training_row(row, responses) for row, responses in _encode(rows, encoder)[0])


def _training_row(row: Trainable, responses: Sequence[EncodedResponse]) -> TrainingRow:
    """Return a row's responses in the form that its method trains on."""
    if len(responses) > 1:
        return EncodedPair(*responses)
    request = responses[0].request
    return RatedRequest(request, row.is_good) if isinstance(row, RatedAnswer) else request


def _swapped(row: TrainingRow) -> TrainingRow:
    """Return a row with the wrong label: the sides of a pair or the rating turned round; an answer has no label."""
    match row:
        case EncodedPair():
            return EncodedPair(row.rejected, row.chosen)
        case RatedRequest():
            return replace(row, is_good=not row.is_good)
        case Request():
            return row


def _good_answer(row: TrainingRow) -> Request | None:
    """Return the chosen side of a pair, or the answer unless it is rated bad."""
    match row:
        case EncodedPair():
            return row.chosen.request
        case RatedRequest():
            return row.request if row.is_good else None
        case Request():
            return row
