"""An experiment's rows as its trainers get them: token ids of all, of good answers alone, or with sides swapped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.data.experiment_data import ExperimentData
from harness.training.recipe import RatedRequest, TrainingRow
from harness.training.variants import RowsOf, half_of
from suites.engine.encoding import EncodedPair, EncodedResponse, Encoder, count_touched
from suites.inputs import Example, Pair, RatedAnswer, Request

Row = Pair | RatedAnswer | Example


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """What one adapter is trained on, and what its recipe is judged by."""

    training: tuple[TrainingRow, ...]
    selection: tuple[TrainingRow, ...]
    touched: Mapping[str, int]
    """Rule of truncation -> training rows that it changed."""
    n_equal: int = 0
    """Pairs that are left out because their sides are equal after truncation."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """One row's id and its responses: chosen and rejected, or the only one."""

    example_id: str
    responses: tuple[EncodedResponse, ...]
    is_good: bool | None = None
    """Of a rated answer."""

    @property
    def row(self) -> TrainingRow:
        """As the trainer gets it."""
        if len(self.responses) > 1:
            return EncodedPair(*self.responses)
        request = self.responses[0].request
        return request if self.is_good is None else RatedRequest(request, self.is_good)

    @property
    def good_answer(self) -> Request | None:
        """The chosen response, or the only one unless it is bad."""
        return None if self.is_good is False else self.responses[0].request

    @property
    def swapped(self) -> "_Encoded":
        """With the wrong label."""
        if len(self.responses) > 1:
            return replace(self, responses=self.responses[::-1])
        return self if self.is_good is None else replace(self, is_good=not self.is_good)


def encode_rows(data: ExperimentData, encoder: Encoder, seed: int) -> Mapping[RowsOf, EncodedRows]:
    """All that an experiment's variants are trained on.

    Controls are judged by the experiment's own selection rows, so that their accuracies can be compared.

    Args:
        data: Rows by split.
        encoder: The one that measures, too.
        seed: Of which half is swapped.
    """
    training, n_equal = _encode(data.training, encoder)
    selection = tuple(each.row for each in _encode(data.selection, encoder)[0])
    swapped = half_of([each.example_id for each in training], seed)
    changed = _touched(training)
    good = tuple(each.good_answer for each in training if each.good_answer is not None)
    shuffled = tuple((each.swapped if each.example_id in swapped else each).row for each in training)
    encoded: dict[RowsOf, EncodedRows] = {
        "experiment": EncodedRows(tuple(each.row for each in training), selection, changed, n_equal),
        "chosen": EncodedRows(good, selection, changed, n_equal),
        "shuffled": EncodedRows(shuffled, selection, changed, n_equal),
    }
    if data.sft:
        first, _ = _encode(data.sft, encoder)
        held_out, _ = _encode(data.sft_selection, encoder)
        rows = tuple(each.row for each in first), tuple(each.row for each in held_out)
        encoded["sft"] = EncodedRows(*rows, _touched(first))
    return encoded


def _encode(rows: Sequence[Row], encoder: Encoder) -> tuple[list[_Encoded], int]:
    """The rows in token ids, without pairs whose sides are equal after truncation, and how many those are."""
    encoded = encoder.encode_all([(row.prompt, _responses(row)) for row in rows])
    all_rows = [
        _Encoded(row.example_id, tuple(responses), row.is_good if isinstance(row, RatedAnswer) else None)
        for row, responses in zip(rows, encoded, strict=True)
    ]
    kept = [
        each for each in all_rows if len(each.responses) == 1 or each.responses[0].request != each.responses[1].request
    ]
    return kept, len(all_rows) - len(kept)


def _responses(row: Row) -> tuple[str, ...]:
    return (row.chosen, row.rejected) if isinstance(row, Pair) else (row.response,)


def _touched(rows: Sequence[_Encoded]) -> dict[str, int]:
    return count_touched(each.responses for each in rows)
