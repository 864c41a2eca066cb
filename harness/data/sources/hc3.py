"""HC3, the Human ChatGPT Comparison Corpus: questions with answers by people and by ChatGPT."""

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair


def pair(row: Row) -> tuple[Pair | LeftOut, ...] | LeftOut:
    """Pairs every human answer, as chosen, with every answer of ChatGPT; texts are stripped. Group: the question."""
    pairs = tuple(
        make_pair(row.turns("question"), human.strip(), machine.strip(), source=row.source)
        for human in row.texts("human_answers")
        for machine in row.texts("chatgpt_answers")
    )
    return pairs or LeftOut("no answer by a human or none by ChatGPT")


DATASETS = (
    DatasetEntry(
        name="Hello-SimpleAI/HC3",
        columns=("question", "human_answers", "chatgpt_answers"),
        licence="CC-BY-SA-4.0",
        group="question",
        pair=pair,
        configurations=("all", "reddit_eli5", "finance", "medicine", "open_qa", "wiki_csai"),
    ),
)
