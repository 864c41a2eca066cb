"""ELI5 and ELI5-Category: questions to a forum, with answers and their votes."""

from harness.data.make import RankedAnswer, make_ranked_pairs
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair, Turn


def pair(row: Row) -> tuple[Pair | LeftOut, ...] | LeftOut:
    """Pairs the answer with the most votes with the one with the fewest; the score gap is in votes.

    The question is the title and, after a blank line, the text below it. Group: the question.
    """
    question = f"{row.text('title').strip()}\n\n{row.text('selftext').strip()}".strip()
    answers = row.part("answers")
    texts, votes = answers.texts("text"), answers.numbers("score")
    if len(texts) != len(votes):
        return LeftOut("not as many scores as answers")
    ranked = [RankedAnswer(text, score) for text, score in zip(texts, votes, strict=True)]
    return make_ranked_pairs((Turn("user", question),), ranked, take="best_worst", has_scores=True, source=row.source)


_COLUMNS = ("title", "selftext", "answers")

DATASETS = (
    DatasetEntry(
        name="eli5_category",
        columns=_COLUMNS,
        licence="not known (Reddit)",
        group="question",
        pair=pair,
        measuring_splits=("test", "validation1", "validation2"),
    ),
    DatasetEntry(
        name="eli5",
        columns=_COLUMNS,
        licence="not known (Reddit)",
        group="question",
        pair=pair,
        training_splits=("train_eli5",),
        measuring_splits=("test_eli5", "validation_eli5"),
    ),
)
