"""Tests of one message as a turn: roles and texts in every form, and what is kept beside the text."""

import json

import pytest

from harness.data.message import MessageError, UnusableError, answer_of, as_messages, tools_of, turn_of
from suites.inputs import Turn


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        ({"role": "Human", "content": " Hi "}, Turn("user", "Hi")),
        ({"role": "Assistant", "content": "Hi"}, Turn("assistant", "Hi")),
        ({"role": "developer", "content": "Be brief."}, Turn("system", "Be brief.")),
        ({"from": "observation", "value": "5"}, Turn("tool", "5")),
        ({"role": "user", "content": "Hi", "text": None}, Turn("user", "Hi")),
        ({"role": "user", "content": None, "text": "Hi"}, Turn("user", "Hi")),
        ({"role": None, "from": "gpt", "content": None, "value": "Hi"}, Turn("assistant", "Hi")),
        ({"role": "user", "content": "Hi", "text": "Hi"}, Turn("user", "Hi")),
        ({"role": "user", "content": 5}, Turn("user", "5")),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            Turn("user", "ab"),
        ),
        ({"role": "user", "content": [{"type": "text", "text": "a", "image": None}, "b"]}, Turn("user", "ab")),
        ({"role": "user", "content": None}, Turn("user", "")),
        ({"role": "user", "content": "Hi", "tool_calls": None, "name": ""}, Turn("user", "Hi")),
    ],
)
def test_every_form_of_a_message_is_a_turn(message, turn):
    """Roles in any case of letters, texts under any key, parts that are texts, keys that hold null."""
    assert turn_of(message) == turn


def test_calls_of_tools_are_kept_for_the_template():
    """Arguments as text become a mapping, as templates need them; keys that hold null are Arrow's."""
    function = {"name": "add", "arguments": '{"a": 1}', "unit": None}
    message = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
    turn = turn_of(message)
    assert turn.text == ""
    assert json.loads(turn.details) == {
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    }
    answer = turn_of({"role": "tool", "content": "5", "tool_call_id": "x", "name": "add"})
    assert (answer.speaker, json.loads(answer.details)) == ("tool", {"name": "add", "tool_call_id": "x"})


def test_keys_that_python_writes_for_a_mapping_are_texts():
    """Numbers and tuples are keys in what Python writes, and none in JSON."""
    function = {"name": "add", "arguments": "{1: 2, 'b': {(3, 4): 5}}"}
    turn = turn_of({"role": "assistant", "content": "", "tool_calls": [{"function": function}]})
    assert json.loads(turn.details)["tool_calls"][0]["function"]["arguments"] == {"1": 2, "b": {"(3, 4)": 5}}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "bot", "content": "x"}, "column 'role' must be one of system, developer, user"),
        ({"role": 3, "content": "x"}, "column 'role' must be one of"),
        ({"content": "x"}, "a message needs a role; it has: content"),
        ({"role": "user"}, "the column 'content' is missing; the row has: role"),
        ({"role": "user", "content": {"a": 1}}, "column 'content' must be text"),
        ({"role": "user", "content": [3]}, "a part of a message must be a mapping"),
        ({"role": "user", "content": [{"type": "text"}]}, "a part of the type text needs a text"),
        ({"role": "user", "content": "a", "text": "b"}, "'content' and 'text' hold different texts"),
        ({"role": "assistant", "content": "", "tool_calls": "add"}, "column 'tool_calls' must be a list of mappings"),
    ],
)
def test_what_is_no_message_is_said(message, words):
    """The key, what is allowed, and what there is."""
    with pytest.raises(MessageError) as caught:
        turn_of(message)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, "a part that is no text"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "image": "x"}]}, "a part that is no text"),
        ({"role": "user", "content": "a", "images": ["x"]}, "message with images"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "input_audio": {"data": "z"}}]}, "input_audio"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "file": {"file_data": "z"}}]}, "no text .*file"),
        ({"role": "user", "content": [{"image_url": {"url": "x"}, "text": "a"}]}, "no text .*image_url"),
        ({"role": "user", "content": [{"text": "a", "Video-Bytes": "x"}]}, "no text .*Video-Bytes"),
    ],
)
def test_images_and_sounds_are_a_reason_to_leave_a_row_out(message, words):
    """A text model does not read them."""
    with pytest.raises(UnusableError, match=words):
        turn_of(message)


@pytest.mark.parametrize("key", ["tool_calls", "function_call", "reasoning_content", "thinking", "audio"])
def test_an_answer_that_is_more_than_a_text_is_not_used(key):
    """What the key holds would be lost."""
    with pytest.raises(UnusableError, match=f"answer with {key}"):
        answer_of({"role": "assistant", "content": "x", key: [{"name": "add"}]})


def test_an_answer_is_the_assistants():
    """A user's message is no answer."""
    assert answer_of({"role": "gpt", "content": " x "}) == "x"
    with pytest.raises(UnusableError, match="not the assistant's"):
        answer_of({"role": "user", "content": "x"})


def test_a_mapping_of_lists_is_a_list_of_messages():
    """Arrow keeps either."""
    assert as_messages({"role": ["user", "assistant"], "content": ["Q", "A"]}) == [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "A"},
    ]
    assert as_messages({"role": "user", "content": "Q"}) == {"role": "user", "content": "Q"}


DEEP = '{"a":' * 900 + "1" + "}" * 900
BROKEN_JSON = [
    (r'{"a": "\ud83d"}', "half of a surrogate pair"),
    (r'{"\ud83d": 1}', "half of a surrogate pair"),
    (r"{'a': '\ud83d'}", "half of a surrogate pair"),
    (DEEP, "nested deeper than 64 levels"),
    (DEEP.replace('"', "'"), "nested deeper than 64 levels"),
    ('{"a": ' + "[" * 64 + "]" * 64 + "}", "nested deeper than 64 levels"),
    ('{"a": 1, "a": 2}', "'a' occurs twice"),
    ("{'a': 1, 'a': 2}", "'a' occurs twice"),
    ("{1: 1, '1': 2}", "'1' occurs twice"),
    ("{1: 1, True: 2}", "'1' occurs twice"),
    ('{"a": ' + "9" * 5000 + "}", "a number with too many digits"),
    ("{'a': {1, 2}}", "a value of Python that JSON has not (set)"),
    ("{'a': b'x'}", "a value of Python that JSON has not (bytes)"),
]


@pytest.mark.parametrize(("text", "words"), BROKEN_JSON, ids=[words for _, words in BROKEN_JSON])
def test_json_as_a_text_is_checked_as_a_row_is(text, words):
    """Messages, functions, calls and arguments that are texts: what a file's row could not be is one line."""
    call = [{"function": {"name": "f", "arguments": text}}]
    for read, value in (
        (as_messages, f'[{{"role": "user", "content": "a", "x": {text}}}]'),
        (tools_of, f"[{text}]"),
        (turn_of, {"role": "assistant", "content": "", "tool_calls": f"[{text}]"}),
        (turn_of, {"role": "assistant", "content": "", "tool_calls": call}),
    ):
        with pytest.raises(MessageError) as caught:
            read(value)
        assert words in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_the_number_of_values_of_json_as_a_text_is_limited(monkeypatch):
    """A row may hold as many, however it holds them."""
    monkeypatch.setattr("harness.config.limits.MOST_VALUES", 10)
    with pytest.raises(MessageError, match="a row must be smaller"):
        tools_of('[{"a": [1, 2, 3, 4, 5, 6, 7, 8, 9]}]')


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1, "a": 2}]', f"[{DEEP}]", "[{[1]: 2}]", "[{'a': 'b'", r"[{'a': '\d'}]", "[{" + "-" * 100_000 + "1}]"],
    ids=["a key twice", "deep", "a list as a key", "cut", "an escape that is none", "many signs"],
)
def test_a_text_that_is_no_messages_stays_a_text(text):
    """A prompt may ask about any JSON."""
    assert as_messages(text) == text


def test_messages_as_text_may_be_indented():
    """As json.dumps(..., indent=1) writes them."""
    messages = [{"role": "user", "content": "Q"}]
    assert as_messages(json.dumps(messages, indent=1)) == messages
