"""Adapters sit beside each other on one base, leave no trace when off, and belong where they say."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from harness.models.adapter_files.folder import (
    CARD_FILE,
    CONFIG_FILE,
    FIXTURE_FILE,
    GROUPS_FILE,
    WEIGHTS_FILE,
    AdapterError,
)
from harness.models.adapters import attach_adapter, base_of_adapter, detach_adapters, is_of_base, probe_logits
from harness.models.base import BASELINE, LoadedModel
from harness.models.templates import TEMPLATE_FILES
from harness.training.recipe import EncodedRows, Recipe

Load = Callable[..., LoadedModel]


@pytest.fixture(scope="module")
def trained(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the Llama, written by PEFT alone, with both factors away from 0."""
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("adapter")
    base = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(base, config).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "adapter"))


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | changes))


def scale_weights(folder: Path, factor: float) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    save_file({name: weight * factor for name, weight in weights.items()}, folder / WEIGHTS_FILE)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_the_baseline_is_untouched_by_adapters(
    quantization: str, llama_folder: Path, adapter: Path, load: Load, tmp_path: Path
) -> None:
    """With two adapters attached the baseline's logits are those before, bit for bit, whoever had a turn."""
    loaded = load(llama_folder, quantization=quantization)
    other = Path(shutil.copytree(adapter, tmp_path / "other"))
    scale_weights(other, 0.5)
    before = probe_logits(loaded)

    assert attach_adapter(loaded, "lr=1e-5", str(adapter)) == []
    assert attach_adapter(loaded, "lr=5.0e-6", str(other)) == []

    first, second = probe_logits(loaded, "lr=1e-5"), probe_logits(loaded, "lr=5.0e-6")
    assert torch.equal(probe_logits(loaded), before)
    assert torch.equal(probe_logits(loaded, "lr=1e-5"), first)
    assert not torch.equal(first, before)
    assert not torch.equal(first, second)
    detach_adapters(loaded)
    assert torch.equal(probe_logits(loaded), before)


def test_a_candidate_is_peft_s_own(llama_folder: Path, adapter: Path, load: Load) -> None:
    """Logits of the candidate equal those of PEFT's own way to load the adapter."""
    from peft import PeftModel

    loaded = load(llama_folder)
    attach_adapter(loaded, "tuned", str(adapter))
    alone = PeftModel.from_pretrained(load(llama_folder).base, adapter)
    token_ids = torch.tensor([[1, 5, 9, 33]])
    with torch.no_grad(), loaded.subject("tuned") as model:
        assert torch.equal(model(token_ids).logits, alone(token_ids).logits)


def test_blocks_nest(llama_folder: Path, adapter: Path, load: Load) -> None:
    """A baseline inside a candidate is the baseline, afterwards the candidate is back; all weights are frozen."""
    loaded = load(llama_folder)
    attach_adapter(loaded, "tuned", str(adapter))
    token_ids = torch.tensor([[1, 5, 9, 33]])
    with torch.no_grad():
        baseline = loaded.base(token_ids).logits
        with loaded.subject("tuned") as model:
            tuned = model(token_ids).logits
            with loaded.subject(BASELINE) as inner:
                assert torch.equal(inner(token_ids).logits, baseline)
            assert torch.equal(model(token_ids).logits, tuned)
        assert torch.equal(loaded.base(token_ids).logits, baseline)

    assert not torch.equal(tuned, baseline)
    assert not any(weight.requires_grad for weight in loaded.base.parameters())


def test_a_name_stands_for_one_subject(llama_folder: Path, adapter: Path, load: Load) -> None:
    """Neither the baseline's name nor one in use can be given again."""
    loaded = load(llama_folder)
    attach_adapter(loaded, "tuned", str(adapter))
    for name in (BASELINE, "tuned"):
        with pytest.raises(ValueError, match=f"there is a subject '{name}' already"):
            attach_adapter(loaded, name, str(adapter))


def test_an_untrained_adapter_is_legal_and_said(llama_folder: Path, adapter: Path, load: Load) -> None:
    """Logits that do not change are a note, not an error."""
    scale_weights(adapter, 0.0)

    assert attach_adapter(load(llama_folder), "idle", str(adapter)) == [
        "The adapter of 'idle' changes nothing: its logits are the baseline's own, bit for bit."
    ]


def test_a_base_of_another_name_is_taken_at_the_users_word(
    llama_folder: Path, adapter: Path, load: Load, tmp_path: Path
) -> None:
    """With a line, also where the folder has the same last name; none where it is the folder that the adapter names."""
    renamed = Path(shutil.copytree(llama_folder, tmp_path / "elsewhere" / llama_folder.name))
    assert attach_adapter(load(llama_folder), "tuned", str(adapter)) == []
    assert is_of_base(load(llama_folder), str(adapter))

    (note,) = attach_adapter(load(renamed), "tuned", str(adapter))

    assert not is_of_base(load(renamed), str(adapter))

    assert note == (
        f"The adapter {str(adapter)!r} names the base model {llama_folder} and is measured on {renamed}, as was asked "
        f"for: only their shapes are known to be alike."
    )


def test_another_revision_than_the_adapters_is_said(llama_folder: Path, adapter: Path, load: Load) -> None:
    """The revision that it names is no note; main and no revision are one."""
    change_config(adapter, base_model_name_or_path="org/base", revision="v2")
    loaded = load(llama_folder)
    loaded.name, loaded.revision = "org/base", None
    (note,) = attach_adapter(loaded, "on main", str(adapter))
    assert "names the base model org/base@v2 and is measured on org/base, as was asked for" in note
    loaded.revision = "v2"
    assert attach_adapter(loaded, "on v2", str(adapter)) == []
    change_config(adapter, revision="main")
    loaded.revision = None
    assert attach_adapter(loaded, "main", str(adapter)) == []


@pytest.mark.parametrize("base", ["./gone", "/gone/for/ever", "org/gone@v2"])
def test_a_base_that_is_gone_is_said_with_the_way_out(
    base: str, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that names the adapter, its base and --model."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    name, _, revision = base.partition("@")
    change_config(adapter, base_model_name_or_path=name, revision=revision or None)
    with pytest.raises(AdapterError, match=rf"names the base model '{base}', which cannot .*; give the same .*--model"):
        base_of_adapter(str(adapter))


def test_a_fixture_is_refused_by_its_weights(llama_folder: Path, adapter: Path, load: Load) -> None:
    """fixture.json speaks before names do: other weights of the same name are refused, another quantisation is said."""
    loaded = load(llama_folder)
    (adapter / FIXTURE_FILE).write_text(json.dumps({"base": {"fingerprint": "0123", "quantization": "none"}}))
    with pytest.raises(AdapterError, match=f"they hash to 0123, and these to {loaded.fingerprint}"):
        attach_adapter(loaded, "tuned", str(adapter))

    base = {"fingerprint": loaded.fingerprint, "quantization": "nf4"}
    (adapter / FIXTURE_FILE).write_text(json.dumps({"base": base}))
    change_config(adapter, base_model_name_or_path="moved/elsewhere")
    assert attach_adapter(loaded, "tuned", str(adapter)) == [
        f"The adapter {str(adapter)!r} was trained on quantization nf4 and is measured on none."
    ]


@pytest.mark.parametrize("attached_before", [False, True])
def test_an_adapter_that_does_not_fit_leaves_nothing(
    attached_before: bool, gpt2_folder: Path, wide_llama_folder: Path, llama_folder: Path, adapter: Path, load: Load,
    trained: Path,
) -> None:  # fmt: skip
    """Claimed for this base, but of other shapes or other modules: an error, with the model as it was before."""
    shapes = (
        r"in adapter_model\.safetensors a tensor of model\.layers\.\d\..* has shape \[32, 4\], where '.*' needs "
        r"\[64, 4\]; give the base that it was trained on with --model$"
    )
    reasons = {wide_llama_folder: shapes, gpt2_folder: "it does not fit"}
    for folder, reason in reasons.items():
        loaded = load(folder)
        before = probe_logits(loaded)
        change_config(adapter, base_model_name_or_path=loaded.name)
        with pytest.raises(AdapterError, match=f"belongs to another base model: {reason}"):
            attach_adapter(loaded, "tuned", str(adapter))
        assert torch.equal(probe_logits(loaded), before)

    loaded = load(llama_folder)
    if attached_before:
        attach_adapter(loaded, "right", str(trained))
    before = probe_logits(loaded, "right") if attached_before else probe_logits(loaded)
    change_config(adapter, base_model_name_or_path=loaded.name, r=8)
    with pytest.raises(AdapterError, match="names rank 8, but its weights have rank 4 at most"):
        attach_adapter(loaded, "wrong", str(adapter))
    assert torch.equal(probe_logits(loaded, "right") if attached_before else probe_logits(loaded), before)


def test_a_base_that_was_changed_since_is_said_so(llama_folder: Path, adapter: Path, load: Load) -> None:
    """Where both have one name, the line does not say that it belongs to X and not to X."""
    loaded = load(llama_folder)
    change_config(adapter, base_model_name_or_path=loaded.name)
    (adapter / FIXTURE_FILE).write_text(json.dumps({"base": {"fingerprint": "0123"}}))
    with pytest.raises(AdapterError, match=r"was trained on other weights of .* at another revision") as caught:
        attach_adapter(loaded, "tuned", str(adapter))
    assert "not to" not in str(caught.value)


def test_weights_without_a_place_or_missing_are_refused(llama_folder: Path, adapter: Path, load: Load) -> None:
    """PEFT would load what fits and leave the rest at random."""
    weights = load_file(adapter / WEIGHTS_FILE)
    name = next(iter(weights))
    save_file({key: weight for key, weight in weights.items() if key != name}, adapter / WEIGHTS_FILE)
    with pytest.raises(AdapterError, match="tensors that are missing or have no place"):
        attach_adapter(load(llama_folder), "tuned", str(adapter))

    save_file(weights | {name.replace("layers.0", "layers.7"): weights[name].clone()}, adapter / WEIGHTS_FILE)
    with pytest.raises(AdapterError, match=r"layers\.7"):
        attach_adapter(load(llama_folder), "tuned", str(adapter))


def test_weights_that_cannot_be_read_are_one_line(llama_folder: Path, adapter: Path, load: Load) -> None:
    """A file that was cut off is damaged, not foreign."""
    (adapter / WEIGHTS_FILE).write_bytes((adapter / WEIGHTS_FILE).read_bytes()[:100])
    loaded = load(llama_folder)

    with pytest.raises(AdapterError, match=f"{WEIGHTS_FILE} cannot be read .* damaged"):
        attach_adapter(loaded, "tuned", str(adapter))
    assert loaded.adapters is None


def test_an_adapter_that_changes_the_base_is_refused(llama_folder: Path, adapter: Path, load: Load) -> None:
    """PiSSA takes a part of the base's weights away, so that nothing is left to compare with."""
    change_config(adapter, init_lora_weights="pissa")

    with pytest.raises(AdapterError, match="changes the base model's own weights"):
        attach_adapter(load(llama_folder), "tuned", str(adapter))


def test_the_base_is_read_from_the_adapter(llama_folder: Path, adapter: Path) -> None:
    """As its own configuration names it; a configuration without a name is an error that says what to do."""
    assert base_of_adapter(str(adapter)) == str(llama_folder)
    change_config(adapter, base_model_name_or_path=None)
    with pytest.raises(AdapterError, match=r"names no base model .* give one with --model"):
        base_of_adapter(str(adapter))


def test_an_adapter_without_a_named_base_is_taken_at_its_shapes(llama_folder: Path, adapter: Path, load: Load) -> None:
    """It fits or it does not; that nothing more is known is said."""
    change_config(adapter, base_model_name_or_path=None)

    assert attach_adapter(load(llama_folder), "tuned", str(adapter)) == [
        f"The adapter {str(adapter)!r} does not name its base model; its shapes fit this one."
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read .* damaged"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_a_configuration_that_will_not_do_is_one_line(adapter: Path, content: str, message: str) -> None:
    """The file is named."""
    (adapter / CONFIG_FILE).write_text(content)

    with pytest.raises(AdapterError, match=f"{CONFIG_FILE}.*{message}"):
        base_of_adapter(str(adapter))


def test_what_is_no_adapter_folder_is_one_line(adapter: Path) -> None:
    """A path that is not there, a file, a folder without weights."""
    with pytest.raises(AdapterError, match=r"'./nowhere' is not a folder"):
        base_of_adapter("./nowhere")
    with pytest.raises(AdapterError, match="is not a folder"):
        base_of_adapter(str(adapter / CONFIG_FILE))
    (adapter / WEIGHTS_FILE).unlink()
    with pytest.raises(AdapterError, match=f"has no {WEIGHTS_FILE}"):
        base_of_adapter(str(adapter))


def test_an_adapter_may_come_from_the_hub(llama_folder: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two files are fetched, with the record, the card and the template that it was trained with, and no more."""
    asked = {}

    def fetched(_what: str, repository: str, **options: object) -> Path:
        asked.update(options, repository=repository)
        return adapter

    monkeypatch.setattr("harness.models.adapter_files.folder.fetch", fetched)

    assert base_of_adapter("some/adapter") == str(llama_folder)
    files = (CONFIG_FILE, WEIGHTS_FILE, FIXTURE_FILE, GROUPS_FILE, CARD_FILE, *TEMPLATE_FILES)
    assert asked == {"repository": "some/adapter", "revision": None, "patterns": files, "folder": ""}


def test_a_trained_adapter_attaches_to_its_base(
    llama_folder: Path, load: Load, encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    train: Callable[..., object], tmp_path: Path,
) -> None:  # fmt: skip
    """What training saved names its base as it was loaded, and changes what the model says."""
    loaded = load(llama_folder)
    train(loaded, encode(loaded), recipe)

    assert base_of_adapter(str(tmp_path / "adapter")) == loaded.name
    assert attach_adapter(loaded, "tuned", str(tmp_path / "adapter")) == []


@pytest.mark.parametrize("changes", [{"r": 9999}, {"rank_pattern": {"q_proj": 9999}}, {"r": 9999, "lora_alpha": 1}])
def test_a_rank_that_the_weights_do_not_have_is_refused_before_memory_is_taken(
    llama_folder: Path, adapter: Path, load: Load, changes: dict[str, object]
) -> None:
    """PEFT would make room for the rank that the configuration names, and look at the weights afterwards."""
    change_config(adapter, **changes)
    with pytest.raises(AdapterError, match=r"names rank 9999, but its weights have rank \d+ at most"):
        attach_adapter(load(llama_folder), "dpo", str(adapter))


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_an_adapter_that_was_changed_since_it_was_trained_is_refused(
    llama_folder: Path, adapter: Path, load: Load, name: str
) -> None:
    """A flipped bit, or a number that was edited, beside a record with the checksums of both files."""
    loaded = load(llama_folder)
    files = {each: hashlib.sha256((adapter / each).read_bytes()).hexdigest() for each in (CONFIG_FILE, WEIGHTS_FILE)}
    base = {"fingerprint": loaded.fingerprint, "quantization": "none"}
    (adapter / FIXTURE_FILE).write_text(json.dumps({"base": base, "files": files}))
    attach_adapter(loaded, "whole", str(adapter))
    content = bytearray((adapter / name).read_bytes())
    content[-3] ^= 1
    (adapter / name).write_bytes(content)
    with pytest.raises(AdapterError, match=rf"{name} is not as it was trained|it is damaged"):
        attach_adapter(loaded, "flipped", str(adapter))


@pytest.mark.parametrize("record", ['{"base": "x"}', '{"base": {}, "files": []}', '{"base": ' + "[" * 9999, "9" * 9999])
def test_a_record_of_odd_types_is_one_line(llama_folder: Path, adapter: Path, load: Load, record: str) -> None:
    """Texts for mappings, a depth that no record has, a number of thousands of digits."""
    (adapter / FIXTURE_FILE).write_text(record)
    with pytest.raises(AdapterError, match="it is damaged") as caught:
        attach_adapter(load(llama_folder), "dpo", str(adapter))
    assert "\n" not in str(caught.value)
