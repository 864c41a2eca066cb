"""Tests of what columns hold by their names, and of the lines that tell which are taken for what and which are not."""

import json

import pytest

from harness.config.schema import DatasetConfig
from harness.data.load import load_examples, load_pairs, load_questions, load_rated
from harness.data.row import DataError
from suites.inputs import Turn

ASK = (Turn("user", "Q"),)


def user(text):
    """A user's message."""
    return {"role": "user", "content": text}


def assistant(text, **more):
    """An assistant's message."""
    return {"role": "assistant", "content": text, **more}


@pytest.fixture
def load(write_rows):
    """Writes rows to a file and loads it by the names of its columns."""

    def load_rows(loader, rows, name="rows.jsonl"):
        return loader(DatasetConfig(str(write_rows(name, rows))), data_root=None)

    return load_rows


@pytest.mark.parametrize(
    ("loader", "row", "note"),
    [
        (load_pairs, {"question": "Q", "chosen": "x", "rejected": "y"}, "question as prompt"),
        (load_pairs, {"instruction": "Q", "input": "", "chosen": "x", "rejected": "y"}, "instruction as prompt"),
        (load_pairs, {"query": "Q", "chosen_response": "x", "rejected_response": "y"}, "chosen_response as chosen"),
        (load_pairs, {"conversations": [user("Q")], "chosen": assistant("x"), "rejected": assistant("y")}, "as prompt"),
        (load_examples, {"instruction": "Q", "input": None, "output": "x"}, "output as chosen"),
        (load_examples, {"conversations": [user("Q"), assistant("x")]}, "conversations as chosen"),
        (load_examples, {"question": "Q", "answer": 42}, "answer as chosen"),
        (load_rated, {"question": "Q", "response": "x", "label": 1.0}, "response as answer"),
    ],
)
def test_usual_names_are_understood_and_told(load, loader, row, note):
    """Alpaca's, ShareGPT's and other names need no configuration; a line says what is taken for what."""
    loaded = load(loader, [row])
    (made,) = loaded.rows
    assert made.prompt == ASK
    assert any("columns are read as follows" in line and note in line for line in loaded.notes)


def test_transcripts_of_hh_rlhf_in_a_file_of_ones_own(load):
    """Two texts without a prompt are transcripts where they begin with a turn."""
    start = "\n\nHuman: Q\n\nAssistant: "
    (pair,) = load(load_pairs, [{"chosen": start + "x", "rejected": start + "y"}]).rows
    assert (pair.prompt, pair.chosen, pair.rejected) == (ASK, "x", "y")


def test_an_input_follows_its_instruction(load):
    """Alpaca's input is part of what is asked; the column input alone is the prompt."""
    row = {"instruction": "Translate.", "input": "Hallo", "output": "Hello"}
    (example,) = load(load_examples, [row]).rows
    assert example.prompt == (Turn("user", "Translate.\n\nHallo"),)
    (alone,) = load(load_examples, [{"input": "Q", "output": "x"}]).rows
    assert alone.prompt == ASK


def test_a_system_column_is_the_system_turn(load):
    """It stands before the prompt, once where the conversation says the same already."""
    rows = [
        {"system": "Be brief.", "prompt": "Q", "chosen": "x", "rejected": "y"},
        {"system": "Be brief.", "prompt": [{"role": "system", "content": "Be brief."}, user("R")], "chosen": "x",
         "rejected": "y"},
        {"system": "", "prompt": "S", "chosen": "x", "rejected": "y"},
    ]  # fmt: skip
    prompts = [row.prompt for row in load(load_pairs, rows).rows]
    system = Turn("system", "Be brief.")
    assert prompts == [(system, *ASK), (system, Turn("user", "R")), (Turn("user", "S"),)]


def test_answers_of_several_turns_go_on_from_the_prompt(load):
    """A prompt's column is kept where answers continue it, and counted once where they repeat it."""
    more = [assistant("Hello Kim."), user("Who am I?")]
    kim = user("My name is Kim.")
    rows = [
        {"prompt": [kim], "chosen": [*more, assistant("Kim")], "rejected": [*more, assistant("Bo")]},
        {"prompt": [kim], "chosen": [kim, *more, assistant("Kim.")], "rejected": [kim, *more, assistant("Bo.")]},
        {"prompt": "Who am I?", "chosen": [kim, *more, assistant("K")], "rejected": [kim, *more, assistant("B")]},
        {"prompt": "My name is Kim.", "chosen": [kim, assistant("K")], "rejected": "B"},
        {"prompt": "Another", "chosen": [kim, assistant("K")], "rejected": [kim, assistant("B")]},
        {
            "prompt": [kim],
            "chosen": [*more, assistant("Kim")],
            "rejected": [assistant("Hi."), more[1], assistant("Bo")],
        },
    ]
    loaded = load(load_pairs, rows)
    whole = (Turn("user", "My name is Kim."), Turn("assistant", "Hello Kim."), Turn("user", "Who am I?"))
    assert [row.prompt for row in loaded.rows] == [whole, whole, whole, whole[:1]]
    assert loaded.left_out == {
        "the prompt's column is no part of the conversations": 1,
        "the two sides do not share their prompt": 1,
    }


def test_a_system_turn_of_the_prompt_alone_is_kept(load):
    """Conversations that repeat a prompt without its system turn get it back."""
    system = {"role": "system", "content": "S"}
    row = {
        "prompt": [system, user("Q")],
        "chosen": [user("Q"), assistant("x")],
        "rejected": [user("Q"), assistant("y")],
    }
    assert load(load_pairs, [row]).rows[0].prompt == (Turn("system", "S"), *ASK)


def test_tools_reach_the_prompt_and_calls_as_answers_are_counted(load):
    """A column of functions goes on the first turn, also as JSON text; an answer that calls one is left out."""
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "x": None}}}]
    call = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    base = {"chosen": "x", "rejected": "y"}
    rows = [
        {"prompt": "Q", "tools": tools, **base},
        {"prompt": "R", "tools": json.dumps(tools), **base},
        {"prompt": "S", "tools": [], **base},
        {"prompt": "T", "tools": tools, **base, "chosen": [assistant("", tool_calls=call)]},
        {"prompt": "U", **base, "rejected": assistant("5", reasoning_content="2 + 3")},
    ]  # fmt: skip
    loaded = load(load_pairs, rows)
    expected = '[{"function": {"name": "add", "parameters": {"type": "object"}}, "type": "function"}]'
    assert [row.prompt[0].tools for row in loaded.rows] == [expected, expected, ""]
    assert loaded.left_out == {
        "answer with tool_calls, which is neither trained on nor scored": 1,
        "answer with reasoning_content, which is neither trained on nor scored": 1,
    }
    with pytest.raises(DataError, match="column 'tools' must be a list of functions"):
        load(load_pairs, [{"prompt": "Q", "tools": "add", **base}])


@pytest.mark.parametrize(("column", "value"), [("images", ["a.png"]), ("image", "a.png"), ("audio", {"path": "a"})])
def test_rows_with_images_or_sounds_are_counted(load, column, value):
    """A text model does not see them, so such a row is not what it seems; an empty column is no reason."""
    row = {"prompt": "Q", "chosen": "x", "rejected": "y"}
    loaded = load(load_pairs, [{**row, column: value}, {**row, "prompt": "R", column: None}, {**row, "prompt": "S"}])
    assert [each.prompt[0].text for each in loaded.rows] == ["R", "S"]
    assert loaded.left_out == {f"column {column}, which a text model does not read": 1}


def test_columns_that_are_not_used_are_told_once(load):
    """All columns of all rows count, not those of the first one alone; so do keys of messages."""
    rows = [
        {"prompt": "Q", "chosen": "x", "rejected": "y", "empty": None},
        {"prompt": [{**user("R"), "weight": 2}], "chosen": "x", "rejected": "y", "topic": "t"},
        {"prompt": "S", "chosen": "x", "rejected": "y", "topic": "t", "id": 3},
    ]
    (note,) = [line for line in load(load_pairs, rows).notes if "not used" in line]
    assert note.endswith("columns that are not used: topic, id; keys of messages that are not used: weight")
    assert not any("not used" in line for line in load(load_pairs, [rows[0]]).notes)


def test_columns_are_those_of_all_rows(load):
    """A first row that lacks a column does not hide it from the others."""
    rows = [{"prompt": "Q"}, {"prompt": "R", "chosen": "x", "rejected": "y"}]
    loaded = load(load_pairs, rows)
    assert [row.prompt[0].text for row in loaded.rows] == ["R"]
    assert loaded.left_out == {"no value in column 'chosen'": 1}


def test_a_null_answer_is_counted_as_a_missing_one(load):
    """One null among many rows stops nothing."""
    row = {"prompt": "Q", "chosen": "x", "rejected": "y"}
    loaded = load(load_pairs, [row, {**row, "chosen": None}, {**row, "rejected": [assistant(None)]}])
    assert (len(loaded.rows), loaded.left_out) == (1, {"no value in column 'chosen'": 1, "empty answer": 1})


def test_pairs_that_contradict_each_other_are_told(load):
    """A over B and B over A stay, and a line counts them."""
    row = {"prompt": "Q", "chosen": "x", "rejected": "y"}
    loaded = load(load_pairs, [row, {**row, "chosen": "y", "rejected": "x"}, {**row, "prompt": "R"}])
    assert len(loaded.rows) == 3
    assert any("2 pairs contradict another one" in line for line in loaded.notes)


def test_a_text_without_a_known_prompt_says_what_to_write(load):
    """The line names the column, and an option that works."""
    with pytest.raises(DataError) as caught:
        load(load_pairs, [{"frage": "Q", "chosen": "x", "rejected": "y"}])
    assert "-o 'data.training.columns={prompt: COLUMN, ...}'; the row has: frage, chosen, rejected" in str(caught.value)


def test_messages_as_text_are_messages(load):
    """A CSV cell holds a conversation only as JSON, or as Python writes it."""
    rows = [
        {"prompt": '[{"role": "user", "content": "Q"}]', "chosen": "x", "rejected": "y"},
        {"prompt": "[{'role': 'user', 'content': \"Q\"}]", "chosen": "z", "rejected": "y"},
        {"prompt": '[{"a": 1}]', "chosen": "x", "rejected": "y"},
    ]
    prompts = [row.prompt for row in load(load_pairs, rows).rows]
    assert prompts == [ASK, ASK, (Turn("user", '[{"a": 1}]'),)]


def test_halves_of_surrogates_are_replaced_and_told(write_rows):
    """Half of an emoji is no character: it becomes U+FFFD, and the line names the first row; a whole pair is none."""
    rows = [
        {"prompt": "Q", "chosen": "x \ud83d", "rejected": "y"},
        {"prompt": "R", "chosen": "x \U0001f600", "rejected": "y"},
    ]
    path = write_rows("rows.jsonl", rows)
    loaded = load_pairs(DatasetConfig(str(path)), data_root=None)
    assert [row.chosen for row in loaded.rows] == ["x \ufffd", "x \U0001f600"]
    (note,) = [line for line in loaded.notes if "half of a surrogate" in line]
    assert "1 row holds half of a surrogate pair" in note
    assert note.endswith(f"first in {path}, line 1")


def test_json_as_a_text_that_no_row_could_be_names_its_place(load):
    """File, line and column; a key twice would lose a text."""
    row = {"prompt": "Q", "chosen": "x", "rejected": "y"}
    for column, text, words in (
        ("prompt", r'[{"role": "user", "content": "hi \ud83d there"}]', "half of a surrogate pair"),
        ("prompt", '[{"role": "user", "content": "first", "content": "second"}]', "'content' occurs twice"),
        ("chosen", '[{"role": "assistant", "content": "x", "content": "z"}]', "'content' occurs twice"),
        ("tools", "[" + '{"a":' * 900 + "1" + "}" * 900 + "]", "nested deeper than 64 levels"),
    ):
        with pytest.raises(DataError) as caught:
            load(load_pairs, [row, {**row, "prompt": "R", column: text}])
        assert f"line 2: column {column!r} holds JSON as a text, which cannot be used: {words}" in str(caught.value)


def test_keys_that_become_one_by_their_repair_are_an_error(tmp_path):
    """Two halves of surrogates are two keys and one U+FFFD."""
    path = tmp_path / "rows.jsonl"
    path.write_text(r'{"prompt": "Q", "x": {"\ud83d": 1, "\ud83e": 2}}' + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1: .* occurs twice"):
        load_questions(DatasetConfig(str(path)), data_root=None)


@pytest.mark.parametrize("name", ["rows.JSONL", "ROWS.NDJSON", "rows.jsonlines", "rows.JsonL"])
def test_endings_in_any_case_are_files(load, name):
    """They are read from this disk, not looked for on the hub."""
    assert load(load_questions, [{"prompt": "Q"}], name=name).rows[0].prompt == ASK


def test_a_file_of_another_kind_is_named_as_that(tmp_path):
    """A file that exists is never looked for on the hub."""
    (tmp_path / "rows.txt").write_text("Q", encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.txt: must end in one of \.jsonl"):
        load_questions(DatasetConfig(str(tmp_path / "rows.txt")), data_root=None)


def test_a_configured_column_that_no_row_has_is_an_error(write_rows):
    """Also where rows could do without it; the line names the likely one."""
    from harness.config.schema import ColumnsConfig

    path = write_rows("rows.jsonl", [{"prompt": "Q", "systm": "S"}])
    dataset = DatasetConfig(str(path), columns=ColumnsConfig(prompt="prompt", system="system"))
    with pytest.raises(DataError, match=r"columns.system is 'system', which no row has \(did you mean systm\?\)"):
        load_questions(dataset, data_root=None)


def test_a_cell_longer_than_the_csv_module_allows(tmp_path):
    """Python's own limit of 131,072 characters is no limit of rows."""
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt,chosen,rejected\nQ,{'x' * 200_000},y\n", encoding="utf-8")
    (pair,) = load_pairs(DatasetConfig(str(path)), data_root=None).rows
    assert len(pair.chosen) == 200_000


@pytest.mark.parametrize(
    "score", ["1" * 400, "1e400", "-" + "9" * 4000], ids=["400 digits", "infinite", "4,000 digits"]
)
def test_a_number_beyond_all_bounds_is_one_line(tmp_path, score):
    """A score, and a number in place of a text."""
    path = tmp_path / "rows.jsonl"
    row = f'{{"prompt": "Q", "chosen": "x", "rejected": "y", "score_chosen": {score}, "score_rejected": 1}}\n'
    path.write_text(row, encoding="utf-8")
    with pytest.raises(DataError, match="line 1: column 'score_chosen' must be a number"):
        load_pairs(DatasetConfig(str(path)), data_root=None)


def test_values_nested_deep_are_one_line(tmp_path):
    """Whether JSON or the walk through the values meets the depth first."""
    for depth in (900, 3000, 100_000):
        path = tmp_path / "rows.jsonl"
        path.write_text(f'{{"prompt": "Q", "chosen": {"[" * depth}{"]" * depth}, "rejected": "y"}}\n', encoding="utf-8")
        with pytest.raises(DataError, match="line 1"):
            load_pairs(DatasetConfig(str(path)), data_root=None)


def test_names_of_columns_are_shown_on_one_line(load):
    """Line breaks and escape sequences of a column's name do not reach the terminal."""
    with pytest.raises(DataError) as caught:
        load(load_pairs, [{"x\n\x1b[31my": 1}])
    assert r"(x\n\x1b[31my)" in str(caught.value)


@pytest.mark.parametrize("blank", ["", "  ", "\t\n", None])
def test_a_blank_group_or_source_is_a_missing_one(load, blank):
    """Empty cells of a CSV file do not make one group of rows that have nothing to do with each other."""
    rows = [
        {"prompt": text, "chosen": "x", "rejected": "y", "group": group, "source": blank}
        for text, group in (("Q", blank), ("R", blank), ("S", "a"), ("T", "a"))
    ]
    first, second, third, fourth = load(load_pairs, rows).rows
    assert len({first.group, second.group, third.group}) == 3
    assert third.group == fourth.group
    assert first.source == "rows"


def test_groups_that_pandas_wrote_as_numbers_with_a_point(load):
    """A column of whole numbers with a missing one has them as 3.0."""
    rows = [{"prompt": text, "chosen": "x", "rejected": "y", "group": group} for text, group in
            (("Q", 3.0), ("R", 3), ("S", None))]  # fmt: skip
    first, second, third = load(load_pairs, rows).rows
    assert first.group == second.group != third.group
