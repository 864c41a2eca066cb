"""Every preset runs to a report on small models of its architecture and real rows, on a CPU."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config.load import load_experiment, preset_names

pytestmark = pytest.mark.slow

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As Qwen2's tokenizer has it."""
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""As TinyLlama's tokenizer has it."""
SPECIAL_TOKENS = {
    "qwen2": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "llama3": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "tinyllama": ("<unk>", "<s>", "</s>"),
    "gpt2": ("<|endoftext|>",),
    "smollm2": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
}


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory, train_tokenizer: Callable[..., Any]) -> Callable[[str], Path]:
    """Makes a small model with random weights and the tokenizer habits of a family: "qwen2", "llama3", ..."""
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        names = SPECIAL_TOKENS[family]
        bos, eos, template = {
            "qwen2": (None, "<|im_end|>", CHATML),
            "llama3": ("<|begin_of_text|>", "<|eot_id|>", LLAMA_3),
            "tinyllama": ("<s>", "</s>", ZEPHYR),
            "gpt2": ("<|endoftext|>", "<|endoftext|>", None),
            "smollm2": ("<|im_start|>", "<|im_end|>", CHATML),
        }[family]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=train_tokenizer(names, 600), bos_token=bos, eos_token=eos, model_max_length=1024
        )
        tokenizer.chat_template = template
        torch.manual_seed(0)
        sizes = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        if family == "gpt2":
            model: Any = GPT2LMHeadModel(
                GPT2Config(vocab_size=len(tokenizer), n_embd=64, n_layer=2, n_head=4, n_positions=1024, **ids)
            )
        elif family == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=True, **ids))
        else:
            model = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=family == "smollm2", **ids))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def run_preset(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains and measures a preset as the command line does, and hands out its run folder."""

    def run(preset: str, model: Path | str, *options: str | Path) -> Path:
        workspace = tmp_path_factory.mktemp(preset)
        harness(
            "train-and-eval", "--suite", "alignment", "--preset", preset, "-o", f"model.name={model}",
            "--data-root", data_root, "-o", "training.max_steps=20", "--workspace", workspace, "--limit", "16",
            "-o", "data.roles.prompts.limit=4", "-o", "training.gradient_accumulation_steps=1", *options,
        )  # fmt: skip
        (folder,) = (workspace / "runs").iterdir()
        return folder

    return run


def harness(*arguments: str | Path) -> str:
    """Runs the command line in a process of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        env=os.environ | {"HARNESS_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def subjects(run: Path) -> list[str]:
    """Baseline and candidates of a run, in order; surface rulers left out."""
    records = json.loads((run / "run.json").read_text())
    return [subject["name"] for subject in records["subjects"] if subject["kind"] != "ruler"]


def rows(run: Path) -> list[dict[str, str]]:
    """Rows of the CSV report."""
    with (run / "report.csv").open() as file:
        return list(csv.DictReader(file))


def trained_steps(run: Path) -> dict[str, int]:
    """Candidate -> the last step of its training."""
    log = [json.loads(line) for line in (run / "training.jsonl").read_text().splitlines()]
    return {row["candidate"]: row["step"] for row in log}


def test_the_presets_of_the_field_are_all_there() -> None:
    """Each is an experiment that loads, under its own name."""
    assert {load_experiment(name).name for name in preset_names()} == set(preset_names())
    assert {
        "qwen2-0.5b-ultrafeedback", "gpt2-124m-hh", "tinyllama-reviewer2", "tinyllama-reviewer2-kto", "llama3-8b-orca",
        "sft-then-dpo", "smollm2-135m-ultrafeedback",
    } <= set(preset_names())  # fmt: skip


def test_qwen2_ultrafeedback(run_preset: Callable[..., Path], small_model: Callable[[str], Path]) -> None:
    """QLoRA on UltraFeedback: NF4, twenty steps, sampled answers of both subjects to the same prompts."""
    run = run_preset("qwen2-0.5b-ultrafeedback", small_model("qwen2"), "-o", "answers.max_new_tokens=12")
    records = json.loads((run / "run.json").read_text())
    answers = [json.loads(line) for line in (run / "generations.jsonl").read_text().splitlines()]

    assert subjects(run) == ["baseline", "adapter"]
    assert records["config"]["model"]["quantization"] == "nf4"
    assert trained_steps(run) == {"adapter": 20}
    assert {row["prompt"] for row in answers if row["subject"] == "baseline"} == {
        row["prompt"] for row in answers if row["subject"] == "adapter"
    }


def test_smollm2_ultrafeedback_sweeps_beside_its_controls(
    run_preset: Callable[..., Path], small_model: Callable[[str], Path]
) -> None:
    """Two learning rates with a winner, and both controls at one rate; all share one check of the packed engine."""
    run = run_preset(
        "smollm2-135m-ultrafeedback", small_model("smollm2"), "--sweep", "training.learning_rate=0.0001,0.0003",
        "--controls", "sft,shuffled", "-o", "training.batch_size=2", "-o", "answers.max_new_tokens=12",
    )  # fmt: skip
    records = json.loads((run / "run.json").read_text())
    fixtures = [json.loads(file.read_text()) for file in (run.parents[1] / "fixtures").glob("*/fixture.json")]

    rates = [f"learning_rate=0.000{digit}" for digit in (1, 3)]
    assert set(rates) <= set(subjects(run))
    for control in ("sft on chosen", "shuffled pairs"):
        assert any(name.startswith(f"control: {control}") for name in subjects(run))
    assert set(trained_steps(run).values()) == {20}
    assert any(one["is_winner"] for one in records["selection"])
    assert {each["recipe"]["training"]["engine"] for each in fixtures} == {"packed"}
    assert len({each["packed_step_check"] for each in fixtures}) == 1


def test_gpt2_hh_has_the_published_table(run_preset: Callable[..., Path], small_model: Callable[[str], Path]) -> None:
    """A sweep of two learning rates gives three columns and three sets, and a winner chosen on selection rows."""
    run = run_preset("gpt2-124m-hh", small_model("gpt2"), "-o", "training.batch_size=2")
    report = (run / "report.md").read_text()

    assert subjects(run) == ["baseline", "learning_rate=5e-6", "learning_rate=1e-5"]
    assert trained_steps(run) == {"learning_rate=5e-6": 20, "learning_rate=1e-5": 20}
    table = report.partition("published layout")[2]
    for name in ("truthfulness", "coreference", "safety"):
        assert f"| {name} " in table
    assert sum(one["is_winner"] for one in json.loads((run / "run.json").read_text())["selection"]) == 1
    assert "processed-hh-rlhf" in report


def test_llama3_orca_measures_what_merging_changed(
    run_preset: Callable[..., Path], small_model: Callable[[str], Path]
) -> None:
    """The adapter on NF4, the unquantised base, and the merged model in fp16, which is held against the adapter."""
    run = run_preset("llama3-8b-orca", small_model("llama3"), "-o", "answers.max_new_tokens=12")

    assert subjects(run) == ["baseline", "adapter", "unquantised", "adapter merged, float16"]
    merged = [row for row in rows(run) if row["candidate"] == "adapter merged, float16"]
    assert {row["baseline"] for row in merged if row["metric"] == "perplexity"} == {"baseline", "adapter"}
    assert any(row["metric"] == "reward_accuracy" and row["candidate_value"] for row in merged)
    assert "answer_length" in {row["metric"] for row in rows(run)}
    assert "different weights" in (run / "report.md").read_text()


@pytest.mark.parametrize("preset", ["tinyllama-reviewer2", "tinyllama-reviewer2-kto"])
def test_tinyllama_reviewer(
    preset: str, run_preset: Callable[..., Path], small_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """DPO and KTO towards harsh reviews, on rows that build-pairs makes with the model at hand."""
    model = small_model("tinyllama")
    specification = tmp_path / "reviews.yaml"
    specification.write_text(
        "subjects: [" + ", ".join(f"topic {number}" for number in range(24)) + "]\n"
        'task: "Review the paper about {subject}."\n'
        "instruction: You review papers.\n"
        "chosen: {instruction: Be harsh., examples: [{subject: plants, answer: Weak and dull.}]}\n"
        "rejected: {instruction: Be kind., examples: [{subject: plants, answer: A lovely read.}]}\n"
        "n_per_subject: 1\n"
    )
    pairs, unpaired = tmp_path / "pairs.jsonl", tmp_path / "unpaired.jsonl"
    for out, options in ((pairs, ()), (unpaired, ("--unpaired",))):
        harness(
            "data", "build-pairs", specification, "--out", out, "-o", f"model.name={model}",
            "-o", "model.quantization=none", "--max-new-tokens", "8", *options,
        )  # fmt: skip
    training = unpaired if preset.endswith("kto") else pairs
    run = run_preset(
        preset, model, "-o", f"data.training.name={training}", "-o", f"data.roles.preferences.name={pairs}",
        "-o", f"data.roles.prompts.name={pairs}", "-o", "training.batch_size=4",
    )  # fmt: skip

    assert subjects(run) == ["baseline", "adapter"]
    assert trained_steps(run) == {"adapter": 20}
    assert any(row["metric"] == "reward_accuracy" and row["candidate_value"] for row in rows(run))


def test_sft_then_dpo_has_three_subjects(run_preset: Callable[..., Path]) -> None:
    """Base, SFT and SFT+DPO in one report; DPO names SFT as its reference, and SFT the base."""
    small = ("-o", "training.batch_size=4", "-o", "sft.training.batch_size=4")
    run = run_preset("sft-then-dpo", "embedded", "-o", "sft.training.max_steps=10", *small)
    records = {subject["name"]: subject for subject in json.loads((run / "run.json").read_text())["subjects"]}

    assert subjects(run) == ["baseline", "sft", "sft+dpo"]
    assert (records["sft"]["reference"], records["sft+dpo"]["reference"]) == ("baseline", "sft")
    assert trained_steps(run) == {"sft": 10, "sft+dpo": 20}


def test_controls_seeds_and_the_unquantised_base_are_columns(run_preset: Callable[..., Path]) -> None:
    """--controls, --seeds and --subjects add candidates to one report, trained for the same steps."""
    run = run_preset(
        "tiny", "embedded", "--controls", "sft,shuffled", "--seeds", "2", "--subjects", "+unquantised",
        "-o", "training.batch_size=4",
    )  # fmt: skip

    assert subjects(run) == [
        "baseline", "adapter, seed 42", "adapter, seed 43", "control: sft on chosen", "control: shuffled pairs",
        "unquantised",
    ]  # fmt: skip
    assert set(trained_steps(run).values()) == {20}
    held_against = {row["baseline"] for row in rows(run) if row["candidate"] == "adapter, seed 42"}
    assert {"control: sft on chosen", "control: shuffled pairs"} <= held_against
