"""Tests of hh-rlhf: where turns begin, what is left out, and the real rows against PKU's own splitting of them."""

import pytest

from harness.data.files import read_file
from harness.data.row import LeftOut, Row
from harness.data.sources.hh_rlhf import pair, turns_of
from harness.data.sources.pku import pair_of_processed_hh
from suites.inputs import Pair, Turn

START = "\n\nHuman: Who said that?\n\nAssistant:"


def read(path, source="s"):
    """The rows of a file."""
    return [Row(f"{path}, {where}", columns, source) for where, columns in read_file(path)]


def test_prompt_and_answers_are_divided_at_the_last_assistant_turn(row):
    """Everything before the last answer is the prompt, texts stripped; the source is the sub-set."""
    start = f"{START} He did.\n\nHuman: Why? \n\nAssistant:"
    made = pair(row(chosen=f"{start} To help. ", rejected=f"{start} No idea.", read_from="helpful-base"))
    assert made.prompt == (Turn("user", "Who said that?"), Turn("assistant", "He did."), Turn("user", "Why?"))
    assert (made.chosen, made.rejected, made.source) == ("To help.", "No idea.", "helpful-base")


@pytest.mark.parametrize(
    "answer",
    [
        "Human: is what he wrote.",
        "He wrote:\nHuman: hello\nAssistant: hi",
        "It says Human: and Assistant: there.",
        "Two lines\n\n Human: indented",
        "\n\nHumans: are many.\n\nAssistants: too.",
    ],
)
def test_words_within_a_turn_are_no_turns(row, answer):
    """Only a marker after an empty line, at its very beginning, begins a turn."""
    made = pair(row(chosen=f"{START} {answer}", rejected=f"{START} No."))
    assert isinstance(made, Pair)
    assert made.chosen == answer.strip()


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (f"{START} a", f"{START} ", "empty answer"),
        (f"{START} a", f"{START} a ", "equal answers"),
        (f"{START} a", "\n\nHuman: Who?\n\nAssistant: b", "the two sides do not share their prompt"),
        (f"{START} a\n\nHuman: b", f"{START} b", "no transcript that ends with an assistant turn"),
        ("no turns", "none here", "no transcript that ends with an assistant turn"),
        (f"before{START} a", f"before{START} b", "no transcript that ends with an assistant turn"),
        (f"{START} x\n\nAssistant: a", f"{START} x\n\nAssistant: b", "prompt does not end with a user turn"),
    ],
)
def test_rows_that_are_left_out(row, chosen, rejected, reason):
    """Each has its reason."""
    assert pair(row(chosen=chosen, rejected=rejected)) == LeftOut(reason)


def test_a_transcript_may_begin_without_the_empty_line():
    """The first marker needs nothing before it."""
    assert turns_of("Human: a\n\nAssistant: b") == (Turn("user", "a"), Turn("assistant", "b"))


@pytest.mark.parametrize("subset", ["helpful-base", "harmless-base"])
def test_real_rows_with_an_empty_final_turn_are_all_left_out(real_data, subset):
    """The upstream rows with an empty last turn give no pair."""
    rows = read(real_data / "hh-rlhf" / subset / "test_empty_final_turn.jsonl")
    assert [pair(each) for each in rows] == [LeftOut("empty answer")] * len(rows)
    assert rows


def test_real_rows_equal_those_that_were_split_independently(real_data):
    """Our pairs of harmless-base are the pairs of the processed file, prompt by prompt and answer by answer."""
    ours = [pair(each) for each in read(real_data / "hh-rlhf/harmless-base/test.jsonl.gz")]
    theirs = [
        pair_of_processed_hh(each) for each in read(real_data / "processed-hh-rlhf/from_harmless-base_test.jsonl.gz")
    ]
    assert {each for each in ours if isinstance(each, Pair)} == {each for each in theirs if isinstance(each, Pair)}
    assert sum(isinstance(each, LeftOut) for each in ours) == len(ours) - len(theirs)
