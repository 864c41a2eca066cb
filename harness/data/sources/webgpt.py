"""OpenAI's webgpt_comparisons: two answers to a question, each with a score of how much people preferred it."""

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair


def pair(row: Row) -> Pair | LeftOut:
    """Makes a pair with the answer of the higher score as chosen; ties are left out. Group: the question."""
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


DATASETS = (
    DatasetEntry(
        name="openai/webgpt_comparisons",
        columns=("question", "answer_0", "answer_1", "score_0", "score_1"),
        licence="not stated",
        group="question",
        pair=pair,
    ),
)
