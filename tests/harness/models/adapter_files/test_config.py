"""adapter_config.json becomes typed in one place: what is odd there is one line, and nothing behind it meets it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.models.adapter_files.config import AdapterConfig, read_adapter_config, unknown_keys
from harness.models.adapter_files.folder import CONFIG_FILE, AdapterError

PLAIN = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "org/base", "r": 4, "lora_alpha": 8,
    "target_modules": ["q_proj"], "bias": "none", "rank_pattern": {}, "modules_to_save": None, "revision": None,
}  # fmt: skip


def written(folder: Path, **changes: Any) -> Path:
    (folder / CONFIG_FILE).write_text(json.dumps(PLAIN | changes))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(AdapterError) as caught:
        read_adapter_config(folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_configuration_is_what_it_says(tmp_path: Path) -> None:
    """Null stands for what is left out, a fractional alpha is one, and keys without a meaning here are left aside."""
    config = read_adapter_config(written(tmp_path, lora_alpha=2.5, eva_config=None, peft_version="0.17.0"))

    assert config == AdapterConfig(r=4, lora_alpha=2.5, target_modules=("q_proj",), base_model_name_or_path="org/base")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": "8"}, 'r must be a whole number .*, got "8"'),
        ({"r": 1.5}, r"r must be a whole number .*, got 1\.5"),
        ({"r": None}, "r must be a whole number .*, got null"),
        ({"r": True}, "r must be a whole number .*, got true"),
        ({"r": 0}, "r must be a whole number from 1"),
        ({"r": 10**9}, "r must be a whole number .* to 16,384, got 1000000000"),
        ({"rank_pattern": {"q_proj": 10**9}}, r"rank_pattern\.q_proj must be a whole number .* to 16,384"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern must be a mapping"),
        ({"alpha_pattern": {"q_proj": "x"}}, r"alpha_pattern\.q_proj must be a number"),
        ({"lora_alpha": "x"}, 'lora_alpha must be a number .*, got "x"'),
        ({"lora_alpha": None}, "lora_alpha must be a number .*, got null"),
        ({"lora_alpha": 10**400}, "lora_alpha must be a number .*, got 1000"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number .*, got NaN"),
        ({"target_modules": 7}, "target_modules must be .*, got 7"),
        ({"target_modules": ["q_proj", 7]}, "target_modules.* must be .*, got"),
        ({"target_modules": {"q_proj": 1}}, "target_modules must be "),
        ({"base_model_name_or_path": 7}, "base_model_name_or_path must be text, got 7"),
        ({"revision": 2}, "revision must be text, got 2"),
        ({"modules_to_save": "lm_head"}, "modules_to_save must be a list"),
        ({"trainable_token_indices": [-1]}, "trainable_token_indices must be"),
        ({"layers_to_transform": ["a"]}, "layers_to_transform must be"),
        ({"use_dora": "yes"}, 'use_dora must be true or false, got "yes"'),
        ({"fan_in_fan_out": 1}, "fan_in_fan_out must be true or false, got 1"),
        ({"use_dora": True, "lora_bias": True}, "use_dora and lora_bias cannot both be true"),
        ({"target_modules": "q_proj", "layers_to_transform": [1]}, "layers_to_transform .* must be null"),
        ({"layers_pattern": "layers"}, "layers_pattern is given without layers_to_transform"),
        ({"target_modules": "(q_proj"}, r'the pattern "\(q_proj" is no regular expression'),
        ({"rank_pattern": {"(a+)+b": 2}}, "could take for ever"),
        ({"target_modules": ".*.*.*.*.*.*.*x"}, "could take for ever"),
        ({"target_modules": r"(.|\w)?" * 25 + "X"}, "could take for ever"),
        ({"exclude_modules": r"(.|\w)??" * 25 + "X"}, "could take for ever"),
        ({"rank_pattern": {r"(.|\w){0,1}" * 25 + "X": 2}}, "could take for ever"),
        ({"alpha_pattern": {"a?" * 30 + "a" * 30: 2}}, "could take for ever"),
        ({"target_modules": "(a|a)" * 30 + "X"}, "could take for ever"),
        ({"target_modules": "(?i)" + "(ab|AB|aB)" * 30 + "X"}, "could take for ever"),
        ({"target_modules": "(ab|a|b)" * 30 + "X"}, "could take for ever"),
        ({"target_modules": r".*\w" * 8 + "X"}, "could take for ever"),
        ({"target_modules": ".*[a-z]" * 8 + "X"}, "could take for ever"),
        ({"target_modules": "(?=" + ".*e" * 8 + "X)"}, "could take for ever"),
        ({"target_modules": "(?:a{0,9}){9}X"}, "could take for ever"),
        ({"target_modules": r"(.*)\1\1X"}, "could take for ever"),
        ({"modules_to_save": [".*e" * 8 + "X"]}, "could take for ever"),
        ({"rank_pattern": {f".*.*.*{index}": 2 for index in range(99)}}, "could take for ever"),
    ],
)  # fmt: skip
def test_an_odd_value_is_one_line_with_its_key(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Before PEFT reads it, and before memory is taken for it."""
    import re

    assert re.search(message, refusal(written(tmp_path, **changes)))


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.(q|k|v)_proj",
        r"model\.layers\.(0|1|2)\..*(self_attn|mlp)\..*proj",
        r".*decoder.*(SelfAttention|EncDecAttention).*(q|v)$",
        (
            r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward).*?(?:q_proj|k_proj).*?)|"
            r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp)\.(?:(?:q_proj|k_proj)))"
        ),
        r"^(?!.*visual).*(?:q|k|v|o|gate|up|down)_proj.*",
        r"(language_)?model\.layers\.\d+\.mlp\.(gate_|up_|down_)proj",
    ],
)
def test_patterns_that_adapters_are_trained_with_are_taken(pattern: str, tmp_path: Path) -> None:
    """Those of PEFT's guides, of T5 and of tools that write their own."""
    config = read_adapter_config(written(tmp_path, target_modules=pattern, rank_pattern={r".*\.q_proj": 2}))
    assert config.target_modules == pattern


@pytest.mark.parametrize(
    "content", [b"[]", b"{", b"3", b"\xff\xfe", b'{"r": ' + b"[" * 99_999, b'{"r": ' + b"9" * 9999 + b"}", b"null", b""]
)
def test_a_file_that_is_no_object_is_damaged(content: bytes, tmp_path: Path) -> None:
    """A list, half a file, a depth or a number that no configuration has."""
    (tmp_path / CONFIG_FILE).write_bytes(content)
    assert "it is damaged" in refusal(tmp_path)


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    """One of the two ranks would be measured without a word."""
    text = (written(tmp_path) / CONFIG_FILE).read_text(encoding="utf-8")
    (tmp_path / CONFIG_FILE).write_text(text.replace("{", '{"lora_alpha": 8, "lora_alpha": 16, ', 1), encoding="utf-8")
    assert "'lora_alpha' occurs twice" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peft_type": "IA3"}, 'peft_type must be LORA, not "IA3"'),
        ({"peft_type": "PREFIX_TUNING"}, 'not "PREFIX_TUNING": other kinds are not measured'),
        ({"peft_type": "VERA"}, 'not "VERA"'),
        ({"peft_type": "ADALORA"}, 'not "ADALORA"'),
        ({"peft_type": ["LORA"]}, 'not ["LORA"]'),
        ({"peft_type": None}, "no peft_type"),
        ({"peft_type": None, "lora_parameters": {"rank": 8}}, "an adapter of MLX"),
        ({"init_lora_weights": "pissa_niter_16"}, "PiSSA changes the base model's own weights"),
        ({"init_lora_weights": "olora"}, "OLoRA changes"),
        ({"init_lora_weights": "loftq"}, "LoftQ changes"),
        ({"init_lora_weights": "corda"}, "CorDA changes"),
        ({"bias": "all"}, "trained biases change the base model's own weights"),
        ({"bias": "lora_only"}, "trained biases change"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "LoRA on repeated layers"),
        ({"use_qalora": True}, "QALoRA"),
        ({"use_bdlora": {"nblocks": 2}}, "BD-LoRA"),
        ({"arrow_config": {"top_k": 2}}, "Arrow"),
        ({"kasa_config": {"beta": 0.1}}, "KaSA"),
        ({"velora_config": {"num_groups": 2}}, "VeLoRA"),
        ({"monteclora_config": {"num_samples": 2}}, "MonteCLoRA"),
        ({"megatron_config": {"x": 1}}, "Megatron"),
        ({"task_type": "SEQ_CLS"}, 'task_type must be CAUSAL_LM, not "SEQ_CLS"'),
    ],
)  # fmt: skip
def test_a_kind_that_is_not_measured_is_refused_by_name(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    """Each with what it is, not as damaged or foreign."""
    assert named in refusal(written(tmp_path, **changes))


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal", None])
def test_how_the_factors_began_does_not_matter_where_the_base_stayed(start: Any, tmp_path: Path) -> None:
    """The trained factors replace them."""
    peft_config = read_adapter_config(written(tmp_path, init_lora_weights=start)).for_peft()
    assert peft_config.init_lora_weights is True


@pytest.mark.parametrize(
    "pattern",
    [
        r"model\.layers\.\d+\.self_attn\.(q|v)_proj",
        r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:k_proj|q_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.mlp\.up_proj)",
        ".*q_proj",
        "all-linear",
    ],
)
def test_patterns_of_the_field_are_read(pattern: str, tmp_path: Path) -> None:
    """As PEFT and unsloth write them, in no time."""
    started = time.monotonic()
    assert read_adapter_config(written(tmp_path, target_modules=pattern)).target_modules == pattern
    assert time.monotonic() - started < 1


def test_a_base_has_its_revision_behind_it(tmp_path: Path) -> None:
    """Unless it is a folder of this disk, which has none."""
    assert read_adapter_config(written(tmp_path, revision="v2")).base == "org/base@v2"
    local = written(tmp_path, revision="v2", base_model_name_or_path=str(tmp_path))
    assert read_adapter_config(local).base == str(tmp_path)


def test_keys_of_another_release_are_told(tmp_path: Path) -> None:
    """Those with a value, because PEFT leaves them aside."""
    assert unknown_keys(written(tmp_path, use_tomorrow=True, off=False, nothing=None)) == ["use_tomorrow"]
