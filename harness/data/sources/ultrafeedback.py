"""UltraFeedback, binarized: rows of two conversations, as lists of messages that include the prompt."""

from harness.data.make import make_pair, split_conversations
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair


def pair(row: Row) -> Pair | LeftOut:
    """Makes a pair of the last messages, with those before them as the prompt; texts are stripped.

    Left out: rows whose sides do not share their prompt, and rows with an empty answer or two equal ones. The score gap
    is score_chosen minus score_rejected where the row has both. Group: the first user turn.
    """
    conversations = split_conversations(row.messages("chosen"), row.messages("rejected"))
    if isinstance(conversations, LeftOut):
        return conversations
    prompt, (chosen, rejected) = conversations
    return make_pair(prompt, chosen, rejected, source=row.source, score_gap=row.gap("score_chosen", "score_rejected"))


_COLUMNS = ("chosen", "rejected", "score_chosen (if there)", "score_rejected (if there)")

DATASETS = (
    DatasetEntry(
        name="HuggingFaceH4/ultrafeedback_binarized",
        columns=_COLUMNS,
        licence="MIT",
        group="prompt",
        pair=pair,
        training_splits=("train_prefs",),
        measuring_splits=("test_prefs",),
    ),
    DatasetEntry(
        name="trl-lib/ultrafeedback_binarized",
        columns=_COLUMNS,
        licence="MIT",
        group="prompt",
        pair=pair,
    ),
)
