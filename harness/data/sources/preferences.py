"""Plain rows: a prompt with a chosen and a rejected answer, or with one answer and whether it is good."""

from harness.data.make import make_pair, make_rated_answer
from harness.data.row import LeftOut, Row
from suites.inputs import Pair, RatedAnswer, content_id


def pair(row: Row) -> Pair | LeftOut:
    """Columns prompt, chosen, rejected: texts or messages; texts are stripped.

    Group: the column `group` where there is one, else the first user turn. Source: the column `source` where there is
    one, else the dataset.
    """
    answers = (row.answer("chosen"), row.answer("rejected"))
    return make_pair(row.turns("prompt"), *answers, source=source_of(row), group=group_of_row(row))


def rated_answer(row: Row) -> RatedAnswer | LeftOut:
    """Columns prompt, completion: texts or messages, stripped; and label. Group and source as for a pair."""
    return make_rated_answer(
        row.turns("prompt"),
        row.answer("completion"),
        is_good=row.flag("label"),
        source=source_of(row),
        group=group_of_row(row),
    )


def source_of(row: Row, column: str = "source") -> str:
    """What the column says where the row has it, else the dataset."""
    return row.name(column) if row.has(column) else row.source


def group_of_row(row: Row, column: str = "group") -> str | None:
    """Group of the rows of a dataset that have the same in that column; None where the row has nothing there."""
    return content_id(row.source, row.name(column)) if row.has(column) else None
