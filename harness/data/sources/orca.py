"""Intel's orca_dpo_pairs: a system turn or none, a question, and two answers."""

from harness.data.make import make_pair, with_system
from harness.data.row import LeftOut, Row
from suites.inputs import Pair


def pair(row: Row) -> Pair | LeftOut:
    """Columns system, question, chosen, rejected; texts are stripped, and a blank system turn is none.

    Group: the question.
    """
    prompt = with_system(row.text("system") if row.has("system") else "", row.turns("question"))
    return make_pair(prompt, row.answer("chosen"), row.answer("rejected"), source=row.source)
