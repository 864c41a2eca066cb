"""Training rows as columns: what they are as objects, what they weigh, and what is made of them without objects."""

import random
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.training.checkpoints import UnwritableError
from harness.training.recipe import KINDS, RatedRequest, TrainingRow
from harness.training.token_table import TokenTable, table_of
from suites.engine.encoding import EncodedPair, EncodedResponse
from suites.inputs import Request

Make = Callable[[int], list[TrainingRow]]


def requests(n: int, seed: int = 0) -> list[Request]:
    """Requests of different lengths; two in a row share their prompt."""
    drawn = random.Random(seed)
    made = []
    for _ in range(n // 2):
        prompt = tuple(drawn.randrange(50_000) for _ in range(drawn.randrange(1, 40)))
        made += [Request(prompt, tuple(drawn.randrange(50_000) for _ in range(drawn.randrange(1, 20)))) for _ in "ab"]
    return made


def pairs(n: int) -> list[TrainingRow]:
    """Pairs in which every rule of the encoder applied to some."""
    own = requests(2 * n)
    return [
        EncodedPair(
            EncodedResponse(chosen, 2, 71, prompt_truncated=number % 2 == 0, prompt_cut=True),
            EncodedResponse(rejected, 0, 5 + number, response_truncated=True, boundary_moved=number % 3 == 0),
        )
        for number, (chosen, rejected) in enumerate(zip(own[::2], own[1::2], strict=True))
    ]


def rated(n: int) -> list[TrainingRow]:
    """Answers, every third of them good."""
    return [RatedRequest(request, number % 3 == 0) for number, request in enumerate(requests(n))]


def answers(n: int) -> list[TrainingRow]:
    return list(requests(n))


KINDS_OF_ROWS = pytest.mark.parametrize(
    ("make", "kind"), [(pairs, "pairs"), (rated, "rated answers"), (answers, "answers")]
)


@KINDS_OF_ROWS
@pytest.mark.parametrize("is_mapped", [False, True])
def test_a_table_is_the_rows_it_was_made_of(make: Make, kind: str, is_mapped: bool, tmp_path: Path) -> None:
    """Whole, by place, by slice, by a list of places; in memory and in a file, which has no name."""
    rows = make(10)

    table = table_of(iter(rows), tmp_path if is_mapped else None)

    assert (list(table), len(table), table.kind) == (rows, 10, kind)
    assert (table[3], table[-1], list(table[2:4])) == (rows[3], rows[-1], rows[2:4])
    assert list(table[::-1]) == rows[::-1]
    assert list(table.take(np.array([7, 0]))) == [rows[7], rows[0]]
    assert table_of(table) is table
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IndexError):
        table[10]


@KINDS_OF_ROWS
def test_the_hash_is_of_the_rows_and_not_of_how_they_lie(
    make: Make, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same in memory, in a file and in small batches; another one for every other order, row and kind."""
    rows = make(12)
    whole = table_of(rows)
    monkeypatch.setattr("harness.training.token_table._ROWS_A_BATCH", 5)

    same = [table_of(rows, tmp_path), table_of(rows), whole.take(np.arange(12)), table_of([*whole])]
    other = [whole[::-1], whole[1:], whole[:-1], table_of([*rows, rows[0]])]

    assert {table.content for table in same} == {whole.content}
    assert len({table.content for table in (whole, *other)}) == 5
    assert len({table_of(each(12)).content for each in (pairs, rated, answers)}) == 3, kind


def test_tokens_that_move_between_rows_or_columns_change_the_hash() -> None:
    """The numbers alone are the same in all of these."""
    tables = [
        [Request((1, 2), (3,)), Request((4,), (5,))],
        [Request((1,), (2, 3)), Request((4,), (5,))],
        [Request((1, 2), (3,)), Request((4, 5), (6,))],
        [Request((1, 2, 4), (3,)), Request((5,), (6,))],
    ]

    assert len({table_of(rows).content for rows in tables}) == 4


def test_ratings_are_part_of_the_hash() -> None:
    """Turning one round makes other rows."""
    rows = table_of(rated(6))
    turned = rows.swapped(np.array([True, *[False] * 5]))

    assert rows.content != turned.content
    assert rows.ratings.tolist() == [True, False, False, True, False, False]
    assert turned.ratings.tolist() == [False, False, False, True, False, False]


def test_lengths_are_those_of_whole_sequences() -> None:
    """Prompt and response, a number for each side of a pair."""
    rows = pairs(5)

    lengths = table_of(rows).lengths

    assert lengths.tolist() == [
        [side.request.n_inputs + 1 for side in (row.chosen, row.rejected)]
        for row in rows
        if isinstance(row, EncodedPair)
    ]
    assert table_of(rows).longest == lengths.max()
    assert table_of(()).longest == 0


def test_sides_are_swapped_where_it_is_asked_for() -> None:
    """With what encoding changed in them; the other rows stay, and so do answers, which have no label."""
    rows = pairs(4)
    swapped = [
        EncodedPair(row.rejected, row.chosen) if number in (0, 3) else row
        for number, row in enumerate(rows)
        if isinstance(row, EncodedPair)
    ]
    mask = np.array([True, False, False, True])

    assert list(table_of(rows).swapped(mask)) == swapped
    assert list(table_of(answers(4)).swapped(mask)) == answers(4)


def test_good_answers_are_chosen_sides_and_answers_that_are_not_bad() -> None:
    """As rows of the kind that is fine-tuned on, which may be none."""
    chosen = [row.chosen.request for row in pairs(4) if isinstance(row, EncodedPair)]
    good = [row.request for row in rated(6) if isinstance(row, RatedRequest) and row.is_good]
    bad = table_of([RatedRequest(each, False) for each in requests(4)]).good_answers()

    assert list(table_of(pairs(4)).good_answers()) == chosen
    assert list(table_of(rated(6)).good_answers()) == good
    assert table_of(pairs(4)).good_answers().kind == KINDS["sft"]
    assert (len(bad), bad.lengths.shape) == (0, (0, 1))


def test_a_table_has_one_kind_of_rows_or_none() -> None:
    """Rows of another kind are a mistake; no rows are a table too."""
    with pytest.raises(ValueError, match="a table of answers takes no pairs"):
        table_of([*answers(2), *pairs(1)])

    nothing = table_of([])
    assert (len(nothing), list(nothing), nothing.kind, list(nothing[:4])) == (0, [], "", [])


@pytest.mark.parametrize("is_mapped", [False, True])
def test_twenty_thousand_rows_make_no_object_that_stays(is_mapped: bool, tmp_path: Path) -> None:
    """Python keeps less than a byte a row, however many rows there are, and Arrow 4 bytes a token and little more."""
    few: Sequence[TrainingRow] = pairs(50)
    n_rows = 20_000
    tracemalloc.start()
    try:
        table = table_of((few[number % 50] for number in range(n_rows)), tmp_path if is_mapped else None)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    n_tokens = sum(len(ids) for row in table.take(np.arange(50)) for ids in tokens_of(row)) * n_rows // 50
    assert now < n_rows
    assert peak < 100 * n_rows
    assert 4 * n_tokens < table.columns.nbytes < 4 * n_tokens + 50 * n_rows


def tokens_of(row: TrainingRow) -> list[tuple[int, ...]]:
    """The prompt once, and each response."""
    assert isinstance(row, EncodedPair)
    return [row.prompt_ids, row.chosen_ids, row.rejected_ids]


def test_tables_of_equal_rows_are_equal() -> None:
    """However they were made."""
    assert table_of(pairs(6))[:3] == table_of(pairs(6)).take(np.arange(3))
    assert table_of(pairs(6)) != TokenTable("", table_of(()).columns)


def test_a_folder_that_takes_no_rows_is_one_line(tmp_path: Path) -> None:
    """Such as one on a full disk; it is the workspace's, and says what to do."""
    with pytest.raises(UnwritableError, match=r"^--workspace: the rows' tokens cannot be written .*; free some space"):
        table_of(pairs(4), tmp_path / "nowhere")
