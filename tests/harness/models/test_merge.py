"""A merged model is base plus adapter, rounded once, and asks its prompts as the base did."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.config.schema import ModelConfig
from harness.models.adapter_files.folder import CONFIG_FILE, FIXTURE_FILE, GROUPS_FILE, AdapterError
from harness.models.adapters import attach_adapter, probe_logits
from harness.models.base import LoadedModel, load_model
from harness.models.base_files.folder import weights_fingerprint
from harness.models.merge import MergeError, merge_adapter, merge_weights
from harness.models.origin import MERGE_FILE, origin_of_adapter, origin_of_model
from reports.locks import hold
from suites.engine.chat_template import ensure_template
from suites.engine.encoding import Encoder
from suites.inputs import Pair, content_id

Load = Callable[..., LoadedModel]
MakeAdapter = Callable[..., Path]
WEIGHTS = "adapter_model.safetensors"
RANK, ALPHA = 4, 10
UNIT_ROUNDOFF = {"bfloat16": 2**-8, "float16": 2**-11}
"""Largest relative error of rounding to nearest with 8 and 11 significant bits."""
TOKEN_IDS = torch.tensor([[1, 5, 9, 33, 70, 12]])


@pytest.fixture(scope="session")
def qwen2_folder(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 with biases in its attention and tied embeddings, stored in bfloat16 as the real ones are."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("qwen2")
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    torch.manual_seed(2)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 8,  # as real ones have it; loaded as Qwen2's own, the tokenizer knows one more
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["llama_folder", "gpt2_folder", "qwen2_folder"])
def base_folder(request: pytest.FixtureRequest) -> Path:
    """Separate embeddings; GPT-2's transposed matrices and tied embeddings; tied embeddings in bfloat16."""
    return Path(request.getfixturevalue(request.param))


@pytest.fixture
def make_adapter(tmp_path: Path) -> MakeAdapter:
    """Writes a LoRA adapter of a base by PEFT alone, with both factors away from 0."""

    def make(base_folder: Path, name: str = "adapter", **settings: Any) -> Path:
        import peft
        from transformers import AutoModelForCausalLM

        torch.manual_seed(5)
        base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
        options = {"r": RANK, "lora_alpha": ALPHA, "target_modules": "all-linear", "init_lora_weights": False}
        config = peft.LoraConfig(**(options | settings), task_type="CAUSAL_LM")
        peft.get_peft_model(base, config).save_pretrained(tmp_path / name, save_embedding_layers=False)
        return tmp_path / name

    return make


def exact_weights(base_folder: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """W + (alpha / rank) B A in double precision for every matrix that the adapter changes."""
    base, factors = load_file(base_folder / "model.safetensors"), load_file(adapter / WEIGHTS)
    exact = {}
    for key, a in factors.items():
        if "lora_A" in key:
            name = key.removeprefix("base_model.model.").replace("lora_A.", "")
            update = ALPHA / RANK * factors[key.replace("lora_A", "lora_B")].double() @ a.double()
            stored = base[name] if name in base else base[name.removeprefix("transformer.")]
            exact[name] = stored.double() + (update.T if "c_" in name else update)  # GPT-2's are transposed
    return exact


def logits_of(loaded: LoadedModel, name: str = "baseline") -> torch.Tensor:
    with torch.no_grad(), loaded.subject(name) as model:
        return model(TOKEN_IDS).logits.float()


def test_merged_in_float32_it_is_base_plus_adapter(base_folder: Path, make_adapter: MakeAdapter, load: Load) -> None:
    """The matrices are W + (alpha / rank) B A, and the logits those of the adapter beside its base."""
    adapter = make_adapter(base_folder)
    loaded = load(base_folder)
    attach_adapter(loaded, "tuned", str(adapter))
    expected, baseline = logits_of(loaded, "tuned"), logits_of(loaded)

    merge_weights(loaded, "tuned", "float32")

    merged = dict(loaded.base.named_parameters())
    exact = exact_weights(base_folder, adapter)
    assert len(exact) == (8 if "gpt2" in base_folder.name else 14)
    for name, weight in exact.items():
        assert torch.allclose(merged[name].double(), weight, rtol=0, atol=2e-6), name
    assert (expected - baseline).abs().max() > 0.1
    assert torch.allclose(logits_of(loaded), expected, rtol=1e-5, atol=1e-4)
    assert not [name for name in merged if "lora" in name]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_folder_holds_weights_rounded_once(
    dtype: Any, base_folder: Path, make_adapter: MakeAdapter, load: Load, tmp_path: Path
) -> None:
    """On disk every value is in the dtype and within one rounding; it loads here and in plain transformers alike."""
    from transformers import AutoModelForCausalLM

    adapter = make_adapter(base_folder)

    merged = merge_adapter(str(adapter), tmp_path / "out", dtype=dtype, base=str(base_folder))

    stored = load_file(merged.folder / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {getattr(torch, dtype)}
    for name, weight in exact_weights(base_folder, adapter).items():
        error = (stored[name].double() - weight).abs()
        assert (error <= UNIT_ROUNDOFF[dtype] * weight.abs() * (1 + 1e-3) + 1e-6).all(), name
    plain = AutoModelForCausalLM.from_pretrained(merged.folder)
    assert plain.dtype == getattr(torch, dtype)
    here = load(merged.folder)
    assert torch.equal(logits_of(here), plain.float()(TOKEN_IDS).logits)
    assert (merged.fingerprint, merged.reused) == (here.fingerprint, False)
    tuned = load(base_folder)
    attach_adapter(tuned, "tuned", str(adapter))
    assert torch.allclose(logits_of(here), logits_of(tuned, "tuned"), atol=0.5)


def test_one_rounding_is_nearer_than_three(llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """Merged in bfloat16 throughout, the matrices are further from W + (alpha / rank) B A than merged here."""
    import peft
    from transformers import AutoModelForCausalLM

    adapter = make_adapter(llama_folder)
    exact = exact_weights(llama_folder, adapter)

    def error(weights: dict[str, torch.Tensor]) -> float:
        errors = [((weights[name].double() - weight) ** 2).mean() for name, weight in exact.items()]
        return float(torch.stack(errors).mean().sqrt())

    merged = merge_adapter(str(adapter), tmp_path / "out", dtype="bfloat16", base=str(llama_folder))
    ours = error(load_file(merged.folder / "model.safetensors"))
    half = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.bfloat16)
    in_half = peft.PeftModel.from_pretrained(half, adapter, autocast_adapter_dtype=False).merge_and_unload()
    theirs = error(dict(in_half.named_parameters()))

    print(f"root mean square error: rounded once {ours:.3e}, merged in bfloat16 {theirs:.3e}")  # noqa: T201
    assert theirs > 1.2 * ours


def test_a_base_in_half_precision_is_merged_as_if_it_were_in_float32(
    qwen2_folder: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    """Bit for bit what PEFT merges when the whole base is loaded in float32 and rounded afterwards."""
    import peft
    from transformers import AutoModelForCausalLM

    adapter = make_adapter(qwen2_folder)
    base = AutoModelForCausalLM.from_pretrained(qwen2_folder, dtype=torch.float32)
    whole = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload().to(torch.float16)

    merged = merge_adapter(str(adapter), tmp_path / "out", dtype="float16", base=str(qwen2_folder))

    stored = load_file(merged.folder / "model.safetensors")
    assert stored.keys() == dict(whole.named_parameters()).keys()  # embeddings are tied, and there once
    assert all(torch.equal(weight, stored[name]) for name, weight in whole.named_parameters())


@pytest.mark.parametrize("template", ["auto", "instruction"])
def test_prompts_are_rendered_as_they_were(
    template: Any, base_folder: Path, make_adapter: MakeAdapter, preference_pairs: list[Pair], tmp_path: Path
) -> None:
    """The merged folder gives the token ids of its base, with the model's own template or the instruction template."""
    config = ModelConfig(str(base_folder), quantization="none", template=template)
    merged = merge_adapter(str(make_adapter(base_folder)), tmp_path / "out", dtype="bfloat16", base=config)

    encoders = [
        Encoder(load_model(each).tokenizer, max_prompt_tokens=64, max_tokens=128)
        for each in (config, ModelConfig(str(merged.folder), quantization="none"))
    ]
    assert encoders[0].encode_pairs(preference_pairs) == encoders[1].encode_pairs(preference_pairs)


@pytest.mark.parametrize("recorded", ["instruction", "unknown"])
def test_the_template_of_training_is_written(
    recorded: str, llama_folder: Path, make_adapter: MakeAdapter, load: Load, tmp_path: Path
) -> None:
    """What the adapter's record says it was trained with is used without being asked for; else it is said."""
    adapter, loaded = make_adapter(llama_folder), load(llama_folder)
    own = loaded.tokenizer.chat_template
    ensure_template(loaded.tokenizer, "instruction")
    hashed = content_id(loaded.tokenizer.chat_template) if recorded == "instruction" else "0123"
    record = {"base": {"fingerprint": loaded.fingerprint, "quantization": "nf4", "template": hashed}}
    (adapter / FIXTURE_FILE).write_text(json.dumps(record))

    merged = merge_adapter(str(adapter), tmp_path / "out", dtype="float16", base=str(llama_folder))

    written = load(merged.folder).tokenizer.chat_template
    assert written == (loaded.tokenizer.chat_template if recorded == "instruction" else own)
    assert "was trained on quantization nf4" in merged.notes[0]
    assert ["a chat template that is not the base model's" in note for note in merged.notes[1:]] == (
        [] if recorded == "instruction" else [True]
    )


def test_what_the_base_says_of_itself_stays(gpt2_folder: Path, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """Configuration and generation configuration are the base's, dropout included; only the dtype is another."""
    merged = merge_adapter(str(make_adapter(gpt2_folder)), tmp_path / "out", dtype="float16", base=str(gpt2_folder))

    def content(folder: Path, name: str) -> dict[str, Any]:
        return dict(json.loads((folder / name).read_text()))

    assert content(merged.folder, "config.json") == content(gpt2_folder, "config.json") | {"dtype": "float16"}
    generation = "generation_config.json"
    assert content(merged.folder, generation) == content(gpt2_folder, generation)


def test_the_record_says_what_it_was_made_of(llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """Adapter, base, dtype and versions; the base is the one that the adapter names."""
    adapter = make_adapter(llama_folder)

    merged = merge_adapter(str(adapter), tmp_path / "out", dtype="float16")

    record = json.loads((merged.folder / MERGE_FILE).read_text())
    assert record["base"] == {"name": str(llama_folder), "fingerprint": weights_fingerprint(llama_folder)}
    assert (record["dtype"], record["fingerprint"]) == ("float16", merged.fingerprint)
    assert len(record["adapter"]) == 16
    assert None not in record["versions"].values()
    assert record["trained"] is None  # nothing says how this adapter was trained


def test_a_merged_model_keeps_the_origin_of_its_adapter(
    llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    """What it was trained from, its beta and its rows: measured later, it is held to these."""
    adapter = make_adapter(llama_folder)
    base = {"fingerprint": weights_fingerprint(llama_folder)}
    recipe = {"training": {"method": "dpo", "beta": 0.3}}
    record = {"fingerprint": "a", "start": "b", "base": base, "recipe": recipe}
    (adapter / FIXTURE_FILE).write_text(json.dumps(record))
    (adapter / GROUPS_FILE).write_text("g\n")

    merged = merge_adapter(str(adapter), tmp_path / "out", dtype="float16")

    assert origin_of_model(merged.folder) == origin_of_adapter(adapter)
    assert origin_of_model(merged.folder).start == "b"
    assert origin_of_model(merged.folder).groups == {"g"}


def test_the_same_merge_is_reused(llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """A second call finds it; another dtype, or damaged weights, are not taken for it and nothing is overwritten."""
    adapter, out = str(make_adapter(llama_folder)), tmp_path / "out"
    out.mkdir()
    first = merge_adapter(adapter, out, dtype="float16")

    second = merge_adapter(adapter, out, dtype="float16")

    assert (first.reused, second.reused) == (False, True)
    assert second.fingerprint == first.fingerprint
    with pytest.raises(MergeError, match="must be missing or empty"):
        merge_adapter(adapter, out, dtype="bfloat16")
    weights = load_file(out / "model.safetensors")
    save_file({name: weight * 2 for name, weight in weights.items()}, out / "model.safetensors")
    with pytest.raises(MergeError, match="holds something other"):
        merge_adapter(adapter, out, dtype="float16")


def test_a_file_in_the_way_is_refused(llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """It stays as it was."""
    (tmp_path / "out").write_text("mine")

    with pytest.raises(MergeError, match="choose another folder"):
        merge_adapter(str(make_adapter(llama_folder)), tmp_path / "out", dtype="float16")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_leaves_nothing(
    llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and neither the folder nor half of it."""
    from transformers import PreTrainedModel

    def fail(_self: object, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    adapter = make_adapter(llama_folder)
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", fail)

    with pytest.raises(MergeError, match=r"--out .*out cannot be written .*No space left"):
        merge_adapter(str(adapter), tmp_path / "out", dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_another_base_is_refused(
    llama_folder: Path, gpt2_folder: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    """As when it is measured: by shape."""
    with pytest.raises(AdapterError, match="belongs to another base model"):
        merge_adapter(str(make_adapter(llama_folder)), tmp_path / "out", dtype="float16", base=str(gpt2_folder))
    assert not (tmp_path / "out").exists()


def test_values_beyond_float16_are_refused(llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """Infinities are not written; in bfloat16 the same adapter fits."""
    adapter = make_adapter(llama_folder)
    weights = load_file(adapter / WEIGHTS)
    key = next(name for name in weights if "lora_B" in name)
    save_file(weights | {key: weights[key] * 1e6}, adapter / WEIGHTS)

    with pytest.raises(MergeError, match=r"--dtype float16: .*weight has merged values .*beyond 65504.* bfloat16"):
        merge_adapter(str(adapter), tmp_path / "out", dtype="float16")
    merge_adapter(str(adapter), tmp_path / "out", dtype="bfloat16")


def test_a_tied_weight_is_not_merged(gpt2_folder: Path, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """An adapter of the head alone would change the embeddings too."""
    adapter = make_adapter(gpt2_folder, target_modules=["lm_head"])

    with pytest.raises(MergeError, match=r"the adapter changes lm_head, whose weight .*tied"):
        merge_adapter(str(adapter), tmp_path / "out", dtype="bfloat16")


def test_a_trained_adapter_of_the_embedded_model(load: Load, make_adapter: MakeAdapter, tmp_path: Path) -> None:
    """The base that ships with the project is found by its name, and answers as before apart from rounding."""
    tuned = load_model(ModelConfig(quantization="none"))
    adapter = make_adapter(Path(tuned.base.name_or_path))
    config = json.loads((adapter / CONFIG_FILE).read_text())
    (adapter / CONFIG_FILE).write_text(json.dumps(config | {"base_model_name_or_path": "embedded"}))

    merged = merge_adapter(str(adapter), tmp_path / "out", dtype="bfloat16")

    attach_adapter(tuned, "tuned", str(adapter))
    difference = (probe_logits(load(merged.folder)) - probe_logits(tuned, "tuned")).abs().max()
    assert difference < 0.02 * probe_logits(tuned, "tuned").abs().max()


def test_two_merges_into_one_folder_are_told_at_the_start(
    llama_folder: Path, make_adapter: MakeAdapter, tmp_path: Path
) -> None:
    """The second one is refused before it loads weights; the lock is gone afterwards."""
    adapter, out = make_adapter(llama_folder), tmp_path / "merged"
    with hold(tmp_path / ".merged.lock"), pytest.raises(MergeError, match="another process writes it now"):
        merge_adapter(str(adapter), out, dtype="float16", base=str(llama_folder))
    assert not out.exists()
    merge_adapter(str(adapter), out, dtype="float16", base=str(llama_folder))
    assert not (tmp_path / ".merged.lock").exists()
