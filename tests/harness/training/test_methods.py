"""DPO, KTO and SFT on our token ids: closed forms of their first loss, and what TRL makes of the same rows."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config.schema import LoraConfig, TrainingConfig
from harness.models.base import LoadedModel
from harness.training.recipe import (
    EncodedRows,
    LogLine,
    RatedRequest,
    Recipe,
    TrainingError,
    requests_of,
    usable_recipe,
)
from harness.training.trl import TrainerInputs, make_trainer
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.inputs import Pair, Request

Load = Callable[..., LoadedModel]
Encode = Callable[[LoadedModel], EncodedRows]
Train = Callable[..., tuple[LogLine, ...]]


def with_training(recipe: Recipe, **changes: object) -> Recipe:
    return replace(recipe, training=replace(recipe.training, **changes))


def first(rows: tuple[LogLine, ...], kind: str = "train") -> LogLine:
    return next(row for row in rows if row["kind"] == kind)


def last(rows: tuple[LogLine, ...], kind: str = "selection") -> LogLine:
    return next(row for row in reversed(rows) if row["kind"] == kind)


def scores(loaded: LoadedModel, requests: list[Request]) -> np.ndarray:
    """Log-probabilities in nats by the suites' own scorer."""
    state = ScoringState(plan_for(loaded.base), print)
    scored = ModelScorer(loaded.base, pad_token_id=loaded.pad_token_id, state=state).score(requests)
    return np.array([score.log_probability for score in scored])


def chosen_answers(rows: EncodedRows) -> EncodedRows:
    """The chosen sides alone, to train and to select on."""
    return EncodedRows(requests_of(rows.training)[::2], requests_of(rows.selection)[::2])


def rated(rows: EncodedRows) -> EncodedRows:
    """Every pair as a good and a bad answer."""

    def rate(pairs: Any) -> list[RatedRequest]:
        return [RatedRequest(each, index % 2 == 0) for index, each in enumerate(requests_of(pairs))]

    return EncodedRows(rate(rows.training), rate(rows.selection))


@pytest.fixture(params=["llama_folder", "gpt2_folder"])
def loaded(request: pytest.FixtureRequest, load: Load) -> LoadedModel:
    """A Llama, then a GPT-2."""
    return load(Path(request.getfixturevalue(request.param)))


@pytest.fixture
def llama(llama_folder: Path, load: Load) -> LoadedModel:
    """A Llama alone."""
    return load(llama_folder)


@pytest.fixture
def whole(recipe: Recipe) -> Recipe:
    """One step that sees all eight pairs, in two batches."""
    return with_training(recipe, batch_size=4, gradient_accumulation_steps=2, epochs=1)


def test_the_first_sft_loss_is_our_mean_nll(loaded: LoadedModel, encode: Encode, whole: Recipe, train: Train) -> None:
    """Nats a response token, pooled over the rows of a step; no token is added or lost."""
    rows = chosen_answers(encode(loaded))
    requests = requests_of(rows.training)
    n_tokens = sum(len(request.response_ids) for request in requests)

    step = first(train(loaded, rows, with_training(whole, method="sft")))

    assert step["loss"] == pytest.approx(-scores(loaded, requests).sum() / n_tokens, rel=1e-5)
    assert step["num_tokens"] == sum(len(each.prompt_ids) for each in requests) + n_tokens


def test_dpo_logs_our_log_probabilities(loaded: LoadedModel, encode: Encode, whole: Recipe, train: Train) -> None:
    """Sums over responses, averaged over the pairs of a step."""
    rows = encode(loaded)
    sums = scores(loaded, requests_of(rows.training))

    step = first(train(loaded, rows, whole))

    assert step["logps/chosen"] == pytest.approx(sums[::2].mean(), abs=1e-3)
    assert step["logps/rejected"] == pytest.approx(sums[1::2].mean(), abs=1e-3)


def test_kto_starts_at_one_half_with_our_log_probabilities(
    loaded: LoadedModel, encode: Encode, whole: Recipe, train: Train
) -> None:
    """Policy and reference agree, so each loss is 1 - sigmoid(0) and the KL term 0; sums are averaged by rating."""
    rows = rated(encode(loaded))
    sums = scores(loaded, requests_of(rows.training))

    step = first(train(loaded, rows, with_training(whole, method="kto", batch_size=16)))

    assert step["loss"] == pytest.approx(0.5, abs=1e-5)
    assert step["kl"] == pytest.approx(0.0, abs=1e-4)
    assert step["logps/chosen"] == pytest.approx(sums[::2].mean(), abs=1e-3)
    assert step["logps/rejected"] == pytest.approx(sums[1::2].mean(), abs=1e-3)


LN2 = math.log(2)


@pytest.mark.parametrize(
    ("loss_type", "label_smoothing", "expected"),
    [
        (("sigmoid",), 0.0, LN2),
        (("hinge",), 0.0, 1.0),
        (("ipo",), 0.0, (1 / (2 * 0.1)) ** 2),
        (("exo_pair",), 0.1, -LN2 - (math.log(0.9) + math.log(0.1)) / 2),
        (("robust",), 0.1, LN2),
        (("nca_pair",), 0.0, 2 * LN2),
        (("apo_zero",), 0.0, 1.0),
        (("sigmoid", "hinge"), 0.0, 0.5 * LN2 + 2.0),
    ],
)
def test_losses_start_where_their_formulas_do(
    loss_type: tuple[str, ...], label_smoothing: float, expected: float, llama: LoadedModel, encode: Encode,
    recipe: Recipe, train: Train,
) -> None:  # fmt: skip
    """With equal policy and reference every loss is a constant of beta 0.1 and the label smoothing; all learn."""
    weights = (0.5, 2.0) if len(loss_type) > 1 else None
    of_loss = with_training(recipe, loss_type=loss_type, label_smoothing=label_smoothing, loss_weights=weights)

    rows = train(llama, encode(llama), of_loss)

    assert first(rows)["loss"] == pytest.approx(expected, rel=1e-4)
    assert last(rows)["rewards/accuracies"] == 1.0


def test_kto_learns_what_is_good(llama: LoadedModel, encode: Encode, recipe: Recipe, train: Train) -> None:
    """From ties to good selection answers above bad ones, with a lower loss."""
    rows = train(llama, rated(encode(llama)), with_training(recipe, method="kto"))

    before, after = first(rows, "selection"), last(rows)
    assert (before["rewards/accuracies"], before["loss"], before["n"]) == (0.5, 0.5, 8)
    assert after["rewards/accuracies"] > 0.9
    assert after["rewards/chosen"] > after["rewards/rejected"]
    assert after["loss"] < 0.5


def test_sft_lowers_the_loss_of_its_selection_rows(
    llama: LoadedModel, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """The selection loss is the mean nll a response token before training, and lower afterwards."""
    rows = chosen_answers(encode(llama))
    requests = requests_of(rows.selection)
    expected = -scores(llama, requests).sum() / sum(len(each.response_ids) for each in requests)

    trained = train(llama, rows, with_training(recipe, method="sft"))

    assert first(trained, "selection")["loss"] == pytest.approx(expected)
    assert last(trained)["loss"] < expected
    assert first(trained).keys() >= {"loss", "mean_token_accuracy", "num_tokens"}


def test_sft_is_measured_on_pairs_where_a_preference_tuning_is(
    llama: LoadedModel, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """The control on chosen answers has the accuracy and loss of pairs, from 0.5 and ln 2."""
    rows = encode(llama)
    mixed = EncodedRows(chosen_answers(rows).training, rows.selection)

    trained = train(llama, mixed, with_training(recipe, method="sft"))

    before, after = first(trained, "selection"), last(trained)
    assert (before["rewards/accuracies"], before["loss"]) == (0.5, pytest.approx(LN2))
    assert after["rewards/chosen"] > 0
    assert after["n"] == 4


@pytest.mark.parametrize("method", ["kto", "sft"])
def test_token_ids_are_what_trl_makes_itself(
    method: str, llama_folder: Path, load: Load, encode: Encode, preference_pairs: list[Pair], tmp_path: Path
) -> None:
    """TRL, given the conversations in our order, makes the very columns that we hand it, its KL pairing included."""
    import trl
    from datasets import Dataset

    loaded = load(llama_folder)
    rows = encode(loaded)
    ours = rated(rows) if method == "kto" else chosen_answers(rows)
    recipe = Recipe(LoraConfig(), TrainingConfig(method=method, batch_size=3), seed=5)
    columns = make_trainer(TrainerInputs(loaded, ours.training, recipe, is_started=False), tmp_path).train_dataset

    texts = {}
    for pair, encoded in zip(preference_pairs, rows.training, strict=False):
        texts[encoded.prompt_ids + encoded.chosen_ids] = (pair.prompt, pair.chosen)
        texts[encoded.prompt_ids + encoded.rejected_ids] = (pair.prompt, pair.rejected)
    conversations = []
    for row in columns:
        ids = row["input_ids"] if method == "sft" else row["prompt_ids"] + row["completion_ids"]
        prompt, answer = texts[tuple(ids)]
        conversations.append(
            {
                "prompt": [{"role": turn.speaker, "content": turn.text} for turn in prompt],
                "completion": [{"role": "assistant", "content": answer}],
                **({"label": row["label"]} if method == "kto" else {}),
            }
        )
    config, trainer = {"kto": (trl.KTOConfig, trl.KTOTrainer), "sft": (trl.SFTConfig, trl.SFTTrainer)}[method]
    theirs = trainer(
        model=load(llama_folder).base,
        args=config(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=3
        ),
        train_dataset=Dataset.from_list(conversations),
        processing_class=loaded.tokenizer,
    ).train_dataset

    assert len(columns) == len(ours.training)
    assert [{key: row[key] for key in columns.column_names} for row in theirs] == list(columns)


def test_the_seed_gives_ktos_order(llama: LoadedModel, encode: Encode, tmp_path: Path) -> None:
    """TRL trains in the order of its rows; another seed is another order of the same rows."""
    orders = []
    for seed in (1, 2, 1):
        recipe = Recipe(LoraConfig(), TrainingConfig(method="kto"), seed=seed)
        trainer = make_trainer(TrainerInputs(llama, rated(encode(llama)).training, recipe, is_started=False), tmp_path)
        orders.append([json.dumps(row["completion_ids"]) for row in trainer.train_dataset])
        trainer.model.unload()

    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_ktos_limits_are_said(llama: LoadedModel, encode: Encode, recipe: Recipe, train: Train) -> None:
    """A batch of one has nothing to compare; three times as many bad answers as good ones are worth a line."""
    rows = rated(encode(llama))
    with pytest.raises(TrainingError, match=r"training\.batch_size: must be at least 2 for kto"):
        train(llama, rows, with_training(recipe, method="kto", batch_size=1))

    said: list[str] = []
    few_good = EncodedRows([row for index, row in enumerate(rows.training) if index % 2 or index < 5])
    train(llama, few_good, with_training(recipe, method="kto", max_steps=1), say=said.append)
    assert said[0].startswith("3 answers are good and 8 bad, all of weight 1")


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [({"warmup_steps": 2}, [0, 0.5, 1, 1]), ({"warmup_fraction": 0.25}, [0, 1, 1, 1]), ({}, [1, 1, 1, 1])],
)
def test_warm_up_in_steps_or_as_a_fraction(
    warmup: dict[str, Any], expected: list[float], llama: LoadedModel, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """The learning rates of the steps, relative to the full one."""
    warm = with_training(recipe, scheduler="constant_with_warmup", **warmup)

    rows = train(llama, encode(llama), warm)

    assert [row["learning_rate"] / 1e-2 for row in rows if row["kind"] == "train"] == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", ["paged_adamw_8bit", "paged_adamw_32bit", "adamw_8bit", "adamw_bnb_8bit"])
def test_gpu_optimizers_are_replaced_on_a_cpu(optimizer: str, recipe: Recipe, llama: LoadedModel) -> None:
    """With a line that says so; on a GPU they stay, and what is not AdamW stays on a CPU, too."""
    packed = with_training(recipe, engine="packed")
    asked = with_training(packed, optimizer=optimizer)

    used, notes = usable_recipe(asked, llama)

    assert used == with_training(packed, optimizer="adamw_torch")
    assert notes == (
        f"training.optimizer {optimizer} saves GPU memory; on this CPU the adapter is trained with adamw_torch.",
    )
    assert usable_recipe(asked, replace(llama, device="cuda")) == (asked, ())
    for as_it_is in (packed, with_training(packed, optimizer="lion_8bit")):
        assert usable_recipe(as_it_is, llama) == (as_it_is, ())


@pytest.mark.parametrize("method", ["dpo", "kto", "sft"])
def test_a_model_keeps_its_settings(
    method: str, llama: LoadedModel, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """Several ends of a generation, special tokens and the cache are afterwards what they were."""
    llama.base.generation_config.eos_token_id = [5, 7]
    llama.base.config.use_cache = True
    before = llama.base.config.to_dict(), llama.base.generation_config.to_dict()
    rows = {"dpo": encode(llama), "kto": rated(encode(llama)), "sft": chosen_answers(encode(llama))}[method]

    train(llama, rows, with_training(recipe, method=method, max_steps=1))

    assert (llama.base.config.to_dict(), llama.base.generation_config.to_dict()) == before
