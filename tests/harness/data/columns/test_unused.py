"""Tests of the line that tells which columns and keys of rows are not used."""

import json

import pytest

from harness.config.schema import ColumnsConfig, DatasetConfig
from harness.data.load import load_pairs

ROW = {"prompt": "Q", "chosen": "x", "rejected": "y"}


@pytest.fixture
def told(write_rows):
    """Loads one row and returns what is told of it as not used, without the file's name."""

    def note(row, columns=None):
        path = str(write_rows("rows.jsonl", [row]))
        notes = load_pairs(DatasetConfig(path, columns=columns), data_root=None).notes
        return "".join(line.removeprefix(f"{path}: ") for line in notes if "not used" in line)

    return note


@pytest.mark.parametrize("form", [lambda messages: messages, json.dumps, str], ids=["a list", "JSON", "Python"])
def test_keys_of_messages_and_their_parts_are_told(told, form):
    """In every form that messages have; keys that hold nothing are Arrow's."""
    part = {"type": "text", "text": "R", "cache_control": {"type": "ephemeral"}, "x": None}
    prompt = form([{"role": "user", "content": [part], "weight": 2, "name": "Al"}])
    line = told({**ROW, "prompt": prompt})
    assert line == (
        "keys of messages that are not used: weight; keys of parts of messages that are not used: cache_control"
    )


@pytest.mark.parametrize("column", ["chosen", "rejected"])
@pytest.mark.parametrize("is_list", [True, False])
def test_the_name_of_an_answer_is_told(told, column, is_list):
    """A template is handed it for a prompt alone; an answer is its text."""
    message = {"role": "assistant", "content": "z", "name": "Bob", "tool_call_id": "5"}
    line = told({**ROW, column: [message] if is_list else message})
    assert line == "keys of answers that are not used: name, tool_call_id"


def test_names_in_a_prompt_and_functions_are_used(told):
    """Both are handed to the template."""
    prompt = [{"role": "user", "content": "Q", "name": "Al"}]
    tools = [{"type": "function", "function": {"name": "add"}}]
    assert told({**ROW, "prompt": prompt, "tools": tools}) == ""


def test_keys_of_ranked_answers_are_told(told):
    """Texts and scores are used, the rest is not."""
    columns = ColumnsConfig(prompt="prompt", answers="replies", answer_text="body", scores="votes")
    replies = [{"body": "x", "votes": 2, "author": "A"}, {"body": "y", "votes": 1, "author": None}]
    assert told({"prompt": "Q", "replies": replies}, columns) == "keys of answers that are not used: author"
