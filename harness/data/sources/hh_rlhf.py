r"""Anthropic's hh-rlhf: rows of two transcripts that differ in the last answer.

A turn begins with "\n\nHuman:" or "\n\nAssistant:" and nowhere else: texts mention "Human:" within a line, after a
single line break, or at the very beginning of an answer.
"""

import re

from harness.data.make import make_pair
from harness.data.row import LeftOut, Row
from harness.data.sources.entry import DatasetEntry
from suites.inputs import Pair, Prompt, Turn

CONFIGURATIONS = ("", "helpful-base", "harmless-base", "helpful-online", "helpful-rejection-sampled")
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def pair(row: Row) -> Pair | LeftOut:
    """Makes a pair of the last assistant turns, with everything before them as the prompt; turns are stripped.

    Left out: rows whose sides do not share their prompt or do not end with an assistant turn, and rows with an empty
    answer or two equal ones. Group: the first human turn. Source: the subset.
    """
    chosen, rejected = turns_of(row.text("chosen")), turns_of(row.text("rejected"))
    if not all(turns and turns[-1].speaker == "assistant" for turns in (chosen, rejected)):
        return LeftOut("no transcript that ends with an assistant turn")
    if chosen[:-1] != rejected[:-1]:
        return LeftOut("the two sides do not share their prompt")
    return make_pair(chosen[:-1], chosen[-1].text, rejected[-1].text, source=row.source)


def turns_of(transcript: str) -> Prompt:
    """The turns of a transcript, stripped; empty where it does not begin with a turn."""
    before, *rest = _TURN.split(transcript)
    if before.strip():
        return ()
    speakers, texts = rest[0::2], rest[1::2]
    return tuple(
        Turn("user" if speaker == "Human" else "assistant", text.strip())
        for speaker, text in zip(speakers, texts, strict=True)
    )


DATASETS = (
    DatasetEntry(
        name="Anthropic/hh-rlhf",
        columns=("chosen", "rejected"),
        licence="MIT",
        group="first human turn",
        pair=pair,
        configurations=CONFIGURATIONS,
        folder_configurations=True,
    ),
)
