"""Tests of one dataset's rows in every shape: merging, counting, splits, on small and real rows."""

import dataclasses
import gc
import tracemalloc

import pytest

from harness.config.schema import ColumnsConfig, DatasetConfig
from harness.data import read
from harness.data.load import load_examples, load_pairs, load_questions, load_rated
from harness.data.read import each_split_once
from harness.data.row import DataError, Row

HH, PROCESSED, SAFE = "Anthropic/hh-rlhf:helpful-base", "PKU-Alignment/processed-hh-rlhf", "PKU-Alignment/PKU-SafeRLHF"
TOPICS = ("bread", "coins", "rivers", "clocks", "sheep", "glass", "trains", "wool", "lamps", "maps", "salt", "boats")


def transcripts(topics, n_each=2):
    """hh-rlhf rows, several a first human turn."""
    return [
        {
            "chosen": f"\n\nHuman: Tell me all about {topic} please\n\nAssistant: {topic} number {n} it is.",
            "rejected": f"\n\nHuman: Tell me all about {topic} please\n\nAssistant: No {topic}, {n}.",
        }
        for topic in topics
        for n in range(n_each)
    ]


def load(name, root, loader=load_pairs, **options):
    """Rows of one dataset."""
    return loader(DatasetConfig(name, split=options.pop("split", None)), data_root=root, **options)


def test_repeated_rows_are_merged_and_counted(write_rows):
    """What is read is what is used and what is left out, by reason."""
    rows = transcripts(TOPICS[:3])
    path = write_rows(
        "Anthropic/hh-rlhf/helpful-base/test.jsonl", [*rows, rows[0], {**rows[1], "rejected": rows[1]["chosen"]}]
    )
    loaded = load(HH, path.parents[3])
    assert (len(loaded.rows), loaded.n_read) == (6, 8)
    assert loaded.left_out == {"repeated row": 1, "equal answers": 1}
    assert {row.source for row in loaded.rows} == {"helpful-base"}


def test_a_row_without_a_needed_value_is_counted(write_rows):
    """Null, and a column that the row lacks, are one reason; where no row has it, the line lists the columns."""
    whole, lacking = transcripts(TOPICS[:1]), [{"chosen": "x", "rejcted": "y"}, {"chosen": "x", "rejected": None}]
    root = write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", [*whole, *lacking]).parents[3]
    assert load(HH, root).left_out == {"no value in column 'rejected'": 2}
    write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", lacking)
    words = r"no usable row \(2 no value in column 'rejected'\); its columns are: chosen, rejcted, rejected"
    with pytest.raises(DataError, match=words):
        load(HH, root)


def test_a_dataset_without_a_usable_row_is_an_error(write_rows):
    """The reasons are counted in the line; an empty file has none."""
    root = write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", [{"chosen": "x", "rejected": "y"}] * 2).parents[3]
    with pytest.raises(DataError, match=r"no usable row \(2 no transcript that ends"):
        load(HH, root)
    write_rows("Anthropic/hh-rlhf/helpful-base/test.jsonl", [])
    with pytest.raises(DataError, match="holds no rows"):
        load(HH, root)


@pytest.mark.parametrize(
    ("loader", "name", "words_"),
    [
        (load_pairs, "embedded/coreference", "has no pairs; it offers examples, questions"),
        (load_examples, "embedded/prompts", "has no examples; it offers questions"),
        (load_rated, "embedded/coreference", "has no rated answers; it offers examples, questions"),
    ],
)
def test_a_kind_that_a_dataset_does_not_offer(loader, name, words_):
    """The line says what it does offer."""
    with pytest.raises(DataError, match=words_):
        load(name, None, loader)


def test_embedded_data_serves_every_kind_it_offers():
    """Pairs, their examples, and prompts of any dataset are there without a data root."""
    pairs, examples = load("embedded/safety", None), load("embedded/safety", None, load_examples)
    assert len(examples.rows) == len(pairs.rows)
    assert load("embedded/coreference", None, load_questions).rows
    kinds = {question.kind for question in load("embedded/prompts", None, load_questions).rows}
    assert "benign look-alike" in kinds


def test_real_answers_preferred_to_several_are_scored_once(real_data):
    """PKU-SafeRLHF: 1,830 pairs are 1,330 answers, and every pair's rejected answer is a wrong one of its answer."""
    pairs, examples = load(SAFE, real_data), load(SAFE, real_data, load_examples)
    assert (len(pairs.rows), len(examples.rows)) == (1830, 1330)
    assert examples.left_out == {"same answer in another row, wrong answers joined": 500}
    wrong = {(example.prompt, example.response): example.wrong_responses for example in examples.rows}
    assert all(pair.rejected in wrong[pair.prompt, pair.chosen] for pair in pairs.rows)
    assert sum(map(len, wrong.values())) == len(pairs.rows)
    assert len({pair.group for pair in pairs.rows}) == 459


@pytest.mark.parametrize(
    ("name", "n_read", "left_out"),
    [
        (HH, 1173, {"the two sides do not share their prompt": 2}),
        ("Anthropic/hh-rlhf:harmless-base", 1166, {"the two sides do not share their prompt": 2}),
        ("Anthropic/hh-rlhf", 2339, {"the two sides do not share their prompt": 4}),
        (PROCESSED, 1164, {}),
        ("HuggingFaceH4/ultrafeedback_binarized", 599, {"equal answers": 3}),
        ("llamafactory/dpo_en_demo", 149, {"repeated row": 2}),
        ("Intel/orca_dpo_pairs", 142, {}),
        ("openai/webgpt_comparisons", 451, {"tie": 125}),
        ("openai/summarize_from_feedback:comparisons", 1, {}),
        ("eli5_category", 20, {"fewer than two answers": 4}),
        ("Hello-SimpleAI/HC3:wiki_csai", 1, {}),
    ],
)
def test_real_rows_are_used_or_counted(real_data, name, n_read, left_out):
    """Every real row is used or left out for a reason that was checked by hand; ids are unique."""
    loaded = load(name, real_data)
    assert (loaded.n_read, loaded.left_out) == (n_read, left_out)
    assert len({row.example_id for row in loaded.rows}) == n_read - sum(left_out.values())


def test_both_sides_of_pairs_are_rated(write_rows):
    """A pair is a good and a bad answer; an answer of two pairs counts once."""
    rows = transcripts(TOPICS[:1])
    rows.append({"chosen": rows[0]["chosen"], "rejected": rows[1]["rejected"]})
    root = write_rows("Anthropic/hh-rlhf/helpful-base/train.jsonl", rows).parents[3]
    loaded = load(HH, root, load_rated)
    assert sorted((row.response, row.is_good) for row in loaded.rows) == [
        ("No bread, 0.", False), ("No bread, 1.", False), ("bread number 0 it is.", True),
        ("bread number 1 it is.", True),
    ]  # fmt: skip
    assert loaded.left_out == {"same answer in another pair": 2}


def test_examples_of_rated_answers_are_the_good_ones(real_data):
    """Bad answers are counted; the prompts of all are questions."""
    rated, examples, questions = (
        load("trl-lib/kto-mix-14k", real_data, loader) for loader in (load_rated, load_examples, load_questions)
    )
    n_bad = sum(not row.is_good for row in rated.rows)
    assert 0 < n_bad < len(rated.rows)
    assert len(examples.rows) == len(rated.rows) - n_bad
    assert examples.left_out["bad answer"] == n_bad
    assert len(questions.rows) >= len({row.group for row in rated.rows})


def test_a_note_names_the_split_unless_the_configuration_does(write_rows):
    """The note names dataset, split, purpose, and what else there was."""
    for split in ("train", "test", "odd"):
        write_rows(f"Anthropic/hh-rlhf/helpful-base/{split}.jsonl", transcripts(TOPICS[:2]))
    root = write_rows("o/n/odd.jsonl", [{"prompt": "Q", "chosen": "x", "rejected": "y"}]).parents[2]
    assert load(HH, root).notes == (f"{HH}: split test is used for measuring, of odd, test, train",)
    assert load(HH, root, purpose="training").notes == (f"{HH}: split train is used for training, of odd, test, train",)
    assert load(HH, root, split="odd").notes == ()
    assert load("o/n", root).notes == ("o/n: odd is its only split there, used for measuring",)


@pytest.mark.parametrize(
    ("splits", "training", "measuring"),
    [
        (("train_prefs", "test_prefs", "train_sft", "train"), "train_prefs", "test_prefs"),
        (("train", "test", "validation"), "train", "test"),
        (("train", "validation"), "train", "validation"),
    ],
)
def test_splits_of_unlisted_datasets_are_picked(write_rows, splits, training, measuring):
    """Preference splits go first, then train and test, then validation."""
    for split in splits:
        path = write_rows(f"o/n/{split}.jsonl", [{"prompt": "Q", "chosen": "x", "rejected": "y"}])
    root = path.parents[2]
    assert load("o/n", root, purpose="training").split == training
    assert load("o/n", root).split == measuring


def test_loaded_rows_are_frozen():
    """What is handed on cannot be changed."""
    loaded = load("embedded/prompts", None, load_questions)
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.rows = ()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", "", "holds no rows"),
        ("x.jsonl", "\n \n", "holds no rows"),
        ("x.json", "[]", "holds no rows"),
        ("x.csv", "prompt,chosen,rejected\n", "holds no rows"),
        ("x.csv", "", "holds no rows"),
        ("x.jsonl", "{}\n{}\n", "holds only empty rows"),
    ],
)
def test_a_file_without_rows_is_no_matter_of_columns(name, content, words, tmp_path):
    """Nothing is said of columns that nobody could see."""
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as told:
        load_pairs(DatasetConfig(str(tmp_path / name)), data_root=None)
    assert str(told.value) == f"{tmp_path / name} {words}"


def test_a_file_is_named_once_where_it_is_the_dataset(tmp_path):
    """Beside the name of a folder, that of the file within it."""
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    file, folder = tmp_path / "train.jsonl", tmp_path
    assert load_pairs(DatasetConfig(str(file)), data_root=None).origin == f"{file}, split train"
    assert load_pairs(DatasetConfig(f"{folder}/"), data_root=None).origin == f"{folder}/, split train, train.jsonl"


@pytest.fixture
def files_read(monkeypatch):
    """The names of the files that are read, each as often as it is."""
    names = []
    of_file = read.read_file

    def counted(path):
        names.append(path.name)
        return of_file(path)

    monkeypatch.setattr(read, "read_file", counted)
    return names


def test_a_file_is_read_once_for_all_its_roles(write_rows, files_read):
    """What it is loaded as are the same objects, of one reading; outside of the block it is read anew."""
    file = write_rows("rows.jsonl", transcripts(TOPICS))
    alone = [load(str(file), None, loader) for loader in (load_pairs, load_examples, load_questions, load_rated)]
    assert files_read == ["rows.jsonl"] * 4

    with each_split_once():
        pairs = load(str(file), None, purpose="training")
        others = [load(str(file), None, loader) for loader in (load_pairs, load_examples, load_questions, load_rated)]

    assert files_read == ["rows.jsonl"] * 5
    assert others == alone
    assert pairs.rows is others[0].rows
    assert others[1].rows[0].prompt is pairs.rows[0].prompt
    assert [note for note in pairs.notes if note not in others[0].notes] == [
        f"{file}: train is its only split there, used for training"
    ]


def test_what_is_read_otherwise_is_read_again(write_rows, files_read):
    """Another split, and the same rows with other words for what their columns hold."""
    for split in ("train", "test"):
        write_rows(f"o/n/{split}.jsonl", [{"a": f"Q {split}", "b": "x", "c": "y"}])
    root = write_rows("o/n/dev.jsonl", [{"a": "Q", "b": "x", "c": "y"}]).parents[2]
    as_pairs = ColumnsConfig(prompt="a", chosen="b", rejected="c")
    with each_split_once():
        read_rows = [
            load_pairs(DatasetConfig("o/n", split=split, columns=columns), data_root=root).rows
            for split, columns in (
                ("train", as_pairs),
                ("test", as_pairs),
                ("test", ColumnsConfig(prompt="a", chosen="c", rejected="b")),
                ("test", as_pairs),
            )
        ]

    assert files_read == ["train.jsonl", "test.jsonl", "test.jsonl"]
    assert [(row.prompt[0].text, row.chosen) for (row,) in read_rows] == [
        ("Q train", "x"), ("Q test", "x"), ("Q test", "y"), ("Q test", "x")
    ]  # fmt: skip


def test_no_raw_row_stays_once_something_is_made_of_it(write_rows):
    """Also while the file is kept for its other roles."""
    file = write_rows("rows.jsonl", transcripts(TOPICS))
    with each_split_once():
        pairs = load(str(file), None)
        gc.collect()
        raw = [each for each in gc.get_objects() if type(each) is Row and each.where.startswith(str(file))]

    assert len(pairs.rows) == 24
    assert raw == []


def test_roles_that_share_a_file_share_what_is_made_of_it(write_rows):
    """Four roles take less than twice the memory of one, where a reading for each would take four times as much."""
    file = str(write_rows("rows.jsonl", transcripts([f"subject {n}" for n in range(1_000)])))

    def traced(*loaders):
        tracemalloc.start()
        try:
            with each_split_once():
                kept = [load(file, None, loader) for loader in loaders]
            return kept, tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    _, alone = traced(load_pairs)
    _, together = traced(load_pairs, load_pairs, load_examples, load_questions)

    assert together < 2 * alone
    assert alone < 2_000 * 2_500
