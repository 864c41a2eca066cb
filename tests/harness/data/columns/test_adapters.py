"""Tests of datasets that the table does not list: what a configuration says of their columns, and what names say."""

import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from harness.config.schema import ColumnsConfig, DatasetConfig
from harness.data.load import load_examples, load_pairs, load_questions, load_rated
from harness.data.row import DataError
from suites.inputs import Turn

ASK = (Turn("user", "Q"),)


def turn(speaker, text):
    """A message."""
    return {"role": speaker, "content": text}


def whole(text):
    """A conversation that ends with an answer."""
    return [turn("user", "Q"), turn("assistant", text)]


@pytest.fixture
def load(write_rows):
    """Writes rows to a file and loads it with these columns."""

    def load_rows(loader, rows, name="my_rows.jsonl", **columns):
        config = ColumnsConfig(**columns) if columns else None
        return loader(DatasetConfig(str(write_rows(name, rows)), columns=config), data_root=None)

    return load_rows


def test_pairs_of_any_columns(load):
    """Prompt, system turn, answers, scores, group and source stand where the configuration says."""
    rows = [
        {"q": " Q ", "s": "Be kind.", "good": " x", "bad": "y", "up": 3, "down": "1.5", "topic": 7, "part": "p"},
        {"q": "R", "s": "", "good": "x", "bad": "y", "up": 3, "down": None, "topic": 7, "part": "p"},
    ]
    loaded = load(
        load_pairs,
        rows,
        prompt="q",
        system="s",
        chosen="good",
        rejected="bad",
        score_chosen="up",
        score_rejected="down",
        group="topic",
        source="part",
    )
    first, second = loaded.rows
    assert first.prompt == (Turn("system", "Be kind."), *ASK)
    assert (first.chosen, first.rejected, first.score_gap, first.source) == ("x", "y", 1.5, "p")
    assert (second.prompt, second.score_gap) == ((Turn("user", "R"),), None)
    assert first.group == second.group


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"q": "Q", "a": "x", "b": "y"}, {"prompt": "q"}),
        ({"q": [turn("user", "Q")], "a": [turn("assistant", "x")], "b": turn("assistant", "y")}, {"prompt": "q"}),
        ({"q": "Q", "a": whole("x"), "b": whole("y")}, {"prompt": "q"}),
        ({"a": whole("x"), "b": whole("y")}, {}),
    ],
)
def test_texts_messages_and_whole_conversations_are_the_same_pair(load, row, columns):
    """Explicit and implicit prompts, as texts or as messages, give one and the same row."""
    (pair,) = load(load_pairs, [row], chosen="a", rejected="b", **columns).rows
    assert (pair.prompt, pair.chosen, pair.rejected) == (ASK, "x", "y")


def test_whole_conversations_that_are_no_pair_are_counted(load):
    """Sides that do not share their prompt, or do not end with an answer, are left out."""
    rows = [
        {"a": whole("x"), "b": whole("y")},
        {"a": whole("x"), "b": [turn("user", "R"), turn("assistant", "y")]},
        {"a": whole("x"), "b": [turn("user", "Q"), turn("user", "R")]},
        {"a": whole("x"), "b": [turn("user", "Q")]},
    ]
    assert load(load_pairs, rows, chosen="a", rejected="b").left_out == {
        "the two sides do not share their prompt": 1,
        "no conversation that ends with an assistant turn": 1,
        "answer that is not the assistant's": 1,
    }
    with pytest.raises(DataError, match="line 1: column 'a' is a text, and no column is known to hold its prompt"):
        load(load_pairs, [{"a": "x", "b": "y"}], chosen="a", rejected="b")


SCORED = [("x", 2), ("y", 5), ("z", 2), ("w", 1)]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"a": [text for text, _ in SCORED], "s": [score for _, score in SCORED]}, {"scores": "s"}),
        (
            {"a": [{"t": text, "s": score} for text, score in SCORED]},
            {"answer_text": "t", "scores": "s"},
        ),
        (
            {"a": [{"t": text} for text, _ in SCORED], "s": [score for _, score in SCORED]},
            {"answer_text": "t", "scores": "s"},
        ),
        (
            {"a": {"t": [text for text, _ in SCORED], "s": [score for _, score in SCORED]}},
            {"answer_text": "t", "scores": "s"},
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_scored_answers_in_every_shape(tmp_path, write_rows, row, columns, suffix):
    """Texts beside scores, mappings with scores, and mappings of lists make the same pairs, also from Parquet."""
    row = {"q": "Q", **row}
    if suffix == ".parquet":
        path = tmp_path / "rows.parquet"
        parquet.write_table(pa.Table.from_pylist([row]), path)
    else:
        path = write_rows("rows.jsonl", [row])

    def pairs(which):
        config = ColumnsConfig(prompt="q", answers="a", pairs=which, **columns)
        return load_pairs(DatasetConfig(str(path), columns=config), data_root=None).rows

    assert [(pair.chosen, pair.rejected, pair.score_gap) for pair in pairs("best_worst")] == [("y", "w", 4)]
    assert {(pair.chosen, pair.rejected) for pair in pairs("all")} == {
        ("y", "x"), ("y", "z"), ("y", "w"), ("x", "w"), ("z", "w")
    }  # fmt: skip


def test_ranked_answers_without_scores(load):
    """The order is the rank; rows without two answers, or with scores amiss, are counted."""
    rows = [{"q": "Q", "a": ["x", "y", "z"]}, {"q": "R", "a": []}]
    loaded = load(load_pairs, rows, prompt="q", answers="a")
    assert [(pair.chosen, pair.rejected, pair.score_gap) for pair in loaded.rows] == [("x", "z", None)]
    assert loaded.left_out == {"fewer than two answers": 1}
    rows = [{"q": "Q", "a": [{"t": "x"}, {"t": "y"}], "s": [1, 2]}, {"q": "R", "a": [], "s": [1]}, {"q": "S", "a": []}]
    loaded = load(load_pairs, rows[:2], prompt="q", answers="a", answer_text="t", scores="s")
    assert loaded.left_out == {"fewer than two answers": 1}
    amiss = [{"q": "Q", "a": ["x", "y"], "s": [1]}, {"q": "R", "a": ["x", "y"], "s": [2, 1]}]
    assert load(load_pairs, amiss, prompt="q", answers="a", scores="s").left_out == {"not as many scores as answers": 1}


def test_rated_answers_examples_and_questions(load):
    """One answer with a label is rated, without one it is an example; a prompt alone is a question."""
    rows = [{"q": "Q", "a": "x", "ok": "true"}, {"q": "R", "a": "y", "ok": 0}]
    rated = load(load_rated, rows, prompt="q", answer="a", label="ok").rows
    assert [(each.response, each.is_good) for each in rated] == [("x", True), ("y", False)]
    (good,) = load(load_examples, rows, prompt="q", answer="a", label="ok").rows
    assert (good.response, good.wrong_responses) == ("x", ())
    assert [each.response for each in load(load_examples, rows, prompt="q", chosen="a").rows] == ["x", "y"]
    assert [each.prompt for each in load(load_questions, rows, prompt="q").rows] == [ASK, (Turn("user", "R"),)]
    conversations = [{"m": whole("x"), "ok": True}]
    assert load(load_rated, conversations, answer="m", label="ok").rows[0].prompt == ASK
    assert load(load_examples, conversations, chosen="m").rows[0].response == "x"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prompt": "p", "rejected": "r"}, "columns.rejected needs columns.chosen, which is not set"),
        ({"prompt": "p", "answer": "a"}, "columns.answer needs columns.label"),
        ({"prompt": "p", "label": "l"}, "columns.label needs columns.answer"),
        ({"answers": "a"}, "columns.answers needs columns.prompt"),
        ({"prompt": "p", "scores": "s"}, "columns.scores needs columns.answers"),
        ({"prompt": "p", "answer_text": "t"}, "columns.answer_text needs columns.answers"),
        ({"prompt": "p", "pairs": "all"}, "columns.pairs: all needs columns.answers"),
        ({"chosen": "c", "rejected": "r", "score_chosen": "s"}, "columns.score_chosen needs columns.score_rejected"),
        ({"prompt": "p", "score_chosen": "s", "score_rejected": "t"}, "columns.score_chosen needs columns.rejected"),
        (
            {"prompt": "p", "chosen": "c", "answers": "a"},
            "of columns.chosen and columns.answers only one can be set",
        ),
        ({"group": "g"}, "columns must name a prompt"),
    ],
)
def test_keys_that_do_not_go_together_are_refused_by_name(load, columns, words):
    """Nothing is read before that is found."""
    with pytest.raises(DataError, match=re.escape(words)):
        load(load_pairs, [{}], **columns)


@pytest.mark.parametrize(
    ("loader", "row"),
    [
        (load_pairs, {"prompt": "Q", "chosen": "x", "rejected": "y"}),
        (load_pairs, {"prompt": whole("x")[:1], "chosen": whole("x")[1:], "rejected": whole("y")[1:]}),
        (load_pairs, {"prompt": "Q", "chosen": whole("x"), "rejected": whole("y"), "messages": whole("x")}),
        (load_pairs, {"chosen": whole("x"), "rejected": whole("y")}),
        (load_rated, {"prompt": "Q", "completion": "x", "label": True}),
        (load_rated, {"messages": whole("x"), "label": True}),
        (load_examples, {"prompt": "Q", "completion": "x"}),
        (load_examples, {"messages": whole("x")}),
        (load_questions, {"prompt": "Q", "kind": "z"}),
    ],
)
def test_files_with_the_usual_columns_need_no_words(load, loader, row):
    """Names of columns say what they hold."""
    (made,) = load(loader, [row]).rows
    assert made.prompt == ASK


def test_usual_columns_beside_the_needed_ones(load):
    """Scores, group and source are taken where they are there."""
    row = {"prompt": "Q", "chosen": "x", "rejected": "y", "score_chosen": 2, "score_rejected": 1, "source": "s"}
    (first, second) = load(load_pairs, [{**row, "group": 1}, {**row, "prompt": "R", "group": 1}]).rows
    assert (first.score_gap, first.source) == (1.0, "s")
    assert first.group == second.group


def test_columns_that_say_nothing_are_listed(load):
    """The error lists them and shows what to write; a file of empty values has none."""
    with pytest.raises(DataError) as caught:
        load(load_pairs, [{"question": "Q", "good": "x"}])
    message = str(caught.value)
    assert "what its columns hold is not known (question, good)" in message
    assert "-o 'data.training.columns={prompt: question, chosen: COLUMN, rejected: COLUMN}'" in message
    assert len(message.splitlines()) == 1
    with pytest.raises(DataError, match="there are none"):
        load(load_pairs, [{"question": None}])
    with pytest.raises(DataError, match="has no pairs; it offers questions"):
        load(load_pairs, [{"prompt": "Q"}])


def test_unlisted_datasets_of_a_data_root(write_rows):
    """A dataset outside the catalogue is read by its columns; the error for a near miss names the likely dataset."""
    root = write_rows("o/n/train.jsonl", [{"prompt": "Q", "chosen": "x", "rejected": "y"}]).parents[2]
    loaded = load_pairs(DatasetConfig("o/n"), data_root=root)
    assert (len(loaded.rows), loaded.name, loaded.split) == (1, "o/n", "train")
    with pytest.raises(DataError, match=re.escape("does not hold Antropic/hh-rlhf; it holds: ")) as caught:
        load_pairs(DatasetConfig("Antropic/hh-rlhf"), data_root=root)
    assert str(caught.value).endswith("(did you mean Anthropic/hh-rlhf?)")


def test_configured_columns_win_over_the_table(write_rows):
    """A listed dataset, and a configuration that the table does not have, are read as the configuration says."""
    root = write_rows("Anthropic/hh-rlhf/mine/train.jsonl", [{"q": "Q", "a": "x", "b": "y"}]).parents[3]
    columns = ColumnsConfig(prompt="q", chosen="a", rejected="b")
    dataset = DatasetConfig("Anthropic/hh-rlhf:mine", columns=columns)
    (pair,) = load_pairs(dataset, data_root=root).rows
    assert (pair.prompt, pair.source) == (ASK, "mine")


def test_real_rows_as_read_and_as_mapped_are_the_same_pairs(real_data):
    """LLaMA-Factory's own columns, mapped, give the pairs of the copy in the usual columns."""
    folder = real_data / "dpo_en_demo"
    columns = ColumnsConfig(prompt="conversations", chosen="chosen", rejected="rejected")
    as_read = DatasetConfig(str(folder / "as_read.jsonl.gz"), columns=columns)
    usual = DatasetConfig(str(folder / "prompt_chosen_rejected.jsonl.gz"))
    mapped, expected = (load_pairs(each, data_root=None) for each in (as_read, usual))
    assert {row.example_id: row.group for row in mapped.rows} == {row.example_id: row.group for row in expected.rows}
    assert mapped.left_out == expected.left_out == {"repeated row": 2}


def test_real_rated_rows_as_read_and_as_mapped_are_the_same(real_data):
    """Whole conversations with a label are the rated answers of the copy in columns."""
    folder = real_data / "kto_en_demo"
    loaded = [
        load_rated(DatasetConfig(str(folder / name)), data_root=None)
        for name in ("as_read.jsonl", "prompt_completion_label.jsonl")
    ]
    ids = [{row.example_id for row in each.rows} for each in loaded]
    assert ids[0] == ids[1]
    assert len(ids[0]) > 140
