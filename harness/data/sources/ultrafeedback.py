"""UltraFeedback, binarized: two conversations a row, as lists of messages that include the prompt."""

from harness.data.make import make_pair, split_conversations
from harness.data.row import LeftOut, Row
from suites.inputs import Pair


def pair(row: Row) -> Pair | LeftOut:
    """The last messages as the answers, those before as the prompt; texts are stripped. Group: the first user turn.

    Left out: rows whose two sides do not share their prompt, and those with an empty or equal answer. The score gap is
    that of score_chosen to score_rejected, where there are such columns.
    """
    conversations = split_conversations(row.messages("chosen"), row.messages("rejected"))
    if isinstance(conversations, LeftOut):
        return conversations
    prompt, (chosen, rejected) = conversations
    return make_pair(prompt, chosen, rejected, source=row.source, score_gap=row.gap("score_chosen", "score_rejected"))
