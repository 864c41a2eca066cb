"""HC3, the human ChatGPT comparison corpus: questions with answers by people and by ChatGPT."""

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from suites.inputs import Pair


def pair(row: Row) -> tuple[Pair | LeftOut, ...] | LeftOut:
    """Every human answer as chosen against every one of ChatGPT's; texts are stripped. Group: the question."""
    pairs = tuple(
        make_pair(row.turns("question"), human.strip(), machine.strip(), source=row.source)
        for human in row.texts("human_answers")
        for machine in row.texts("chatgpt_answers")
    )
    return pairs or LeftOut("no answer by a human or none by ChatGPT")
