"""Tests of reading columns: what each reader takes, and the one line it says otherwise."""

import pytest

from harness.data.row import DataError
from suites.inputs import Turn

MESSAGES = [
    {"role": "system", "content": " Be brief. "},
    {"role": "human", "text": "Hi\n"},
    {"role": "assistant", "content": "Hello"},
]


def test_readers_give_what_the_columns_hold(row):
    """Texts, lists, parts and choices come as they are."""
    made = row(a="x ", b=["x", "y"], c={"d": "z"}, e=1, f=[0, 1])
    assert (made.text("a"), made.texts("b"), made.part("c").text("d")) == ("x ", ("x", "y"), "z")
    assert (made.one_of("e", 0, 1), made.labels("f")) == (1, (0, 1))
    assert made.has("a")
    assert not row(a=None).has("a")


def test_turns_of_a_text_and_of_messages(row):
    """A text is the user's; roles of several datasets are understood; texts are stripped."""
    assert row(p=" Hi ").turns("p") == (Turn("user", "Hi"),)
    assert row(p=MESSAGES).turns("p") == (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello"))


def test_numbers_flags_and_names_also_as_the_text_that_csv_has(row):
    """Numbers and flags are read from text as well; a gap needs both numbers."""
    made = row(a=3, b="2.5", c=[1, 2.0], d="True", e=0, f=7, g=None, h=True)
    assert (made.number("a"), made.number("b"), made.numbers("c")) == (3.0, 2.5, (1.0, 2.0))
    assert (made.flag("d"), made.flag("e"), made.flag("h")) == (True, False, True)
    assert (made.name("f"), made.name("b")) == ("7", "2.5")
    assert (made.gap("a", "b"), made.gap("a", "g"), made.gap("z", "a")) == (0.5, None, None)


def test_a_list_of_mappings_and_a_mapping_of_lists_are_the_same(row):
    """Arrow keeps either; both are read as columns of lists."""
    listed = row(a=[{"text": "x", "score": 1}, {"text": "y", "score": 2}]).lists("a")
    mapped = row(a={"text": ["x", "y"], "score": [1, 2]}).lists("a")
    assert listed.columns == mapped.columns
    assert listed.texts("text") == ("x", "y")
    assert row(a=[]).lists("a").columns == {}


def test_messages_of_sharegpt(row):
    """The keys `from` and `value`, and the speakers human and gpt, are understood."""
    messages = [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": " A "}]
    assert row(p=messages).messages("p") == (Turn("system", "S"), Turn("user", "Q"), Turn("assistant", "A"))
    assert row(a=messages[2]).answer("a") == "A"
    assert row(p=messages).answered("p") == ((Turn("system", "S"), Turn("user", "Q")), "A")
    assert row(p=messages[2:]).answered("p") == ((), "A")


@pytest.mark.parametrize("value", [" Hello\n", MESSAGES[2], [MESSAGES[2]]])
def test_an_answer_in_every_shape(row, value):
    """An answer is a text, a message, or a list of one message."""
    assert row(a=value).answer("a") == "Hello"


@pytest.mark.parametrize(
    ("reader", "value", "words"),
    [
        (lambda row: row.text("a"), ["x"], "column 'a' must be text, got [\"x\"]"),
        (lambda row: row.text("a"), None, "column 'a' has no value; the row has: a"),
        (lambda row: row.text("a"), True, "must be text, got true"),
        (lambda row: row.number("a"), 10**400, "must be a number"),
        (lambda row: row.text("a"), float("inf"), "must be text"),
        (lambda row: row.texts("a"), "x", 'must be a list of texts, got "x"'),
        (lambda row: row.texts("a"), ["x", None], "must be a list of texts"),
        (lambda row: row.labels("a"), [0, 2], "must be a list of 0 and 1"),
        (lambda row: row.labels("a"), [True], "must be a list of 0 and 1"),
        (lambda row: row.part("a"), "x", "must be a mapping"),
        (lambda row: row.one_of("a", 0, 1), True, "must be one of 0, 1, got true"),
        (lambda row: row.one_of("a", "1", "2"), 3, 'must be one of "1", "2", got 3'),
        (lambda row: row.number("a"), True, "must be a number, got true"),
        (lambda row: row.number("a"), "three", 'must be a number, got "three"'),
        (lambda row: row.number("a"), float("nan"), "has no value"),
        (lambda row: row.numbers("a"), [1, None], "must be a number, got null"),
        (lambda row: row.numbers("a"), 1, "must be a list of numbers, got 1"),
        (lambda row: row.flag("a"), "good", "must be true or false, 1 or 0, got"),
        (lambda row: row.flag("a"), 2, "must be true or false, 1 or 0, got 2"),
        (lambda row: row.name("a"), 1.5, "must be text or a whole number"),
        (lambda row: row.parts("a"), [1], "must be a list of mappings"),
        (lambda row: row.lists("a"), "x", "must be a list of mappings"),
        (lambda row: row.messages("a"), "x", "must be a list of messages"),
        (lambda row: row.turns("a"), True, "must be text or a list of messages"),
        (lambda row: row.turns("a"), ["x"], "must be text or a list of messages"),
        (
            lambda row: row.turns("a"),
            [{"role": "bot", "content": "x"}],
            "column 'a', item 1: column 'role' must be one of",
        ),
        (
            lambda row: row.turns("a"),
            [{"role": "user"}],
            "item 1: the column 'content' is missing; the row has: role",
        ),
        (lambda row: row.answer("a"), MESSAGES, "must be text or one message"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_place(row, reader, value, words):
    """File, line and column stand in the error."""
    with pytest.raises(DataError) as caught:
        reader(row(a=value))
    assert str(caught.value).startswith("rows.jsonl, line 1")
    assert words in str(caught.value)


def test_a_missing_column_is_an_error_that_lists_the_columns(row):
    """The error names file, line, column, and the columns of the row."""
    with pytest.raises(DataError) as caught:
        row(question="x", answr="y").text("answer")
    assert str(caught.value) == ("rows.jsonl, line 1: the column 'answer' is missing; the row has: question, answr")
