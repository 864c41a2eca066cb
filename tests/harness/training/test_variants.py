"""Which adapters an experiment trains."""

from dataclasses import replace
from typing import Any

import pytest

from harness.config.load import ConfigError, load_experiment
from harness.config.schema import ExperimentConfig, TrainingConfig
from harness.training.variants import half_of, n_steps, variants_of, with_sweeps


@pytest.fixture
def config() -> ExperimentConfig:
    """The embedded experiment."""
    return load_experiment("tiny")


def names(config: ExperimentConfig) -> list[str]:
    """Columns in the order of the report."""
    return [variant.name for variant in variants_of(config)]


def test_one_recipe_is_one_adapter(config: ExperimentConfig) -> None:
    """Without sweep, seeds and controls there is one candidate, called adapter."""
    (variant,) = variants_of(config)
    assert (variant.name, variant.recipe.seed, variant.rows) == ("adapter", config.seed, "experiment")
    assert variant.recipe.training == config.training


def test_every_combination_is_a_candidate(config: ExperimentConfig) -> None:
    """Two swept keys make the product of their values, named as people write numbers."""
    swept = with_sweeps(config, ["training.learning_rate=5e-6,1e-5", "lora.rank=4,8"])
    variants = variants_of(swept)
    assert [variant.name for variant in variants] == [
        "learning_rate=5e-6, rank=4", "learning_rate=5e-6, rank=8",
        "learning_rate=1e-5, rank=4", "learning_rate=1e-5, rank=8",
    ]  # fmt: skip
    assert variants[1].recipe.training.learning_rate == 5e-6
    assert variants[1].recipe.lora.rank == 8


def test_seeds_differ_in_the_seed_alone_and_share_their_family(config: ExperimentConfig) -> None:
    """Three seeds are three candidates of one family, counted up from the experiment's own."""
    variants = variants_of(replace(config, seeds=3, seed=7))
    assert [variant.name for variant in variants] == ["adapter, seed 7", "adapter, seed 8", "adapter, seed 9"]
    assert {variant.family for variant in variants} == {"adapter"}
    assert {replace(variant.recipe, seed=0) for variant in variants} == {replace(variants[0].recipe, seed=0)}


def test_controls_follow_what_they_control(config: ExperimentConfig) -> None:
    """Each combination is held against its own controls, which differ in their rows or in their method alone."""
    swept = with_sweeps(replace(config, controls=("sft", "shuffled"), seeds=2), ["training.beta=0.1,0.5"])
    variants = variants_of(swept)
    assert len(variants) == 2 * (2 + 2)
    candidate, _, sft, shuffled = variants[4:]
    assert candidate.controls == (sft.name, shuffled.name)
    assert (sft.rows, sft.recipe.training) == ("chosen", replace(candidate.recipe.training, method="sft"))
    assert (shuffled.rows, shuffled.recipe) == ("shuffled", candidate.recipe)
    assert [variant.is_control for variant in variants[4:]] == [False, False, True, True]


def test_controls_that_are_not_swept_are_trained_once_for_all(config: ExperimentConfig) -> None:
    """With the experiment's own values, after all candidates, which are each compared with them."""
    own = replace(config, controls=("sft", "shuffled"), sweep_controls=False)
    variants = variants_of(with_sweeps(own, ["training.beta=0.1,0.5"]))
    assert [variant.name for variant in variants] == [
        "beta=0.1", "beta=0.5", "control: sft on chosen", "control: shuffled pairs",
    ]  # fmt: skip
    assert {variant.controls for variant in variants[:2]} == {("control: sft on chosen", "control: shuffled pairs")}
    assert variants[3].recipe.training == config.training
    assert variants_of(own) == variants_of(replace(own, sweep_controls=True))


def test_a_first_stage_comes_first_and_is_where_the_others_start() -> None:
    """sft-then-dpo trains sft and then sft+dpo on it; the first stage itself starts from nothing."""
    first, second = variants_of(load_experiment("sft-then-dpo"))
    assert (first.name, first.rows, first.starts_from_sft) == ("sft", "sft", False)
    assert (second.name, second.rows, second.starts_from_sft) == ("sft+dpo", "experiment", True)


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ("model.quantization=nf4,none", ["training or lora", "model.quantization"]),
        ("seed=1,2", ["training or lora"]),
        ("training.learning_rat=1", ["unknown key training.learning_rat", "did you mean learning_rate?"]),
        ("training.learning_rate=fast", ["sweep training.learning_rate", "must be a number", '"fast"']),
        ("training.learning_rate", ["KEY=V1,V2"]),
        ("=1,2", ["KEY=V1,V2"]),
    ],
)
def test_a_wrong_sweep_is_told(config: ExperimentConfig, sweep: str, words: list[str]) -> None:
    """What all subjects share cannot be swept, and values are checked as in the configuration."""
    with pytest.raises(ConfigError) as error:
        variants_of(with_sweeps(config, [sweep]))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("n_rows", "settings", "steps"),
    [
        (16, {"batch_size": 8}, 2),
        (17, {"batch_size": 8}, 3),
        (17, {"batch_size": 2, "gradient_accumulation_steps": 4}, 3),
        (3, {"batch_size": 8, "epochs": 2.5}, 3),
        (3, {"max_steps": 50}, 50),
    ],
)
def test_steps_are_counted_as_the_trainer_does(n_rows: int, settings: dict[str, Any], steps: int) -> None:
    """Batches, accumulation, whole and broken epochs, and a limit of steps."""
    assert n_steps(n_rows, TrainingConfig(**settings)) == steps


def test_a_random_half_is_a_half_and_depends_on_the_seed() -> None:
    """Half of the ids whatever their order, another half with another seed."""
    ids = [str(number) for number in range(101)]
    assert len(half_of(ids, 1)) == 50
    assert half_of(ids, 1) == half_of(ids[::-1], 1)
    assert half_of(ids, 1) != half_of(ids, 2)


@pytest.mark.parametrize(
    ("sweeps", "words"),
    [
        (["training.beta=0.1,0.1"], "sweep: beta=0.1 is named twice"),
        (["training.beta=0.1,1e-1"], "sweep: beta=0.1 is named twice"),
        (["training.epochs=1,1.0"], "sweep: epochs=1 is named twice"),
        (["training.beta=0.1", "training.beta=0.2"], "--sweep training.beta=0.2: training.beta is swept already"),
        (["training.beta=[0.1],0.2"], "each value must be a number, text, true or false"),
        ([f"training.beta={','.join(map(str, range(1, 1002)))}"], "1,001 adapters, and one experiment has at most"),
        (
            [f"training.beta={','.join(map(str, range(1, 1001)))}", f"lora.rank={','.join(map(str, range(1, 1001)))}"],
            "1,000 values of training.beta x 1,000 values of lora.rank, 1 seeds and 0 controls make 1,000,000 adapters",
        ),
    ],
)  # fmt: skip
def test_a_sweep_is_small_and_names_each_candidate_once(
    config: ExperimentConfig, sweeps: list[str], words: str
) -> None:
    """Before any of them is listed, so that the largest product takes no time."""
    with pytest.raises(ConfigError) as caught:
        variants_of(with_sweeps(config, sweeps))
    assert words in str(caught.value)


def test_values_that_differ_in_late_digits_are_two_candidates(config: ExperimentConfig) -> None:
    """Their names have all digits that tell them apart."""
    assert names(with_sweeps(config, ["training.beta=0.1234567,0.12345671,0.5"])) == [
        "beta=0.1234567", "beta=0.12345671", "beta=0.5",
    ]  # fmt: skip


def test_stages_share_one_shape() -> None:
    """A sweep of the rank after a first stage is refused before that stage is trained."""
    with pytest.raises(ConfigError, match=r"rank=4: lora\.rank, lora\.alpha and lora\.target_modules must be those"):
        variants_of(with_sweeps(load_experiment("sft-then-dpo"), ["lora.rank=4,8"]))
