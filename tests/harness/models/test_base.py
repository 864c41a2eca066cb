"""A model configuration becomes the weights, dtype, device and tokenizer it says, or one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from harness.config.schema import ModelConfig
from harness.models.base import (
    BASELINE,
    LoadedModel,
    choose_device,
    ensure_pad_token,
    load_model,
    stored_dtype,
)
from harness.models.base_files.folder import ModelError, locate_weights, weights_fingerprint
from harness.models.hub import HubUnreachable

Load = Callable[..., LoadedModel]


@pytest.fixture
def copied(llama_folder: Path, tmp_path: Path) -> Path:
    """A copy of the Llama that a test may spoil."""
    return Path(shutil.copytree(llama_folder, tmp_path / "llama"))


def test_a_folder_is_loaded_as_it_is(llama_folder: Path, load: Load) -> None:
    """Unquantised on a CPU: the very weights in float32, frozen, in evaluation mode, with its own template."""
    from transformers import AutoModelForCausalLM

    loaded = load(llama_folder)
    plain = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32).state_dict()

    assert all(torch.equal(weight, plain[name]) for name, weight in loaded.base.state_dict().items())
    assert (loaded.device, loaded.dtype, loaded.quantization) == ("cpu", "float32", "none")
    assert (loaded.name, loaded.template, loaded.max_positions) == (str(llama_folder.resolve()), "model", 256)
    assert not loaded.base.training
    assert not any(weight.requires_grad for weight in loaded.base.parameters())


def test_gpt2_gets_the_instruction_template_and_pads_with_eos(gpt2_folder: Path, load: Load) -> None:
    """A tokenizer without template and padding token is given both, and says so; nothing is resized."""
    loaded = load(gpt2_folder)

    assert loaded.template == "instruction"
    assert loaded.pad_token_id == loaded.tokenizer.eos_token_id == loaded.base.config.pad_token_id
    assert loaded.notes == ["The tokenizer has no padding token; EOS is used, hidden by the attention mask."]
    assert loaded.base.get_input_embeddings().num_embeddings == len(loaded.tokenizer)


def test_no_dropout_is_left_in_the_base(gpt2_folder: Path, load: Load) -> None:
    """GPT-2's own 0.1 is off, so that in training mode too a forward is the same twice."""
    model = load(gpt2_folder).base.train()
    token_ids = torch.tensor([[1, 2, 3]])

    assert torch.equal(model(token_ids).logits, model(token_ids).logits)
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}


def test_nf4_is_double_quantised(llama_folder: Path, load: Load) -> None:
    """What stays unquantised has the dtype that was asked for."""
    loaded = load(llama_folder, quantization="nf4", compute_dtype="bfloat16")
    projection = loaded.base.model.layers[0].mlp.up_proj

    assert (projection.weight.quant_state.quant_type, projection.weight.quant_state.nested) == ("nf4", True)
    assert projection.compute_dtype == torch.bfloat16
    assert loaded.base.lm_head.weight.dtype == torch.float32


def test_the_embedded_model_loads() -> None:
    """The default configuration needs no network: the model that ships with the project."""
    loaded = load_model(ModelConfig())

    assert (loaded.name, loaded.quantization, loaded.template) == ("embedded", "nf4", "model")


def test_a_subject_block_gives_the_mode_back(llama_folder: Path, load: Load) -> None:
    """Measured in evaluation mode, afterwards in the mode it was in; an unknown name is a KeyError."""
    loaded = load(llama_folder)
    loaded.base.train()
    with loaded.subject(BASELINE) as model:
        assert not model.training

    assert loaded.base.training
    with pytest.raises(KeyError, match="no subject 'candidate'"), loaded.subject("candidate"):
        pass


def test_the_fingerprint_is_of_weights_not_of_places(llama_folder: Path, copied: Path) -> None:
    """A copy has the same one; other weights or another configuration have another."""
    assert weights_fingerprint(copied) == weights_fingerprint(llama_folder)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    assert weights_fingerprint(copied) != weights_fingerprint(llama_folder)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nowhere/", "~/nowhere"])
def test_a_path_that_is_not_there_never_asks_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can only be a path fails at once and says what is allowed."""
    monkeypatch.setattr("harness.models.base_files.folder.fetch", lambda *_a, **_k: pytest.fail("the hub was asked"))

    with pytest.raises(ModelError, match=f"model.name: there is no folder '{name}'; give a folder, a hub id"):
        load_model(ModelConfig(name=name))


def test_a_hub_id_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the folder alternative and the offline switch."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    with pytest.raises(HubUnreachable, match=r"^model.name 'some/model' is not a local folder .*HF_HUB_OFFLINE=1.*$"):
        load_model(ModelConfig(name="some/model"))


def test_a_hub_id_keeps_its_name(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched is loaded from its folder and called by its id; the revision is passed on."""
    asked = {}

    def fetched(_what: str, repository: str, **options: object) -> Path:
        asked.update(options, repository=repository)
        return llama_folder

    monkeypatch.setattr("harness.models.base_files.folder.fetch", fetched)

    assert load_model(ModelConfig(name="some/model", revision="v1", quantization="none")).name == "some/model"
    assert (asked["repository"], asked["revision"]) == ("some/model", "v1")
    assert "*.bin" not in str(asked["patterns"])


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickled(folder: Path) -> None:
    _without_weights(folder)
    torch.save({}, folder / "pytorch_model.bin")


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _adapter_only(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def _adapter_beside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def _without_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _cut_off(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


def _without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _quantised_already(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    quantization = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))


def _unknown_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "m.C"},
    }
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_weights, "has no weights"),
        (_pickled, "model.allow_pickled_weights=true"),
        (_without_config, "has no config.json; give the folder of a model"),
        (_adapter_only, "give it with --adapter"),
        (_adapter_beside, "also holds an adapter"),
        (_without_a_tensor, "lack 1 tensors .*up_proj.* initialised at random"),
        (_cut_off, "cannot be loaded"),
        (_without_tokenizer, "its tokenizer"),
        (_quantised_already, "already quantised"),
        (_unknown_architecture, "describes no model that can be built|tokenizer cannot be"),
    ],
)
def test_a_folder_that_will_not_do_is_one_line(copied: Path, spoil: Callable[[Path], None], message: str) -> None:
    """Every way to be no model folder names the field and the folder, in one line."""
    spoil(copied)

    with pytest.raises(ModelError, match=message) as caught:
        load_model(ModelConfig(name=str(copied), quantization="none"))
    assert str(copied) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_weights_load_where_they_are_allowed(copied: Path, load: Load, llama_folder: Path) -> None:
    """The explicit option loads what safetensors would have given."""
    from safetensors.torch import load_file

    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    _without_weights(copied)

    weights = load(copied, allow_pickled_weights=True).base.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in load(llama_folder).base.state_dict().items())


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto is a GPU where there is one; what is not there is said."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(ModelError, match="finds no 'cuda' device"):
        choose_device("cuda")
    with pytest.raises(ModelError, match=r"must be one of auto, cpu, cuda, mps, not 'cuda:1'; .*CUDA_VISIBLE_DEVICES"):
        choose_device("cuda:1")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"


def test_a_padding_token_of_its_own_is_found(gpt2_folder: Path) -> None:
    """A special token that speaks of padding, else the unknown token, is taken before EOS."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gpt2_folder)
    tokenizer.add_special_tokens({"unk_token": "<unk>"})
    assert ensure_pad_token(tokenizer, 500) == []
    assert tokenizer.pad_token == "<unk>"

    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|right_pad_id|>"]})
    assert ensure_pad_token(tokenizer, 500) == []
    assert tokenizer.pad_token == "<|right_pad_id|>"
    n_embeddings = tokenizer.pad_token_id
    assert ensure_pad_token(tokenizer, n_embeddings) == []
    assert tokenizer.pad_token == "<unk>"  # the other one has no embedding


def test_a_full_model_on_the_cpu_is_float32_whatever_gpu_the_machine_has(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its half precision is kept on the device that is used, and a CPU computes every stored value in float32."""
    shutil.copytree(llama_folder, tmp_path / "half")
    config = json.loads((tmp_path / "half" / "config.json").read_text()) | {"dtype": "float16"}
    (tmp_path / "half" / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    dtypes = {device: stored_dtype(str(tmp_path / "half"), device) for device in ("cpu", "cuda", "auto")}

    assert dtypes == {"cpu": "auto", "cuda": "float16", "auto": "float16"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert stored_dtype(str(tmp_path / "half"), "auto") == "auto"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("evil.bin", "names evil.bin, which is not safetensors"),
        ("../model.safetensors", "which is no file of its folder"),
        ("sub/model.safetensors", "which is no file of its folder"),
        ("gone.safetensors", "which is no file of its folder"),
        ("x\x1b[2J.bin", r"names x\\x1b\[2J\.bin, which is no file"),
    ],
)
def test_an_index_names_safetensors_of_its_own_folder_alone(copied: Path, named: str, message: str) -> None:
    """Whatever it names would be opened: a pickle, or weights that no fingerprint covers."""
    (copied / "evil.bin").write_bytes(b"pickle")
    index = copied / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": named}}))
    with pytest.raises(ModelError, match=message):
        locate_weights(ModelConfig(str(copied)))
    index.write_text("[" * 9999)
    with pytest.raises(ModelError, match="does not say which file holds which weight"):
        locate_weights(ModelConfig(str(copied)))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ['{"a": ' + "[" * 100_000, '{"a": ' + "9" * 9999 + "}", "\udcff", "{"])
def test_a_damaged_file_beside_the_weights_is_one_line(copied: Path, name: str, content: str) -> None:
    """Found by one look at all of them, before a library reads one."""
    (copied / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=rf"{name} cannot be read: .*; it is damaged") as caught:
        locate_weights(ModelConfig(str(copied)))
    assert "\n" not in str(caught.value)
