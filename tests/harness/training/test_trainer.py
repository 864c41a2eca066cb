"""A DPO run: our token ids, TRL's arithmetic, the base untouched, and measuring that does not disturb."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.config.schema import LoraConfig, TrainingConfig
from harness.models.adapters import attach_adapter
from harness.models.base import BASELINE, LoadedModel
from harness.training.recipe import EncodedRows, LogLine, Recipe, TrainingError, TrainingStartError
from harness.training.trl import activation_bytes
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.inputs import Pair

Load = Callable[..., LoadedModel]
Encode = Callable[[LoadedModel], EncodedRows]
Train = Callable[..., tuple[LogLine, ...]]
WEIGHTS = "adapter_model.safetensors"


def of_kind(rows: tuple[LogLine, ...], kind: str) -> list[LogLine]:
    return [row for row in rows if row["kind"] == kind]


def snapshot(model: torch.nn.Module) -> dict[str, Any]:
    """Copies of all tensors, quantisation states included."""
    return {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}


def equal(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_token_ids_are_what_trl_makes_itself(
    llama_folder: Path, load: Load, encode: Encode, preference_pairs: list[Pair], tmp_path: Path
) -> None:
    """For untruncated conversations our encoder and TRL's own tokenisation agree to the token."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    loaded = load(llama_folder)
    rows = [
        {
            "prompt": [{"role": turn.speaker, "content": turn.text} for turn in pair.prompt],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in preference_pairs[:8]
    ]
    arguments = DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none")
    trainer = DPOTrainer(
        model=loaded.base, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=loaded.tokenizer
    )

    ours = [(list(p.prompt_ids), list(p.chosen_ids), list(p.rejected_ids)) for p in encode(loaded).training]
    theirs = [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in trainer.train_dataset]
    assert ours == theirs


@pytest.fixture(params=["llama_folder", "gpt2_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    """A Llama, then a GPT-2."""
    return Path(request.getfixturevalue(request.param))


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_run_starts_at_ln_2_and_learns(
    quantization: str, folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """First loss ln 2; after four steps in float32 the selection rows are won, the base bit for bit as before."""
    loaded = load(folder, quantization=quantization)
    before = snapshot(loaded.base)

    rows = train(loaded, encode(loaded), recipe)

    assert {weight.dtype for weight in load_file(tmp_path / "adapter" / WEIGHTS).values()} == {torch.float32}
    train, selection = of_kind(rows, "train"), of_kind(rows, "selection")
    assert train[0]["loss"] == pytest.approx(math.log(2), abs=1e-4 if quantization == "none" else 0.02)
    assert [row["step"] for row in train] == [1, 2, 3, 4]
    assert [row["step"] for row in selection] == [0, 4]
    assert (selection[0]["rewards/accuracies"], selection[0]["n"]) == (0.5, 4)
    assert selection[0]["loss"] == pytest.approx(math.log(2))
    assert selection[-1]["rewards/accuracies"] == 1.0
    assert rows[-1]["kind"] == "summary"
    assert equal(snapshot(loaded.base), before)


def test_rows_hold_what_a_report_shows(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """Every train row has the trainer's numbers, time and memory; the summary counts tokens and weights."""
    loaded = load(llama_folder)
    pairs = encode(loaded)
    told = []

    rows = train(loaded, pairs, recipe, progress=lambda *step: told.append(step))

    n_tokens = sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs.training)
    assert set(of_kind(rows, "train")[1]) == {
        "kind", "step", "epoch", "loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
        "logps/chosen", "logps/rejected", "mean_token_accuracy", "learning_rate", "grad_norm", "num_tokens", "seconds",
        "peak_memory_bytes",
    }  # fmt: skip
    assert of_kind(rows, "train")[0]["rewards/accuracies"] == 0.5  # all ties, which TRL counts as lost
    assert rows[-1]["num_tokens"] == 2 * n_tokens  # two epochs
    assert rows[-1]["trainable_parameters"] == sum(
        w.numel() for w in load_file(tmp_path / "adapter" / WEIGHTS).values()
    )
    assert rows[-1]["peak_memory_bytes"] > 2**20
    assert [each for each in told if each[2]["kind"] not in ("scoring", "reference")] == [
        (row["step"], 4, row) for row in rows
    ]
    assert (0, 4, {"kind": "reference", "n_scored": 8, "n_requests": 8}) in told  # before the first step
    assert json.loads(json.dumps(rows)) == list(rows)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_measuring_does_not_disturb_training(
    quantization: str, wide_llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """With selection rows measured at every step, or none at all, the adapter is the same to the bit, with dropout."""
    loaded = load(wide_llama_folder, quantization=quantization)
    pairs = encode(loaded)
    measured = replace(recipe, training=replace(recipe.training, eval_steps=1))

    rows = train(loaded, pairs, measured, "measured")
    train(loaded, EncodedRows(pairs.training), recipe, "blind")

    assert [row["step"] for row in of_kind(rows, "selection")] == [0, 1, 2, 3, 4]
    assert equal(load_file(tmp_path / "measured" / WEIGHTS), load_file(tmp_path / "blind" / WEIGHTS))


@pytest.mark.parametrize("weights", [("none", "float32"), ("nf4", "float32"), ("nf4", "bfloat16")], ids="-".join)
def test_selection_rows_are_what_the_saved_adapter_scores(
    weights: tuple[str, str],
    llama_folder: Path,
    load: Load,
    encode: Encode,
    recipe: Recipe,
    train: Train,
    tmp_path: Path,
) -> None:
    """The last selection row equals the definition applied to the adapter read back from disk, pair by pair."""
    loaded = load(llama_folder, quantization=weights[0], compute_dtype=weights[1])
    pairs = encode(loaded)
    rows = train(loaded, pairs, recipe)
    attach_adapter(loaded, "tuned", str(tmp_path / "adapter"))
    requests = [side.request for pair in pairs.selection for side in (pair.chosen, pair.rejected)]

    state = ScoringState(plan_for(loaded.base), print)

    def score(subject: str) -> list[float]:
        with loaded.subject(subject) as model:
            scorer = ModelScorer(model, pad_token_id=loaded.pad_token_id, state=state, context=subject)
            scores = scorer.score(requests)
        return [score.log_probability for score in scores]

    rewards = [recipe.training.beta * (p - r) for p, r in zip(score("tuned"), score(BASELINE), strict=True)]
    margins = [chosen - rejected for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]
    # In bfloat16 a sum in fp32 whose operands lie elsewhere in memory, as some CPUs' products make it, tips a rounding
    # over now and then: a reward is the difference of two sums, each uncertain by what the self-check allows.
    noise_nats = max(check.tolerance_nats for check in state.checks)
    within = 1e-6 if weights[1] == "float32" else 2 * recipe.training.beta * noise_nats
    expected = of_kind(rows, "selection")[-1]
    assert expected["rewards/accuracies"] == sum(0.5 if m == 0 else float(m > 0) for m in margins) / len(margins)
    assert expected["rewards/margins"] == pytest.approx(sum(margins) / len(margins), abs=within)
    assert expected["rewards/chosen"] == pytest.approx(sum(rewards[::2]) / len(margins), abs=within)
    assert expected["loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in margins) / len(margins), abs=within)


@pytest.mark.slow
def test_trainings_in_a_row_are_independent(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """The second adapter on a loaded base equals the one trained on a base fresh from disk."""
    used, fresh = load(llama_folder, quantization="nf4"), load(llama_folder, quantization="nf4")
    other = replace(recipe, seed=2)
    train(used, encode(used), recipe, "first")

    train(used, encode(used), other, "second")
    train(fresh, encode(fresh), other, "alone")

    assert equal(load_file(tmp_path / "second" / WEIGHTS), load_file(tmp_path / "alone" / WEIGHTS))
    assert not equal(load_file(tmp_path / "first" / WEIGHTS), load_file(tmp_path / "second" / WEIGHTS))


@pytest.mark.slow
def test_checkpointing_changes_memory_not_the_adapter(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """Gradient checkpointing gives the same adapter, and leaves nothing switched on."""
    loaded = load(llama_folder, quantization="nf4")
    for choice in ("on", "off"):
        training = replace(recipe.training, gradient_checkpointing=choice)
        train(loaded, encode(loaded), replace(recipe, training=training), choice)

    on, off = (load_file(tmp_path / choice / WEIGHTS) for choice in ("on", "off"))
    assert all(torch.allclose(on[name], off[name], atol=1e-6) for name in off)
    assert not loaded.base.is_activation_checkpointing


def test_a_wrong_start_is_refused(
    llama_folder: Path,
    load: Load,
    encode: Encode,
    recipe: Recipe,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where policy and reference differ before the first step, training stops and the base is given back whole."""
    import peft

    loaded = load(llama_folder)
    before = snapshot(loaded.base)
    plain = peft.LoraConfig
    monkeypatch.setattr(peft, "LoraConfig", lambda **options: plain(**options, init_lora_weights=False))

    with pytest.raises(TrainingStartError, match=r"the first DPO loss is .* must be 0.69315 within 0.0001"):
        train(loaded, encode(loaded), recipe)
    assert equal(snapshot(loaded.base), before)


def test_a_loss_that_is_no_number_stops_the_run(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train
) -> None:
    """One line names the learning rate and the step."""
    loaded = load(llama_folder)
    wild = replace(recipe, training=replace(recipe.training, learning_rate=1e30, scheduler="constant", epochs=4))

    with pytest.raises(TrainingError, match=r"training.learning_rate: the loss became nan at step \d of 8; lower it"):
        train(loaded, encode(loaded), wild)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss_type": ("kto_pair",)}, "training.loss_type: .*kto_pair.* must be of sigmoid, hinge"),
        ({"loss_type": ()}, "training.loss_type"),
        ({"loss_weights": (1.0, 2.0)}, "training.loss_weights: 2 weights for 1 losses"),
        ({"loss_type": ("exo_pair",)}, "training.label_smoothing: must be above 0 for the loss exo_pair"),
        ({"label_smoothing": 0.1}, "training.label_smoothing: 0.1 changes nothing for sigmoid; .* exo_pair, robust"),
        ({"method": "kto"}, "training.method: kto trains on rated answers, not on pairs"),
        ({"method": "sft"}, "training.method: sft trains on answers, not on pairs"),
        ({"optimizer": "adamw_torhc"}, "training: .*adamw_torhc"),
        ({"optimizer": "galore_adamw"}, "training: .*galore"),
        ({"target_modules": ("nothing_proj",)}, "lora, training: .*nothing_proj"),
        ({"target_modules": ("q_proj", "lm_head")}, "lora, training: .*would never be trained"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_one_line(
    settings: dict[str, Any], message: str, llama_folder: Path, load: Load, encode: Encode, train: Train
) -> None:
    """The section is named and what is allowed."""
    loaded = load(llama_folder)
    lora = LoraConfig(target_modules=settings.pop("target_modules", "all-linear"))

    with pytest.raises(TrainingError, match=message) as caught:
        train(loaded, encode(loaded), Recipe(lora, TrainingConfig(engine="packed", **settings), seed=1))
    assert "\n" not in str(caught.value)


def test_no_pairs_attached_adapters_and_an_engine_left_open_are_refused(
    llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train, tmp_path: Path
) -> None:
    """Nothing to train on is the user's to mend; a model with adapters and a recipe as it was read are the caller's."""
    loaded = load(llama_folder)
    with pytest.raises(TrainingError, match="no pairs are left"):
        train(loaded, EncodedRows([]), recipe)
    with pytest.raises(TrainingError, match=r"are left to train on \(3 have equal sides once they are cut"):
        train(loaded, EncodedRows([], n_equal=3), recipe)
    with pytest.raises(ValueError, match="as usable_recipe returns it"):
        train(loaded, encode(loaded), replace(recipe, training=replace(recipe.training, engine="auto")))
    train(loaded, encode(loaded), recipe)
    attach_adapter(loaded, "tuned", str(tmp_path / "adapter"))
    with pytest.raises(ValueError, match="before adapters are attached"):
        train(loaded, encode(loaded), recipe)


def test_losses_can_be_combined(llama_folder: Path, load: Load, encode: Encode, recipe: Recipe, train: Train) -> None:
    """A sigmoid with a share of plain likelihood does not start at ln 2, and nobody asks it to."""
    loaded = load(llama_folder)
    combined = replace(recipe.training, loss_type=("sigmoid", "sft"), loss_weights=(1.0, 0.5), max_steps=1)

    rows = train(loaded, encode(loaded), replace(recipe, training=combined))

    assert of_kind(rows, "train")[0]["loss"] > math.log(2) + 0.1


def test_nobody_is_told(
    llama_folder: Path,
    load: Load,
    encode: Encode,
    recipe: Recipe,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """TRL's telemetry is not sent, and no card of PEFT's tells the folder of the base."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *_a, **_k: pytest.fail("telemetry was sent"))
    loaded = load(llama_folder)

    train(loaded, encode(loaded), recipe)

    assert not (tmp_path / "adapter" / "README.md").exists()
    assert not [file for file in (tmp_path / "adapter").glob("*.md") if str(llama_folder) in file.read_text()]


def test_activations_by_the_published_formula() -> None:
    """34 bytes a token, unit and layer in 16 bits: 16 sequences of 1,024 tokens on 32 layers of 4,096 take 68 GiB."""
    assert activation_bytes(32, 16 * 1024, 4096, bytes_per_value=2) == 68 * 2**30
