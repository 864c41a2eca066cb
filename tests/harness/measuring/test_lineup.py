"""What is measured beside the baseline, and what it is held against."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.config.load import load_experiment
from harness.config.schema import ExperimentConfig, LoraConfig, TrainingConfig
from harness.measuring import lineup
from harness.measuring.lineup import (
    UNQUANTISED,
    Candidate,
    TrainedAdapter,
    merged_variants,
    named_models,
    trained_candidates,
    with_unquantised,
)
from harness.measuring.run import _published
from harness.models.adapter_files.folder import AdapterError
from harness.models.base import BASELINE
from harness.models.merge import MergedModel
from harness.models.origin import MERGE_FILE
from harness.terminal import Terminal
from harness.training.fixture import Fixture
from harness.training.recipe import Recipe
from harness.training.variants import Variant, variants_of
from harness.workspace import Workspace


@pytest.fixture
def config() -> ExperimentConfig:
    """The embedded experiment, on NF4."""
    return load_experiment("tiny")


def unquantised(config: ExperimentConfig) -> ExperimentConfig:
    """The same without quantisation."""
    return replace(config, model=replace(config.model, quantization="none"))


def models_beside_an_adapter(config: ExperimentConfig, *models: str) -> tuple[Candidate, ...]:
    """An adapter called "mine", and other models."""
    return with_unquantised(config, [Candidate("mine", "an adapter", adapter="a"), *named_models(models, config)])


def test_a_full_model_brings_the_unquantised_base_which_is_its_reference(config: ExperimentConfig) -> None:
    """On a quantised baseline its own weights before tuning are the unquantised base, measured before it."""
    adapter, base, model = models_beside_an_adapter(config, "shipped=folder")
    assert (adapter.name, base.name, model.name) == ("mine", UNQUANTISED, "shipped")
    assert (adapter.reference, base.reference, model.reference) == (BASELINE, None, UNQUANTISED)
    assert base.model is not None
    assert base.model == replace(config.model, quantization="none")


def test_without_quantisation_the_baseline_is_the_reference_of_a_full_model(config: ExperimentConfig) -> None:
    """An unquantised base is not measured twice, even where it is asked for."""
    asked = replace(unquantised(config), subjects=("unquantised",))
    (_, model) = models_beside_an_adapter(asked, "shipped=folder")
    assert (model.name, model.reference) == ("shipped", BASELINE)


def test_the_unquantised_base_is_added_where_it_is_asked_for(config: ExperimentConfig) -> None:
    """--subjects +unquantised on NF4 is one candidate more."""
    asked = replace(config, subjects=("unquantised",))
    assert [each.name for each in models_beside_an_adapter(asked)] == ["mine", UNQUANTISED]


@pytest.mark.parametrize("models", [("folder",), ("=folder",), ("a=",), ("baseline=x",), ("a=x", "a=y"), ("mine=x",)])
def test_names_have_to_be_there_and_free(config: ExperimentConfig, models: tuple[str, ...]) -> None:
    """A candidate without a name, or with one that is taken, is refused before anything is loaded."""
    with pytest.raises(AdapterError, match="--candidate"):
        models_beside_an_adapter(config, *models)


def test_a_full_model_of_unknown_origin_is_marked_as_one(config: ExperimentConfig, tmp_path: Path) -> None:
    """Nothing says what it was tuned from, with which beta, or on which rows."""
    (_, _, model) = models_beside_an_adapter(config, f"shipped={tmp_path}")
    assert (model.reference_basis, model.beta_basis, model.knows_rows) == ("assumed", "assumed", False)


@pytest.mark.parametrize(("start", "reference"), [(None, UNQUANTISED), ("0123456789abcdef", None)])
def test_a_merged_model_keeps_what_its_adapter_was_trained_from(
    start: str | None, reference: str | None, config: ExperimentConfig, tmp_path: Path
) -> None:
    """One merged from base + SFT + DPO has no reward against the base, where SFT would count as preferences."""
    trained = {"fingerprint": "f", "start": start, "recipe": {"training": {"method": "dpo", "beta": 0.3}}}
    (tmp_path / MERGE_FILE).write_text(json.dumps({"trained": trained}))
    (_, _, model) = models_beside_an_adapter(config, f"shipped={tmp_path}")

    assert (model.reference, model.beta, model.beta_basis) == (reference, 0.3, "recorded")
    assert model.reference_basis == ("recorded" if start is None else "unknown")
    assert [start in note for note in model.notes if start] == [True] * (start is not None)


def test_a_merged_model_is_held_to_its_merged_start_where_that_is_given(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    """Whatever their order: the start is measured first; two records that name each other are held to nothing."""
    for name, start in {"a": None, "b": "a", "c": "b", "x": "y", "y": "x"}.items():
        trained = {"fingerprint": name, "start": start, "recipe": {"training": {"beta": 0.2}}}
        (tmp_path / name).mkdir()
        (tmp_path / name / MERGE_FILE).write_text(json.dumps({"trained": trained}))

    models = named_models([f"{name}={tmp_path / name}" for name in "cbaxy"], config)

    assert [(each.name, each.reference, each.reference_basis) for each in models] == [
        ("a", BASELINE, "recorded"),
        ("b", "a", "recorded"),
        ("c", "b", "recorded"),
        ("x", None, "unknown"),
        ("y", None, "unknown"),
    ]
    assert [len(each.notes) for each in models] == [0, 0, 0, 1, 1]
    assert "another --candidate" in models[-1].notes[0]


def test_merged_models_of_two_stages_are_held_to_their_merged_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Base + SFT + DPO against base + SFT, both merged alike; the start is measured first, against the bare base."""
    config = replace(load_experiment("sft-then-dpo"), merged="float16")
    monkeypatch.setattr(lineup, "merge_adapter", lambda *_a, **_k: MergedModel(tmp_path, "f", reused=True))
    experiment = SimpleNamespace(config=config, workspace=Workspace(tmp_path), terminal=Terminal())
    trained = [
        TrainedAdapter(variant, Fixture(tmp_path / variant.name, variant.name, reused=True, log=(), notes=()), None)
        for variant in variants_of(config)
    ]

    candidates = trained_candidates(experiment, trained)

    assert [(each.name, each.reference) for each in candidates] == [
        ("sft", BASELINE),
        ("sft+dpo", "sft"),
        (UNQUANTISED, None),
        ("sft merged, float16", UNQUANTISED),
        ("sft+dpo merged, float16", "sft merged, float16"),
    ]
    assert {each.reference_basis for each in candidates} == {each.beta_basis for each in candidates} == {"recorded"}


@pytest.mark.parametrize("is_continued", [True, False])
def test_controls_are_not_merged_and_a_first_stage_only_where_it_is_continued(*, is_continued: bool) -> None:
    """Whoever is left out of a report is named by this list."""
    recipe = Recipe(LoraConfig(), TrainingConfig(), seed=1)
    tuned = Variant("adapter", recipe, starts_from_sft=is_continued)
    control = Variant("control", recipe, rows="chosen", starts_from_sft=is_continued)
    first = Variant("sft", recipe)
    assert merged_variants([tuned, control, first]) == ([first, tuned] if is_continued else [tuned])


def test_published_figures_are_shown_for_exactly_their_base() -> None:
    """gpt2-124m-hh has its write-up's figures beside ours on that base, and on no other one."""
    config = load_experiment("gpt2-124m-hh")
    published = _published(SimpleNamespace(config=config))
    other = replace(config, model=replace(config.model, name="gpt2"))

    assert published is not None
    assert published.figures["safety"] == {"baseline": 2.843, "learning_rate=5e-6": 2.83, "learning_rate=1e-5": 2.77}
    assert _published(SimpleNamespace(config=other)) is None
