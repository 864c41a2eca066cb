"""What is measured beside the baseline, and what it is held against."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.config.load import load_experiment
from harness.config.schema import ExperimentConfig
from harness.measuring.lineup import UNQUANTISED, existing_candidates
from harness.measuring.run import _published
from harness.models.adapters import AdapterError
from harness.models.base import BASELINE


@pytest.fixture
def config() -> ExperimentConfig:
    """The embedded experiment, on NF4."""
    return load_experiment("tiny")


def unquantised(config: ExperimentConfig) -> ExperimentConfig:
    """The same without quantisation."""
    return replace(config, model=replace(config.model, quantization="none"))


def test_adapters_are_on_the_baselines_weights_and_held_to_it(config: ExperimentConfig) -> None:
    """An adapter's reference is the baseline; nothing is added to it."""
    (candidate,) = existing_candidates(config, {"mine": "adapters/mine"}, ())
    assert (candidate.adapter, candidate.model, candidate.reference) == ("adapters/mine", None, BASELINE)


def test_a_full_model_brings_the_unquantised_base_which_is_its_reference(config: ExperimentConfig) -> None:
    """On a quantised baseline its own weights before tuning are the unquantised base, measured before it."""
    adapter, base, model = existing_candidates(config, {"mine": "a"}, ("shipped=folder",))
    assert (adapter.name, base.name, model.name) == ("mine", UNQUANTISED, "shipped")
    assert (base.reference, model.reference) == (None, UNQUANTISED)
    assert base.model is not None
    assert base.model == replace(config.model, quantization="none")


def test_without_quantisation_the_baseline_is_the_reference_of_a_full_model(config: ExperimentConfig) -> None:
    """An unquantised base is not measured twice, even where it is asked for."""
    asked = replace(unquantised(config), subjects=("unquantised",))
    (model,) = existing_candidates(asked, {}, ("shipped=folder",))
    assert (model.name, model.reference) == ("shipped", BASELINE)


def test_the_unquantised_base_is_added_where_it_is_asked_for(config: ExperimentConfig) -> None:
    """--subjects +unquantised on NF4 is one candidate more."""
    asked = replace(config, subjects=("unquantised",))
    assert [each.name for each in existing_candidates(asked, {"mine": "a"}, ())] == ["mine", UNQUANTISED]


@pytest.mark.parametrize("models", [("folder",), ("=folder",), ("a=",), ("baseline=x",), ("a=x", "a=y"), ("mine=x",)])
def test_names_have_to_be_there_and_free(config: ExperimentConfig, models: tuple[str, ...]) -> None:
    """A candidate without a name, or with one that is taken, is refused before anything is loaded."""
    with pytest.raises(AdapterError, match="--candidate"):
        existing_candidates(config, {"mine": "adapters/mine"}, models)


def test_published_figures_are_shown_for_exactly_their_base() -> None:
    """gpt2-124m-hh has its write-up's figures beside ours on that base, and on no other one."""
    config = load_experiment("gpt2-124m-hh")
    published = _published(SimpleNamespace(config=config))
    other = replace(config, model=replace(config.model, name="gpt2"))

    assert published is not None
    assert published.figures["safety"] == {"baseline": 2.843, "learning_rate=5e-6": 2.83, "learning_rate=1e-5": 2.77}
    assert _published(SimpleNamespace(config=other)) is None
