"""Whatever stands in adapter_config.json or config.json: it gives numbers, or one line; never a traceback."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from fuzzing import FUZZED, N_INPUTS
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from harness.config.schema import ModelConfig
from harness.models.adapter_files.folder import CONFIG_FILE
from harness.models.adapters import attach_adapter, detach_adapters, probe_logits
from harness.models.base import LoadedModel, load_model
from reports.errors import UserError

_SECONDS, _BYTES = 10, 2 * 2**30
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([10**9, 10**30, 10**400, -1, 1.5, "8", "q_proj", "\ud83d", "x\n\x1b[31my", "(a+)+$", "a" * 9999]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=5,
)
_BROKEN = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"[" * 9999, b'{"a": ' * 9999, b"[]", b"null", b'{"r": ' + b"9" * 9999])
)
_MODULES = st.sampled_from(
    ["q_proj", "embed_tokens", "lm_head", "layers.1.mlp.up_proj", "norm", "nothing", "all-linear", ".*", ".*_proj", ""]
)
_ADAPTER_KEYS = st.sampled_from(
    ["peft_type", "task_type", "r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern",
     "modules_to_save", "trainable_token_indices", "target_parameters", "layers_to_transform", "layers_pattern",
     "fan_in_fan_out", "use_rslora", "use_dora", "lora_bias", "bias", "init_lora_weights", "ensure_weight_tying",
     "base_model_name_or_path", "revision", "inference_mode", "lora_dropout", "loftq_config", "eva_config",
     "corda_config", "megatron_config", "layer_replication", "use_qalora", "auto_mapping", "runtime_config", "tomorrow"]
)  # fmt: skip
_ADAPTER_VALUES = st.one_of(
    _VALUES,
    _MODULES,
    st.booleans(),
    st.lists(_MODULES, max_size=3),
    st.lists(st.integers(0, 500), max_size=3),
    st.dictionaries(_MODULES, st.integers(0, 9) | st.lists(st.integers(0, 500), max_size=2), max_size=2),
    st.sampled_from(["LORA", "IA3", "none", "all", "pissa", "gaussian", "CAUSAL_LM", "SEQ_CLS", 4, 8]),
)


@contextmanager
def bounded() -> Iterator[None]:
    """The block takes neither much time nor much memory, whatever comes of it."""
    started, before = time.monotonic(), psutil.Process().memory_info().rss
    yield
    assert time.monotonic() - started < _SECONDS
    assert psutil.Process().memory_info().rss - before < _BYTES


def assert_one_line(error: UserError) -> None:
    """The message is what a terminal shows as one line, of a length that people read."""
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 2000


@pytest.fixture(scope="module")
def llama(llama_folder: Path) -> LoadedModel:
    """A base that every adapter is put on and taken off again."""
    return load_model(ModelConfig(str(llama_folder), quantization="none"))


@pytest.fixture(scope="module")
def adapter(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter by PEFT, whose configuration is written anew for every input."""
    import peft
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter")
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(llama_folder), config).save_pretrained(folder)
    (folder / "right.json").write_text((folder / CONFIG_FILE).read_text())
    return folder


@pytest.mark.slow
@seed(15)
@FUZZED
@given(changes=st.dictionaries(_ADAPTER_KEYS, _ADAPTER_VALUES, max_size=3), broken=st.none() | st.none() | _BROKEN)
def test_any_adapter_config_gives_numbers_or_one_line(
    changes: dict[str, Any], broken: bytes | None, llama: LoadedModel, adapter: Path
) -> None:
    """One to three keys of another value, and bytes that are no configuration; the base is whole afterwards."""
    right = json.loads((adapter / "right.json").read_text())
    (adapter / CONFIG_FILE).write_bytes(broken or json.dumps(right | changes).encode())
    with bounded():
        try:
            attach_adapter(llama, "tuned", str(adapter))
            assert probe_logits(llama, "tuned").shape[1] == llama.n_embeddings
        except UserError as error:
            assert_one_line(error)
        detach_adapters(llama)
    assert not [module for module in llama.base.modules() if type(module).__module__.startswith("peft")]


_MODEL_VALUES = st.one_of(
    _VALUES,
    st.sampled_from(
        ["llama", "gpt2", "mistral", "qwen2", "mamba", "bert", "silu", "gelu", "float32", "bfloat16", 1e308]
    ),
    st.sampled_from([2, 4, 8, 16, 32, 64, 256, 400, 1_000_000, 2**31, 2**40]),
)


@pytest.fixture(scope="module", params=["llama_folder", "gpt2_folder"])
def model_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose configuration is written anew for every input."""
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(request.getfixturevalue(request.param), folder)
    shutil.copyfile(folder / "config.json", folder / "right")
    return folder


@pytest.mark.slow
@seed(15)
@settings(FUZZED, max_examples=N_INPUTS // 2)
@given(data=st.data(), n_changes=st.integers(1, 3), broken=st.none() | st.none() | st.none() | _BROKEN)
def test_any_model_config_gives_numbers_or_one_line(
    data: st.DataObject, n_changes: int, broken: bytes | None, model_folder: Path
) -> None:
    """One to three keys of another value or left out, and bytes that are no configuration, for two families."""
    content = json.loads((model_folder / "right").read_text())
    keys = [*sorted(content), "layer_types", "sliding_window", "quantization_config", "text_config", "num_labels"]
    for _ in range(n_changes):
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or key not in content:
            content[key] = data.draw(_MODEL_VALUES)
        else:
            del content[key]
    (model_folder / "config.json").write_bytes(broken or json.dumps(content).encode())
    with bounded():
        try:
            loaded = load_model(ModelConfig(str(model_folder), quantization="none"))
            with torch.no_grad():
                assert loaded.base(torch.tensor([[1, 2, 3]])).logits.shape[:2] == (1, 3)
        except UserError as error:
            assert_one_line(error)
