"""A model's config.json is held against its weights before memory is taken: what does not fit is one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config.schema import ModelConfig
from harness.models.base import LoadedModel, load_model
from harness.models.base_files.folder import ModelError

Load = Callable[..., LoadedModel]


@pytest.fixture
def copied(llama_folder: Path, tmp_path: Path) -> Path:
    """A copy of the Llama that a test may spoil."""
    return Path(shutil.copytree(llama_folder, tmp_path / "llama"))


def change(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def refusal(folder: Path, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(ModelConfig(**({"name": str(folder), "quantization": "none"} | settings)))
    assert len(str(caught.value).splitlines()) == 1
    assert str(folder) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"config"', '{"hidden_size": 32}', '{"model_type": 3}'])
def test_a_configuration_is_an_object_that_names_its_family(content: str, copied: Path) -> None:
    """A list, a number, an object of something else."""
    (copied / "config.json").write_text(content)
    assert "it is damaged" in refusal(copied)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 30}, "config.json"),
        ({"num_attention_heads": 0}, "describes no model that can be built: ZeroDivisionError"),
        ({"num_attention_heads": 5}, "config.json"),
        ({"num_attention_heads": -4}, "config.json"),
        ({"num_hidden_layers": "2"}, "Field 'num_hidden_layers' expected int, got str"),
        ({"num_hidden_layers": 2.5}, "Field 'num_hidden_layers' expected int, got float"),
        ({"num_hidden_layers": None}, "Field 'num_hidden_layers'"),
        ({"num_hidden_layers": 1_000_000}, "names num_hidden_layers 1e+06, but the weights hold 21 tensors"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers is larger than that of any model"),
        ({"num_hidden_layers": 3}, "its weights lack 9 tensors"),
        ({"num_hidden_layers": 1}, "its weights hold 9 tensors of layers (model.layers.1."),
        ({"attention_bias": True}, "its weights lack 8 tensors"),
        ({"vocab_size": "400"}, "Field 'vocab_size' expected int"),
        ({"vocab_size": 10**9}, "describes a model of"),
        ({"vocab_size": 0}, "config.json"),
        ({"intermediate_size": 10**10}, "describes a model of"),
        ({"num_labels": 10**9}, "num_labels is larger than that of any model"),
        ({"rms_norm_eps": "small"}, "Field 'rms_norm_eps' expected float"),
        ({"hidden_act": "nothing"}, "config.json"),
        ({"hidden_act": 3}, "Field 'hidden_act'"),
        ({"rope_parameters": 3}, "Field 'rope_parameters'"),
        ({"rope_parameters": {"rope_type": "nothing"}}, "config.json"),
        ({"layer_types": "x"}, "layer_types"),
        ({"sliding_window": 1e308}, "attention window must be a whole number, got 1e+308"),
        ({"sliding_window": {"a": 1}}, "attention window must be a whole number"),
        ({"model_type": "nothing"}, "config.json"),
        ({"model_type": "bert"}, "its weights lack"),
        ({"dtype": "float17"}, "config.json"),
        ({"quantization_config": []}, "already quantised"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, 'by "gptq"'),
        ({"quantization_config": {"quant_method": "mxfp4"}}, 'by "mxfp4"'),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(changes: dict[str, Any], said: str, copied: Path) -> None:
    """Odd types, sizes that do not go together, another number of layers than the weights hold, another family."""
    change(copied, **changes)
    message = refusal(copied)
    assert said in message or (said == "config.json" and "cannot be loaded" in message)


def test_other_tensors_than_layers_are_told_and_left_out(copied: Path) -> None:
    """As the head of a reward model, which transformers leaves out without a word."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(copied / "model.safetensors")
    save_file(tensors | {"v_head.summary.weight": torch.zeros(1, 32)}, copied / "model.safetensors", {"format": "pt"})
    loaded = load_model(ModelConfig(str(copied), quantization="none"))
    assert "1 tensors in the weights" in loaded.notes[-1]
    assert "v_head.summary.weight" in loaded.notes[-1]


def test_weights_that_are_a_pointer_are_named(copied: Path) -> None:
    """As a clone without Git LFS has them."""
    (copied / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "is a pointer of Git LFS, not the weights; run `git lfs pull`" in refusal(copied)


@pytest.fixture
def stored_in_4_bits(wide_llama_folder: Path, tmp_path: Path, load: Load) -> Path:
    """A model as `-bnb-4bit` folders have it."""
    from transformers import AutoTokenizer

    load(wide_llama_folder, quantization="nf4", compute_dtype="float32").base.save_pretrained(tmp_path / "bnb-4bit")
    AutoTokenizer.from_pretrained(wide_llama_folder).save_pretrained(tmp_path / "bnb-4bit")
    return tmp_path / "bnb-4bit"


def test_weights_stored_in_nf4_are_measured_as_they_are(
    stored_in_4_bits: Path, wide_llama_folder: Path, load: Load
) -> None:
    """With the logits of the same weights quantised here, in the type that was asked for, and with a line."""
    stored = load(stored_in_4_bits, quantization="nf4", compute_dtype="float32")
    quantised = load(wide_llama_folder, quantization="nf4", compute_dtype="float32")

    token_ids = torch.tensor([[1, 5, 9, 33]])
    with torch.no_grad():
        assert torch.equal(stored.base(token_ids).logits, quantised.base(token_ids).logits)
    assert "were quantised before they were stored" in stored.notes[-1]
    assert stored.base.model.layers[0].mlp.up_proj.compute_dtype == torch.float32
    assert "set model.quantization=nf4, or give the unquantised weights, with --model" in refusal(stored_in_4_bits)


def test_tokens_without_an_embedding_are_refused_where_they_occur(copied: Path, load: Load) -> None:
    """Gemma 3 1B has one that no text spells: the model is measured, and a text that spells it is refused by name."""
    from transformers import AutoTokenizer

    from suites.engine.encoding import Encoder
    from suites.engine.plan import ScoringState, plan_for
    from suites.engine.scoring import ModelScorer
    from suites.engine.token_ids import UnknownTokenError
    from suites.inputs import Request, Turn

    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    tokenizer.save_pretrained(copied)
    loaded = load(copied)
    limits = {"max_prompt_tokens": 64, "max_tokens": 128, "n_embeddings": loaded.n_embeddings}
    encoder = Encoder(loaded.tokenizer, **limits)
    prompt = (Turn("user", "What is it?"),)
    scorer = ModelScorer(loaded.base, pad_token_id=loaded.pad_token_id, state=ScoringState(plan_for(loaded.base), str))
    (score,) = scorer.score([encoder.encode(prompt, ["A dog."])[0].request])
    assert score.log_probability < 0

    unknown = len(tokenizer) - 1
    with pytest.raises(UnknownTokenError, match=rf"the token '<image_soft_token>' \(id {unknown}\), and the model has"):
        encoder.encode(prompt, ["A <image_soft_token>."])
    with pytest.raises(UnknownTokenError, match=rf"the token \(id {unknown}\)"):
        scorer.score([Request((1, 2), (unknown,))])
    with pytest.raises(UnknownTokenError, match="'<image_soft_token>'"):
        loaded.base(torch.tensor([[1, unknown]]))
