"""Mixtures of experts train: the router's loss is weighed and recorded, and the check is on the preference loss."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.adapters import attach_adapter
from harness.models.base import LoadedModel
from harness.models.merge import merge_adapter
from harness.training.coverage import coverage_of
from harness.training.recipe import EncodedRows, LogLine, RatedRequest, Recipe, TrainingError, requests_of
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.2,
}  # fmt: skip
FAMILIES = {
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "Mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "GptOss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128},
}


@pytest.fixture
def mixture(
    request: pytest.FixtureRequest, llama_folder: Path, tmp_path: Path, load: Callable[..., LoadedModel]
) -> LoadedModel:
    """A tiny model of a family with experts."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(llama_folder)
    config = getattr(transformers, f"{request.param}Config")(
        vocab_size=len(tokenizer), **(SIZES | FAMILIES[request.param])
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return load(tmp_path / "base")


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """The recipe without dropout, which PEFT does not have for experts, in TRL's batches, whose router has a loss."""
    return replace(recipe, lora=replace(recipe.lora, dropout=0.0), training=replace(recipe.training, engine="trl"))


def first_step(rows: tuple[LogLine, ...]) -> LogLine:
    return next(row for row in rows if row["kind"] == "train")


@pytest.mark.parametrize("mixture", ["Qwen3Moe"], indirect=True)
def test_packs_have_no_loss_of_the_router(
    mixture: LoadedModel, encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]],
) -> None:  # fmt: skip
    """They are refused where it counts, and train the experts' router where it does not."""
    packed = replace(recipe.training, engine="packed", max_steps=1)

    with pytest.raises(TrainingError, match=r"packed does not compute the router's loss, which counts 0\.001 times"):
        train(mixture, encode(mixture), replace(recipe, training=packed))
    log = train(
        mixture, encode(mixture), replace(recipe, training=replace(packed, router_aux_loss_coef=0.0)), "without"
    )

    assert first_step(log)["loss"] == pytest.approx(0.693147, abs=1e-4)


@pytest.mark.parametrize("mixture", FAMILIES, indirect=True)
@pytest.mark.parametrize("method", ["dpo", pytest.param("kto", marks=pytest.mark.slow)])
def test_a_mixture_of_experts_is_trained(
    method: str, mixture: LoadedModel, encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]], tmp_path: Path,
) -> None:  # fmt: skip
    """With the model's own weight, which with its loss is recorded; the adapter fits the base it came from."""
    rows = encode(mixture)
    if method == "kto":
        rated = [RatedRequest(each, index % 2 == 0) for index, each in enumerate(requests_of(rows.training))]
        rows = EncodedRows(rated, rows.selection)
    said: list[str] = []

    log = train(mixture, rows, replace(recipe, training=replace(recipe.training, method=method)), say=said.append)

    first, own = first_step(log), mixture.base.config.router_aux_loss_coef
    expected = 0.5 if method == "kto" else 0.693147
    assert first["loss"] - own * first["aux_loss"] == pytest.approx(expected, abs=1e-4)
    assert first["aux_loss"] > 0
    assert log[-1]["router_aux_loss_coef"] == own
    assert any(f"The loss of the router counts {own:g} times" in line for line in said)
    assert attach_adapter(mixture, "tuned", str(tmp_path / "adapter")) == []


@pytest.mark.parametrize("mixture", ["Mixtral"], indirect=True)
@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_the_weight_can_be_set(
    weight: float, mixture: LoadedModel, encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]],
) -> None:  # fmt: skip
    """At 0 the loss is that of the method alone."""
    chosen = replace(recipe, training=replace(recipe.training, router_aux_loss_coef=weight, max_steps=1))

    log = train(mixture, encode(mixture), chosen)

    first = first_step(log)
    assert first["loss"] - weight * first.get("aux_loss", 0.0) == pytest.approx(0.693147, abs=1e-4)
    assert ("aux_loss" in first) == (weight > 0)
    assert log[-1]["router_aux_loss_coef"] == weight


def test_a_model_without_experts_has_no_router_to_weigh(
    llama_folder: Path, load: Callable[..., LoadedModel], encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]],
) -> None:  # fmt: skip
    """A weight is refused as without effect, and nothing of it is recorded otherwise."""
    loaded = load(llama_folder)
    heavy = replace(recipe, training=replace(recipe.training, router_aux_loss_coef=0.1))
    with pytest.raises(TrainingError, match=r"training\.router_aux_loss_coef: 0\.1 has no effect"):
        train(loaded, encode(loaded), heavy)
    one = replace(recipe, training=replace(recipe.training, max_steps=1))
    log = train(loaded, encode(loaded), one, "other", say=pytest.fail)
    assert "router_aux_loss_coef" not in log[-1]
    assert log[-1]["modules"]["model.layers.*.mlp.up_proj"] == 2


@pytest.mark.parametrize("mixture", ["Mixtral"], indirect=True)
def test_dropout_on_experts_is_refused_by_its_key(
    mixture: LoadedModel, encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]],
) -> None:  # fmt: skip
    """In place of PEFT's words for it."""
    dropped = replace(recipe, lora=replace(recipe.lora, dropout=0.05))
    with pytest.raises(
        TrainingError, match=r"^lora\.dropout: must be 0 where the adapter lies on experts.*, got 0\.05"
    ):
        train(mixture, encode(mixture), dropped)


COVERED = {
    "Qwen3Moe": {"self_attn.q_proj", "mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"},
    "Mixtral": {"self_attn.q_proj", "mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"},
    "GptOss": {"self_attn.q_proj"},
}
"""Family -> modules of a layer that all-linear means there, one of the four of attention named."""


@pytest.mark.parametrize("mixture", COVERED, indirect=True)
def test_what_got_weights_is_said_and_recorded(
    mixture: LoadedModel, encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """all-linear means other modules in every family, which nothing else would show."""
    said: list[str] = []
    one = replace(recipe, training=replace(recipe.training, max_steps=1))
    log = train(mixture, encode(mixture), one, say=said.append)

    expected = COVERED[request.node.callspec.params["mixture"]]
    others = {f"self_attn.{name}" for name in ("k_proj", "v_proj", "o_proj")}
    assert log[-1]["modules"] == {f"model.layers.*.{name}": 2 for name in expected | others}
    has_experts = "mlp.gate.weight" in expected
    assert log[-1]["untouched_modules"] == ({} if has_experts else {"model.layers.*.mlp.experts": 2})
    (line,) = [line for line in said if line.startswith("The adapter has weights on")]
    assert "modules: model.layers: self_attn.q_proj, " in line
    assert ("among them the router, model.layers.*.mlp.gate.weight" in line) == has_experts
    assert ("It has none on model.layers: mlp.experts." in line) != has_experts


def test_a_tower_for_pictures_is_told_apart() -> None:
    """Gemma 3 has one, on which all-linear puts weights too."""
    import peft
    import transformers

    text = {key: value for key, value in SIZES.items() if key != "initializer_range"} | {"vocab_size": 300}
    seen = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.Gemma3Config(
        text_config=text, vision_config=seen | {"image_size": 28, "patch_size": 14}, mm_tokens_per_image=4
    )
    lora = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    line = coverage_of(peft.get_peft_model(transformers.AutoModelForCausalLM.from_config(config), lora)).as_line()
    assert "model.vision_tower.encoder.layers: self_attn.k_proj, " in line
    assert "model.language_model.layers: self_attn.q_proj, " in line


@pytest.mark.parametrize("mixture", ["Qwen3Moe", "Mixtral"], indirect=True)
def test_an_adapter_on_experts_is_measured_and_merged_as_peft_does(
    mixture: LoadedModel, encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]], tmp_path: Path,
) -> None:  # fmt: skip
    """In packs the log-probabilities of PeftModel, and PEFT's merged weights rounded once."""
    import peft
    import transformers

    def of_peft() -> Any:
        plain = transformers.AutoModelForCausalLM.from_pretrained(mixture.name, dtype=torch.float32)
        return peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()

    rows = encode(mixture)
    train(mixture, rows, recipe)
    attach_adapter(mixture, "tuned", str(tmp_path / "adapter"))
    scored = requests_of(rows.selection)
    with mixture.subject("tuned") as model:
        scorer = ModelScorer(model, pad_token_id=mixture.pad_token_id, state=ScoringState(plan_for(model), str))
        ours = [each.log_probability for each in scorer.score(scored)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, merged = of_peft(), of_peft().merge_and_unload().state_dict()
    for request, log_probability in zip(scored, ours, strict=True):
        token_ids = torch.tensor([request.prompt_ids + request.response_ids])
        with torch.no_grad():
            logits = theirs(token_ids).logits[0, len(request.prompt_ids) - 1 : -1].double().log_softmax(-1)
        expected = logits[torch.arange(len(request.response_ids)), torch.tensor(request.response_ids)].sum()
        assert log_probability == pytest.approx(float(expected), abs=1e-4)

    written = merge_adapter(str(tmp_path / "adapter"), tmp_path / "out", dtype="float16", base=mixture.name)
    stored = transformers.AutoModelForCausalLM.from_pretrained(written.folder, dtype=torch.float32).state_dict()
    assert stored.keys() == merged.keys()
    assert all(torch.equal(weight.half().float(), stored[name]) for name, weight in merged.items())
