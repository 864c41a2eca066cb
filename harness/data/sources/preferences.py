"""Datasets in TRL's columns: a prompt with a chosen and a rejected answer, or with one answer and its label."""

from harness.data.make import make_pair, make_rated_answer
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair, RatedAnswer, content_id


def pair(row: Row) -> Pair | LeftOut:
    """Makes a pair of columns prompt, chosen, rejected: texts or messages; texts are stripped.

    Group: the column `group` where the row has it, else the first user turn. Source: the column `source` where the row
    has it, else the dataset.
    """
    answers = (row.answer("chosen"), row.answer("rejected"))
    return make_pair(row.turns("prompt"), *answers, source=source_of(row), group=group_of_row(row))


def rated_answer(row: Row) -> RatedAnswer | LeftOut:
    """Makes a rated answer of columns prompt, completion (texts or messages) and label; the rest is as for a pair."""
    return make_rated_answer(
        row.turns("prompt"),
        row.answer("completion"),
        is_good=row.flag("label"),
        source=source_of(row),
        group=group_of_row(row),
    )


def source_of(row: Row, column: str = "source") -> str:
    """The value of the column where the row has it, else the part of the dataset."""
    return row.name(column) if row.has_name(column) else row.source


def group_of_row(row: Row, column: str = "group") -> str | None:
    """The group of all rows of a dataset with the same value in that column; None where the row has no value."""
    return content_id(row.source, row.name(column)) if row.has_name(column) else None


_PAIR_COLUMNS = ("prompt", "chosen", "rejected")
_RATED_COLUMNS = ("prompt", "completion", "label")

DATASETS = (
    DatasetEntry(
        name="llamafactory/dpo_en_demo",
        columns=_PAIR_COLUMNS,
        licence="Apache-2.0",
        group="first user turn",
        pair=pair,
    ),
    DatasetEntry(
        name="shionhonda/reviewer2-1k-paired",
        columns=_PAIR_COLUMNS,
        licence="not stated",
        group="column group (if there), else prompt",
        pair=pair,
    ),
    DatasetEntry(
        name="shionhonda/reviewer2-2k-unpaired",
        columns=_RATED_COLUMNS,
        licence="not stated",
        group="column group (if there), else prompt",
        rated=rated_answer,
    ),
    DatasetEntry(
        name="trl-lib/kto-mix-14k",
        columns=_RATED_COLUMNS,
        licence="not stated",
        group="first user turn",
        rated=rated_answer,
    ),
)
