"""A second stage starts from the first one's adapter, which with the base is its reference."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.config.schema import LoraConfig
from harness.models.adapters import attach_adapter
from harness.models.base import LoadedModel
from harness.training.recipe import EncodedRows, LogLine, RatedRequest, Recipe, TrainingError, requests_of
from harness.training.trainer import Folders, train_adapter
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer

WEIGHTS = "adapter_model.safetensors"


def with_training(recipe: Recipe, **changes: object) -> Recipe:
    return replace(recipe, training=replace(recipe.training, **changes))


def without_dropout(recipe: Recipe) -> Recipe:
    return replace(recipe, lora=replace(recipe.lora, dropout=0.0))


def of_kind(rows: tuple[LogLine, ...], kind: str) -> list[LogLine]:
    return [row for row in rows if row["kind"] == kind]


@dataclass
class Stages:
    """A base, and two folders for adapters on it."""

    loaded: LoadedModel
    rows: EncodedRows
    folder: Path

    @property
    def first(self) -> Path:
        """The adapter of the first stage."""
        return self.folder / "first"

    @property
    def second(self) -> Path:
        """The adapter of the second."""
        return self.folder / "second"

    def fine_tune(self, recipe: Recipe) -> None:
        """The first stage: SFT on chosen answers."""
        answers = EncodedRows(requests_of(self.rows.training)[::2])
        folders = Folders(self.first, self.folder / "of_first")
        train_adapter(self.loaded, answers, with_training(recipe, method="sft"), folders, str)

    def go_on(self, rows: EncodedRows, recipe: Recipe) -> tuple[LogLine, ...]:
        """The second stage."""
        folders = Folders(self.second, self.folder / "of_second", start=self.first)
        return train_adapter(self.loaded, rows, recipe, folders, str)

    def scores(self, adapter: Path, rows: Any) -> np.ndarray:
        """Log-probabilities in nats with an adapter read from disk."""
        attach_adapter(self.loaded, adapter.name, str(adapter))
        with self.loaded.subject(adapter.name) as model:
            state = ScoringState(plan_for(model), print)
            scored = ModelScorer(model, pad_token_id=self.loaded.pad_token_id, state=state).score(requests_of(rows))
        return np.array([score.log_probability for score in scored])


@pytest.fixture(params=["none"])
def stages(
    request: pytest.FixtureRequest, wide_llama_folder: Path, load: Callable[..., LoadedModel],
    encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe, tmp_path: Path,
) -> Stages:  # fmt: skip
    """A first stage that is trained, unquantised unless told otherwise."""
    loaded = load(wide_llama_folder, quantization=request.param)
    trained = Stages(loaded, encode(loaded), tmp_path)
    trained.fine_tune(recipe)
    return trained


@pytest.mark.parametrize("stages", ["none", "nf4"], indirect=True)
def test_dpo_from_an_adapter_starts_at_ln_2(stages: Stages, recipe: Recipe) -> None:
    """Rewards are taken against base + SFT, to the scorer's digits, and the saved adapter holds both stages alone."""
    base = stages.loaded.base
    before = {name: value.clone() for name, value in base.state_dict().items() if torch.is_tensor(value)}

    trained = stages.go_on(stages.rows, without_dropout(recipe))

    assert all(torch.equal(value, base.state_dict()[name]) for name, value in before.items())
    tolerance = 1e-4 if stages.loaded.quantization == "none" else 0.02
    assert of_kind(trained, "train")[0]["loss"] == pytest.approx(np.log(2), abs=tolerance)
    assert of_kind(trained, "selection")[0]["loss"] == pytest.approx(np.log(2))
    weights = load_file(stages.second / WEIGHTS)
    assert not [path for path in stages.second.iterdir() if path.is_dir()]
    assert weights.keys() == load_file(stages.first / WEIGHTS).keys()
    assert trained[-1]["trainable_parameters"] == sum(weight.numel() for weight in weights.values())
    selection = stages.rows.selection
    ratios = stages.scores(stages.second, selection) - stages.scores(stages.first, selection)
    margins = recipe.training.beta * (ratios[::2] - ratios[1::2])
    assert of_kind(trained, "selection")[-1]["rewards/margins"] == pytest.approx(margins.mean(), abs=1e-5)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_reference_stays_where_it_was_without_dropout(method: str, stages: Stages, recipe: Recipe) -> None:
    """In every step the log-probability less reward / beta is that of base + SFT, although the policy has dropout."""
    pairs = stages.rows.training
    rated = [RatedRequest(each, index % 2 == 0) for index, each in enumerate(requests_of(pairs))]
    whole = with_training(recipe, method=method, batch_size=16, epochs=3)

    trained = of_kind(stages.go_on(EncodedRows(rated if method == "kto" else pairs), whole), "train")

    reference = stages.scores(stages.first, pairs)
    assert len(trained) == 3
    for row in trained:
        for side, expected in (("chosen", reference[::2].mean()), ("rejected", reference[1::2].mean())):
            of_reference = row[f"logps/{side}"] - row[f"rewards/{side}"] / recipe.training.beta
            assert of_reference == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("stages", ["nf4"], indirect=True)
def test_a_second_stage_that_does_not_move_is_the_first(stages: Stages, recipe: Recipe) -> None:
    """On NF4, where TRL rounds adapters to bfloat16, the weights are still the start's own to the last bit."""
    stages.go_on(stages.rows, without_dropout(with_training(recipe, learning_rate=1e-30, max_steps=1)))

    start, end = load_file(stages.first / WEIGHTS), load_file(stages.second / WEIGHTS)
    assert all(torch.equal(value, end[name]) for name, value in start.items())


def test_sft_from_an_adapter_goes_on(stages: Stages, recipe: Recipe) -> None:
    """More of the same: it begins with the first stage's loss, and pairs are judged against that stage."""
    answers = requests_of(stages.rows.training)[::2]
    more = without_dropout(with_training(recipe, method="sft", batch_size=8))

    trained = stages.go_on(EncodedRows(answers, stages.rows.selection), more)

    n_tokens = sum(len(each.response_ids) for each in answers)
    expected = -stages.scores(stages.first, answers).sum() / n_tokens
    assert of_kind(trained, "train")[0]["loss"] == pytest.approx(expected, rel=1e-4)
    assert of_kind(trained, "selection")[0]["rewards/accuracies"] == 0.5
    assert of_kind(trained, "selection")[-1]["rewards/chosen"] > 0


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 8}, r"lora: rank 8 and alpha 32 are not those of the adapter .* \(4 and 32\)"),
        ({"alpha": 4}, r"lora: rank 4 and alpha 4 are not those of the adapter .* \(4 and 32\)"),
        ({"target_modules": ("q_proj",)}, r"lora\.target_modules: they are not those of the adapter"),
    ],
)
def test_both_stages_share_one_shape(lora: dict[str, Any], message: str, stages: Stages, recipe: Recipe) -> None:
    """Another rank, alpha or set of modules is one line, and the base is whole afterwards."""
    names = [name for name, _ in stages.loaded.base.named_modules()]
    other = replace(recipe, lora=LoraConfig(**({"rank": 4} | lora)))

    with pytest.raises(TrainingError, match=message) as caught:
        stages.go_on(stages.rows, other)

    assert "\n" not in str(caught.value)
    assert [name for name, _ in stages.loaded.base.named_modules()] == names
