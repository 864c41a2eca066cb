"""OpenAI's webgpt_comparisons: two answers to a question, each with a score of how much it was preferred."""

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from suites.inputs import Pair


def pair(row: Row) -> Pair | LeftOut:
    """The answer of higher score as chosen; texts are stripped. Ties are left out. Group: the question."""
    scores = (row.number("score_0"), row.number("score_1"))
    if scores[0] == scores[1]:
        return LeftOut("tie")
    better = int(scores[1] > scores[0])
    return make_pair(
        row.part("question").turns("full_text"),
        row.answer(f"answer_{better}"),
        row.answer(f"answer_{1 - better}"),
        source=row.source,
        score_gap=abs(scores[0] - scores[1]),
    )
