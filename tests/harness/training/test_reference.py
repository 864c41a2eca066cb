"""The reference's log-probabilities as columns: of rows that steps see, some at a time, kept beside checkpoints."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from harness.models.base import LoadedModel
from harness.training import reference
from harness.training.recipe import EncodedRows, LogLine, RatedRequest, Recipe, requests_of
from harness.training.reference import REFERENCE_FILE, reference_columns
from harness.training.trl import TrainerInputs, make_trainer
from suites.inputs import Request

PAIRS = {
    "prompt_ids": [[1, 2], [3], [4, 5, 6], [7], [8, 9]],
    "chosen_ids": [[10], [11, 12], [13], [14], [15, 16]],
    "rejected_ids": [[20], [21], [22, 23], [24], [25]],
}
Calls = list[tuple[list[Request], int, int]]


def value_of(prompt: Sequence[int], response: Sequence[int]) -> float:
    """A number that tells each request from all others."""
    return -float(sum(prompt)) - sum(response) / 128


@pytest.fixture
def calls() -> Calls:
    """What was scored, in the order in which it was asked for."""
    return []


@pytest.fixture
def score(calls: Calls) -> reference.Score:
    """Scores by a formula."""

    def formula(requests: Sequence[Request], n_before: int, n_all: int) -> list[float]:
        calls.append((list(requests), n_before, n_all))
        return [value_of(each.prompt_ids, each.response_ids) for each in requests]

    return formula


def expected(places: Sequence[int]) -> dict[str, list[float | None]]:
    """The columns of pairs; None where no step needs a value."""
    return {
        f"ref_{side}_logps": [
            value_of(PAIRS["prompt_ids"][place], PAIRS[f"{side}_ids"][place]) if place in places else None
            for place in range(5)
        ]
        for side in ("chosen", "rejected")
    }


def as_lists(columns: dict[str, np.ndarray]) -> dict[str, list[float | None]]:
    return {name: [None if np.isnan(each) else float(each) for each in values] for name, values in columns.items()}


@pytest.mark.parametrize("places", [None, [0, 3], [4]])
def test_columns_hold_the_rows_that_steps_see(
    places: list[int] | None, score: reference.Score, calls: Calls, tmp_path: Path
) -> None:
    """Each value at its own row and side; nothing is computed of other rows, and their value is no number."""
    given = None if places is None else np.array(places)

    columns = reference_columns("dpo", Dataset.from_dict(PAIRS), given, tmp_path, score)

    assert as_lists(columns) == expected(range(5) if places is None else places)
    assert sum(len(requests) for requests, _, _ in calls) == 2 * len(places or range(5))


def test_rows_are_scored_some_at_a_time(
    score: reference.Score, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides of a pair in one call, with how many came before; the columns are the same."""
    monkeypatch.setattr(reference, "_ROWS_AT_A_TIME", 2)

    columns = reference_columns("dpo", Dataset.from_dict(PAIRS), None, tmp_path, score)

    assert as_lists(columns) == expected(range(5))
    assert [(len(requests), n_before, n_all) for requests, n_before, n_all in calls] == [
        (4, 0, 10), (4, 4, 10), (2, 8, 10)
    ]  # fmt: skip
    assert [each.prompt_ids for each in calls[0][0]] == [(1, 2), (3,), (1, 2), (3,)]


def test_what_lies_beside_the_checkpoints_is_taken_where_it_is_of_the_same_rows(
    score: reference.Score, calls: Calls, tmp_path: Path
) -> None:
    """Not of other rows, of other tokens, or of another number of them."""
    dataset = Dataset.from_dict(PAIRS)
    first = reference_columns("dpo", dataset, np.array([0, 1]), tmp_path, score)
    again = reference_columns("dpo", dataset, np.array([0, 1]), tmp_path, score)

    assert as_lists(first) == as_lists(again)
    assert len(calls) == 1
    changed = Dataset.from_dict({**PAIRS, "rejected_ids": [[21], *PAIRS["rejected_ids"][1:]]})
    reference_columns("dpo", changed, np.array([0, 1]), tmp_path, score)
    reference_columns("dpo", changed, np.array([0, 2]), tmp_path, score)
    reference_columns("dpo", changed, None, tmp_path, score)
    assert len(calls) == 4
    kept = json.loads((tmp_path / REFERENCE_FILE).read_text())
    assert len(kept["sums"]) == 10


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_first_rows_are_those_that_a_training_sees(
    method: str, llama_folder: Path, load: Callable[..., LoadedModel], encode: Callable[..., EncodedRows],
    recipe: Recipe, tmp_path: Path
) -> None:  # fmt: skip
    """Of an epoch's beginning exactly those whose batches the trainer forms; of an epoch or more all."""
    loaded = load(llama_folder)
    rows: Sequence[Any] = encode(loaded).training
    if method == "kto":
        rows = [RatedRequest(each, number % 2 == 0) for number, each in enumerate(requests_of(rows))]
    run = replace(recipe.training, method=method, batch_size=2, gradient_accumulation_steps=1, max_steps=3)
    trainer: Any = make_trainer(TrainerInputs(loaded, rows, replace(recipe, training=run), False), tmp_path)

    seen = trainer.rows_seen(3)
    batches = [list(batch) for batch in trainer.get_train_dataloader().batch_sampler]

    assert seen.tolist() == sorted(place for batch in batches[:3] for place in batch)
    assert trainer.rows_seen(len(batches) - 1) is not None
    assert trainer.rows_seen(len(batches)) is None
    assert trainer.rows_seen(2 * len(batches)) is None
    trainer.model.unload()


def test_a_training_of_few_steps_scores_the_rows_of_these_steps(
    llama_folder: Path, load: Callable[..., LoadedModel], encode: Callable[..., EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """And trains as if all had been scored: the same numbers at every step, from ln 2 on."""
    loaded = load(llama_folder)
    rows = EncodedRows(encode(loaded).training)
    run = replace(recipe.training, batch_size=2, max_steps=2, epochs=1.0)
    few = replace(recipe, training=run)
    asked: list[int] = []
    of_module = reference._scored

    def counted(table: Any, *arguments: Any) -> list[float]:
        asked.append(table.num_rows)
        return of_module(table, *arguments)

    monkeypatch.setattr(reference, "_scored", counted)
    logs = [train(loaded, rows, few, "few")]
    monkeypatch.setattr("harness.training.trl.HarnessTrainerMixin.rows_seen", lambda *_: None)
    logs.append(train(loaded, rows, few, "all"))

    assert asked == [4, 8]
    few_steps, all_steps = ([line for line in log if line["kind"] == "train"] for log in logs)
    assert few_steps[0]["loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert [line["loss"] for line in few_steps] == pytest.approx([line["loss"] for line in all_steps], abs=1e-5)
