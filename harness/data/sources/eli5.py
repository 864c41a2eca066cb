"""ELI5 and ELI5-Category: questions to a forum, and answers with the votes they got."""

from harness.data.make import Ranked, make_ranked_pairs
from harness.data.row import LeftOut, Row
from suites.inputs import Pair, Turn


def pair(row: Row) -> tuple[Pair | LeftOut, ...] | LeftOut:
    """The answer of most votes against that of fewest; the score gap is in votes. Group: the question.

    The question is the title and, behind a blank line, the text below it.
    """
    question = f"{row.text('title').strip()}\n\n{row.text('selftext').strip()}".strip()
    answers = row.part("answers")
    texts, votes = answers.texts("text"), answers.numbers("score")
    if len(texts) != len(votes):
        return LeftOut("not as many scores as answers")
    ranked = [Ranked(text, score) for text, score in zip(texts, votes, strict=True)]
    return make_ranked_pairs((Turn("user", question),), ranked, take="best_worst", has_scores=True, source=row.source)
