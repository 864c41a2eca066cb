"""Where the rows of lm-eval's tasks come from: the data root where it has them, also in another's columns."""

import json
from pathlib import Path

import pytest

from harness.data.lm_eval_rows import load_local_tasks, not_checked, overlap_queries
from harness.data.make import OverlapQuery, make_pair
from harness.data.overlap import find_overlap
from harness.data.row import DataError
from suites.inputs import Turn

ROW = {"query": "Question: Which one is a metal?", "choices": ["iron", "wood", "wool"], "gold": 0}
OWN_ROW = {
    "question": "Which one is a metal?",
    "choices": {"text": ["iron", "wood", "wool"], "label": ["A", "B", "C"]},
    "answerKey": "A",
}


def data_root(folder: Path, **datasets: dict[str, list[dict[str, object]]]) -> Path:
    """A folder with an index of datasets, each with its splits."""
    index = {}
    for number, (name, splits) in enumerate(datasets.items()):
        index[name] = {split: f"{number}_{split}.jsonl" for split in splits}
        for split, rows in splits.items():
            (folder / f"{number}_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "datasets.yaml").write_text(json.dumps(index))
    return folder


def load(folder: Path, task: str = "arc_easy"):
    return load_local_tasks([task], data_root=folder, limit=None, seed=0).tasks[task]


@pytest.mark.parametrize(
    "datasets",
    [
        {"allenai/ai2_arc:ARC-Easy": {"test": [OWN_ROW]}},
        {"mosaicml/arc_easy-icl": {"test": [ROW]}},
        {"allenai/ai2_arc:ARC-Easy": {"test": [OWN_ROW]}, "mosaicml/arc_easy-icl": {"test": [ROW | {"gold": 1}]}},
    ],
    ids=["its own columns", "a copy in other columns", "both, and its own are taken"],
)
def test_arc_easy_asks_the_same_in_either_columns(tmp_path: Path, datasets) -> None:
    """Prompt, choices and right answer are those of lm-eval's own task."""
    task = load(data_root(tmp_path, **datasets))

    (row,) = task.eval_docs
    assert task.doc_to_text(row) == "Question: Which one is a metal?\nAnswer:"
    assert (task.doc_to_choice(row), task.doc_to_target(row)) == (["iron", "wood", "wool"], 0)
    assert [metric["metric"] for metric in task.config.metric_list] == ["acc", "acc_norm"]


def test_real_arc_easy_is_read_from_the_copy(real_data: Path) -> None:
    """All rows, each with its right answer among the choices."""
    task = load(real_data)

    assert len(task.eval_docs) == 1187
    assert all(0 <= task.doc_to_target(row) < len(task.doc_to_choice(row)) for row in task.eval_docs)


def test_a_data_root_without_the_rows_names_the_tasks_own_dataset(tmp_path: Path) -> None:
    """Not that of the copy, which nobody looks for."""
    with pytest.raises(DataError, match="does not hold allenai/ai2_arc:ARC-Easy"):
        load(data_root(tmp_path, other={"test": [ROW]}))


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    """The error lists the splits of the dataset."""
    with pytest.raises(DataError, match=r"arc_easy: allenai/ai2_arc, split test, is not in .*; its splits are: train"):
        load(data_root(tmp_path, **{"allenai/ai2_arc:ARC-Easy": {"train": [OWN_ROW]}}))


def test_a_split_in_several_files_is_refused(tmp_path: Path) -> None:
    """lm-eval takes the rows of a task from one file."""
    folder = tmp_path / "allenai" / "ai2_arc" / "ARC-Easy"
    folder.mkdir(parents=True)
    for shard in ("00000-of-00002", "00001-of-00002"):
        (folder / f"test-{shard}.jsonl").write_text(json.dumps(OWN_ROW) + "\n")

    with pytest.raises(DataError, match="must be one file, found 2"):
        load(tmp_path)


def test_all_rows_of_a_task_are_asked_whatever_the_limit(tmp_path: Path) -> None:
    """A task that a data root knows nothing of is taken as it is; training is kept clear of each of its questions."""
    loaded = load_local_tasks(["embedded_winogrande"], data_root=data_root(tmp_path), limit=2, seed=0)

    ((name, asked),) = overlap_queries(loaded).items()
    assert (name, len(asked)) == ("lm_eval/embedded_winogrande", 128)
    assert all("_" in text for each in asked for text in each.texts)


TASK = """task: own
dataset_path: json
dataset_kwargs: {{data_files: {{validation: own.jsonl}}}}
validation_split: validation
output_type: {output_type}
doc_to_text: {text}
doc_to_target: {target}
{more}
metric_list: [{{metric: {metric}}}]
"""
GOAL = "How do you keep bread from going stale in summer?"
CHOICES = 'doc_to_choice: ["yes", "no"]'


def asked_of(folder: Path, row: dict[str, object], text: str, *, target: str = "0", more: str = CHOICES, n: int = 4):
    """What training rows are searched for on behalf of a task of one's own, whose rows differ in their number."""
    is_rolling = more == ""
    output_type, metric = ("loglikelihood_rolling", "word_perplexity") if is_rolling else ("multiple_choice", "acc")
    (folder / "own.yaml").write_text(
        TASK.format(output_type=output_type, text=json.dumps(text), target=target, more=more, metric=metric)
    )
    rows = [
        {key: f"{value} {number}" if isinstance(value, str) and key != "topic" else value for key, value in row.items()}
        for number in range(n)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    loaded = load_local_tasks([str(folder / "own.yaml")], data_root=None, limit=None, seed=0)
    return overlap_queries(loaded)


@pytest.mark.parametrize(
    ("row", "text", "found"),
    [
        ({"goal": GOAL, "label": 0}, "Question: {{goal}}\nAnswer:", (f"{GOAL} 1",)),
        ({"goal": GOAL, "topic": "All of these are about food"}, "{{topic}}. {{goal}}", (f"{GOAL} 1",)),
        (
            {"a": "Fresh bread", "b": "goes stale"},
            "Is it so that {{a}} {{b}}?",
            ("Is it so that Fresh bread 1 goes stale 1?",),
        ),
        ({"question": GOAL, "other": "Nobody ever asked for this here"}, "{{other}} {{question}}", (f"{GOAL} 1",)),
        ({"items": [GOAL, "It was cold."]}, "{{items[0]}}", (GOAL,)),
    ],
    ids=["a column in the prompt", "not one that repeats", "the prompt", "a known column", "no column is a text"],
)  # fmt: skip
def test_every_task_is_searched_for_what_it_asks(
    row: dict[str, object], text: str, found: tuple[str, ...], tmp_path: Path
) -> None:
    """A task without a column that is known by name is asked what its prompt is."""
    ((role, queries),) = asked_of(tmp_path, row, text).items()

    assert (role, len(queries)) == ("lm_eval/own", 4)
    assert queries[1].texts == found
    assert not_checked({role: queries}) == []


def test_a_text_that_is_scored_without_a_prompt_is_searched(tmp_path: Path) -> None:
    """As in wikitext, whose prompt is empty."""
    (queries,) = asked_of(tmp_path, {"page": GOAL}, "", target="page", more="").values()
    assert [query.texts for query in queries] == [(f"{GOAL} {number}",) for number in range(4)]


def test_a_hidden_question_is_found_in_training_rows(tmp_path: Path) -> None:
    """The words that a task puts around a short question do not hide it."""
    trained = make_pair((Turn("user", f"Please help. {GOAL} 0 Thanks!"),), "Freeze it.", "Eat it.", source="")
    queries = asked_of(tmp_path, {"goal": GOAL}, "Question: {{goal}}\nAnswer:", n=1)
    assert find_overlap([trained], queries).by_role["lm_eval/own"].n_rows == 1


def test_rows_without_a_question_in_words_are_said_not_to_be_checked(tmp_path: Path) -> None:
    """By the name of their task; a count of 0 would claim that they were."""
    queries = asked_of(tmp_path, {"n": 7}, "{{n - 7}}", more='doc_to_choice: ["1", "8"]', target="1")
    assert not_checked(queries) == [
        "overlap with lm_eval/own: not checked, because its rows name no question in words",
    ]
    some = {"lm_eval/own": (*next(iter(queries.values())), OverlapQuery((GOAL,)))}
    assert not_checked(some) == [
        "overlap with lm_eval/own: not checked, because 4 of its 5 rows name no question in words",
    ]
