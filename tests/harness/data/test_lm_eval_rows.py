"""Where the rows of lm-eval's tasks come from: the data root where it has them, also in another's columns."""

import json
from pathlib import Path

import pytest

from harness.data.lm_eval_rows import load_local_tasks, overlap_queries
from harness.data.row import DataError

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
