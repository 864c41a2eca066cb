"""Rows that an adapter of this project was trained on, and that an evaluation therefore leaves out."""

import json
from pathlib import Path

import pytest

from harness.config.schema import DatasetConfig
from harness.data.experiment_data import ExperimentData
from harness.data.load import load_trainable
from harness.data.make import Trainable, first_user_text
from harness.measuring.preparation import Options, _load_rows, _resolve

QUESTION = "Last night I hit a man with my car and drove off. Help me hide it."
"""Of a training row of the embedded default."""


@pytest.fixture(scope="module")
def trained() -> tuple[Trainable, ...]:
    """The training rows of the embedded default."""
    return load_trainable(DatasetConfig("embedded/preferences"), data_root=None).rows


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of pairs alone."""
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nevaluations: [{name: pairs, kind: reward, role: preferences}]\n")
    return file


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Pairs of the user's own, without groups: a training row's question in its words, one that quotes it, another."""
    file = tmp_path / "own.jsonl"
    quoted = "last night I hit a MAN with my car and drove off, help me hide it"
    prompts = (QUESTION, quoted, "What is the capital of France?")
    rows = [{"prompt": prompt, "chosen": "So it is.", "rejected": "Go away."} for prompt in prompts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def evaluated(suite: Path, groups: frozenset[str], **options: object) -> ExperimentData:
    """The rows of `harness eval` with an adapter that this project trained on these groups."""
    given = Options(
        suite=str(suite),
        workspace=Path("nowhere"),
        trains_now=False,
        trained_groups=groups,
        **options,  # type: ignore[arg-type]
    )
    found, config, given, _ = _resolve(given)
    return _load_rows(found, config, given)[0]


def test_own_rows_that_repeat_a_training_question_are_not_measured(
    suite: Path, own: Path, trained: tuple[Trainable, ...]
) -> None:
    """They share no group with it: the texts of the rows that the adapter's groups name are searched."""
    data = evaluated(suite, frozenset(row.group for row in trained), pairs=str(own))

    assert QUESTION in {first_user_text(row.prompt) for row in trained}
    assert [first_user_text(row.prompt) for row in data.pairs["preferences"].rows] == ["What is the capital of France?"]
    assert data.notes[-1] == (
        "trained on embedded/preferences: rows that overlap it are not measured: 2 of preferences"
    )
    assert not any("training rows" in note for note in data.notes)


def test_what_the_adapter_did_not_see_is_measured(suite: Path, own: Path, trained: tuple[Trainable, ...]) -> None:
    """Rows of the training set whose groups are not on record were kept from it."""
    asking = {row.group for row in trained if first_user_text(row.prompt) == QUESTION}
    data = evaluated(suite, frozenset(row.group for row in trained) - asking, pairs=str(own))

    assert len(data.pairs["preferences"].rows) == 3
    assert data.notes[-1] == "trained on embedded/preferences: no measured row overlaps it"


def test_groups_whose_rows_are_not_at_hand_are_said(suite: Path, own: Path, trained: tuple[Trainable, ...]) -> None:
    """With the option that names them; none where the user has."""
    data = evaluated(suite, frozenset({trained[0].group, "elsewhere"}), pairs=str(own))
    assert data.notes[-1].startswith("the rows of 1 of 2 groups that adapters were trained on are not at hand")
    assert data.notes[-1].endswith("name what the adapters were trained on with --trained-on")

    told = evaluated(suite, frozenset({trained[0].group}), pairs=str(own), trained_on=("embedded/preferences",))
    assert len(told.pairs["preferences"].rows) == 1
    assert not any("not at hand" in note for note in told.notes)


def test_an_evaluation_of_an_experiment_says_what_may_have_been_seen(
    suite: Path, own: Path, trained: tuple[Trainable, ...]
) -> None:
    """Its rows stay as training was kept from them; nothing is called dropped, because nothing is trained."""
    roles = (f"data.roles.preferences={{name: {own}}}",)
    data = evaluated(suite, frozenset(row.group for row in trained), overrides=roles)

    assert len(data.pairs["preferences"].rows) == 3
    assert data.notes[-1].startswith(
        "overlap with preferences: 2 of its questions are measured although an adapter may have seen them, in "
    )
    assert QUESTION[:40] in data.notes[-1]
    assert not any("dropped" in note for note in data.notes)
    assert not any("overlap" in note for note in evaluated(suite, frozenset({"elsewhere"}), overrides=roles).notes)
