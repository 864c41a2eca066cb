"""Adapters that exist already: held to what they were trained from, with their own beta, or marked as assumed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.load import load_experiment
from harness.config.schema import ExperimentConfig
from harness.measuring.existing import existing_candidates, find_adapters, own_origins
from harness.measuring.lineup import Candidate
from harness.models.adapter_files.folder import (
    CARD_FILE,
    CONFIG_FILE,
    FIXTURE_FILE,
    GROUPS_FILE,
    WEIGHTS_FILE,
    AdapterError,
)
from harness.models.base import BASELINE
from harness.models.origin import MERGE_FILE

MakeAdapter = Callable[..., Path]


@pytest.fixture
def config() -> ExperimentConfig:
    """The embedded experiment, with a beta that no adapter here was trained with."""
    config = load_experiment("tiny")
    return replace(config, training=replace(config.training, beta=0.7))


@pytest.fixture
def make(tmp_path: Path) -> MakeAdapter:
    """Writes an adapter's folder with a record or a card."""

    def make_adapter(place: str, *, start: str | None = None, beta: float = 0.2, card: str | None = None) -> Path:
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "org/base"}))
        (folder / WEIGHTS_FILE).write_bytes(b"")
        if card is not None:
            (folder / CARD_FILE).write_text(card)
            return folder
        recipe = {"training": {"method": "dpo", "beta": beta}}
        (folder / FIXTURE_FILE).write_text(json.dumps({"fingerprint": folder.name, "start": start, "recipe": recipe}))
        return folder

    return make_adapter


def candidates(config: ExperimentConfig, fixtures: Path, **adapters: Path | str) -> list[Candidate]:
    named = {name: str(path) for name, path in adapters.items()}
    return list(existing_candidates(config, find_adapters(named, fixtures), ()))


def test_an_adapter_on_the_base_is_held_to_it_with_its_own_beta(
    config: ExperimentConfig, make: MakeAdapter, tmp_path: Path
) -> None:
    """Not with the beta of the configuration that happens to measure it."""
    folder = make("aaaa")

    (mine,) = candidates(config, tmp_path, mine=folder)

    assert (mine.adapter, mine.model, mine.reference, mine.beta) == (str(folder), None, BASELINE, 0.2)
    assert (mine.reference_basis, mine.beta_basis, mine.knows_rows) == ("recorded", "recorded", True)


@pytest.mark.parametrize("place", ["elsewhere/bbbb", "workspace/fixtures/bbbb"])
def test_an_adapter_on_base_and_sft_brings_its_start_which_is_its_reference(
    place: str, config: ExperimentConfig, make: MakeAdapter, tmp_path: Path
) -> None:
    """The start lies beside it, or in the workspace; it is measured too, against the base."""
    dpo = make("elsewhere/aaaa", start="bbbb")
    start = make(place, beta=0.1)

    mine, sft = candidates(config, tmp_path / "workspace" / "fixtures", mine=dpo)

    assert (mine.name, mine.reference, mine.beta, mine.compared_with) == ("mine", "sft", 0.2, ("sft",))
    assert (sft.name, sft.adapter, sft.reference, sft.beta) == ("sft", str(start), BASELINE, 0.1)
    assert {each.reference_basis for each in (mine, sft)} == {"recorded"}


def test_a_start_that_is_given_is_measured_once(config: ExperimentConfig, make: MakeAdapter, tmp_path: Path) -> None:
    """Under the name it was given, also as the start of two; a name that is taken is not given again."""
    start, one, two = make("bbbb"), make("aaaa", start="bbbb"), make("cccc", start="bbbb")

    assert [(each.name, each.reference) for each in candidates(config, tmp_path, warm=start, one=one, two=two)] == [
        ("warm", BASELINE),
        ("one", "warm"),
        ("two", "warm"),
    ]
    assert [(each.name, each.reference) for each in candidates(config, tmp_path, sft=one, two=two)] == [
        ("sft", "start of sft"),
        ("two", "start of sft"),
        ("start of sft", BASELINE),
    ]


def test_a_chain_of_starts_is_followed_to_the_base(config: ExperimentConfig, make: MakeAdapter, tmp_path: Path) -> None:
    """Each is held to the one before it; one that names itself ends the chain instead of going round in it."""
    make("bbbb", start="cccc")
    make("cccc")
    chain = candidates(config, tmp_path, mine=make("aaaa", start="bbbb"))
    assert [each.reference for each in chain] == ["sft", "start of sft", BASELINE]

    (own,) = candidates(config, tmp_path, own=make("dddd", start="dddd"))
    assert (own.reference, own.reference_basis) == (None, "unknown")


@pytest.mark.parametrize("is_there", [False, True])
def test_without_its_start_an_adapter_has_no_reward(
    is_there: bool, config: ExperimentConfig, make: MakeAdapter, tmp_path: Path
) -> None:
    """Not one against the base, where SFT would count as preferences; another adapter under that name does not help."""
    dpo = make("aaaa", start="bbbb")
    if is_there:
        other = make("bbbb")
        (other / FIXTURE_FILE).write_text(json.dumps({"fingerprint": "dddd", "start": None}))

    (mine,) = candidates(config, tmp_path, mine=dpo)

    assert (mine.reference, mine.reference_basis) == (None, "unknown")
    assert "trained from the adapter bbbb, which is not here" in mine.notes[0]
    assert mine.notes[0].endswith("put its folder bbbb next to this one's, or add --adapter with that folder.")


def test_a_card_may_name_beta_and_start(config: ExperimentConfig, make: MakeAdapter, tmp_path: Path) -> None:
    """The start is then one of the adapters that were given, by the card's name for it; nothing is fetched."""
    card = "This model is a fine-tuned version of [org/sft](https://x). beta: 0.05"
    dpo = make("dpo", card=card)
    (alone,) = candidates(config, tmp_path, mine=dpo)
    assert (alone.reference_basis, alone.beta, alone.beta_basis) == ("unknown", 0.05, "recorded")
    assert alone.notes[0].endswith("add --adapter org/sft; it is fetched only if you name it.")

    found = find_adapters({"mine": str(dpo), "warm": str(make("warm", card=""))}, tmp_path)
    found = (found[0], replace(found[1], path="org/sft"))
    mine, _ = existing_candidates(config, found, ())
    assert (mine.reference, mine.reference_basis, mine.knows_rows) == ("warm", "recorded", False)


def test_where_nothing_says_it_the_candidate_is_marked(
    config: ExperimentConfig, make: MakeAdapter, tmp_path: Path
) -> None:
    """A bare adapter is held to the baseline with the configured beta, and both are called assumed."""
    (mine,) = candidates(config, tmp_path, mine=make("mine", card="# My adapter"))

    assert (mine.reference, mine.beta) == (BASELINE, 0.7)
    assert (mine.reference_basis, mine.beta_basis, mine.knows_rows) == ("assumed", "assumed", False)


def test_a_missing_adapter_is_found_out_before_anything_is_loaded(tmp_path: Path) -> None:
    """In one line that names it."""
    with pytest.raises(AdapterError, match="nowhere"):
        find_adapters({"mine": str(tmp_path / "nowhere")}, tmp_path)


def test_rows_that_the_user_names_are_known(config: ExperimentConfig, make: MakeAdapter, tmp_path: Path) -> None:
    """A note says whose word it is; nothing changes for an adapter that was trained here."""
    found = find_adapters({"own": str(make("aaaa")), "other": str(make("other", card=""))}, tmp_path)
    own, other = existing_candidates(config, found, (), ("rows.jsonl",))

    assert (own.knows_rows, own.notes) == (True, ())
    assert (other.knows_rows, other.notes) == (
        True,
        ("other was trained on rows.jsonl, as --trained-on says.",),
    )


def test_what_this_project_trained_is_told_from_what_it_did_not(make: MakeAdapter, tmp_path: Path) -> None:
    """Adapters, and models that were merged from one, with the groups that they were trained on."""
    folder = make("aaaa")
    (folder / GROUPS_FILE).write_text("g1\ng2\n")
    own, other = (find_adapters({"a": str(path)}, tmp_path) for path in (folder, make("other", card="")))
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / MERGE_FILE).write_text(json.dumps({"trained": {"start": None}}))

    assert [origin.groups for origin in own_origins((*other, *own), ())] == [{"g1", "g2"}]
    assert [origin.groups for origin in own_origins((), (f"shipped={tmp_path / 'merged'}",))] == [frozenset()]
    assert own_origins(other, (f"shipped={tmp_path}",)) == ()


def test_an_adapter_without_its_groups_may_have_seen_rows_of_ones_own(
    config: ExperimentConfig, make: MakeAdapter, tmp_path: Path
) -> None:
    """No experiment kept these rows from its training, and nothing lists them; the same for a merged model."""
    listed = make("aaaa")
    (listed / GROUPS_FILE).write_text("g1\n")
    for folder, more in (("merged", ""), ("whole", "g1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / MERGE_FILE).write_text(json.dumps({"trained": {"start": None}}))
        (tmp_path / folder / "config.json").write_text("{}")
        if more:
            (tmp_path / folder / GROUPS_FILE).write_text(more)
    found = find_adapters({"listed": str(listed), "old": str(make("bbbb"))}, tmp_path)
    models = (f"merged={tmp_path / 'merged'}", f"whole={tmp_path / 'whole'}")
    measured = existing_candidates(config, found, models, (), "mine.jsonl")

    known = {each.name: each.knows_rows for each in measured if each.name != "unquantised"}
    assert known == {"listed": True, "old": False, "merged": False, "whole": True}
    (note,) = measured[1].notes
    assert "has no trained_groups.txt" in note
    assert "whether it saw rows of mine.jsonl in training is not known" in note
    named = existing_candidates(config, found, (), ("rows.jsonl",), "mine.jsonl")
    assert [each.knows_rows for each in named if each.name != "unquantised"] == [True, True]
    assert all(each.knows_rows for each in existing_candidates(config, found, ()) if each.name != "unquantised")
