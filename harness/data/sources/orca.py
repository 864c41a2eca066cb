"""Intel's orca_dpo_pairs: a question, perhaps after a system turn, and two answers."""

from harness.data.make import make_pair, with_system
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair


def pair(row: Row) -> Pair | LeftOut:
    """Makes a pair of columns system, question, chosen, rejected; texts are stripped, a blank system turn is dropped.

    Group: the question.
    """
    prompt = with_system(row.text("system") if row.has("system") else "", row.turns("question"))
    return make_pair(prompt, row.answer("chosen"), row.answer("rejected"), source=row.source)


DATASETS = (
    DatasetEntry(
        name="Intel/orca_dpo_pairs",
        columns=("system", "question", "chosen", "rejected"),
        licence="Apache-2.0",
        group="question",
        pair=pair,
    ),
)
