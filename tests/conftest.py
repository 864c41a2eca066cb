"""Tiny models with random weights and a tokenizer trained in the session: nothing is downloaded."""

import logging
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No clock: one example that waits for a busy machine says nothing of the code, and would fail the whole run.
settings.register_profile("shared machines", deadline=None)
settings.load_profile("shared machines")

CORPUS = (
    "What happens if you eat watermelon seeds? The watermelon seeds pass through your digestive system.",
    "The trophy does not fit into the brown suitcase because the trophy is too large.",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "How do I bake bread? Mix flour, water, salt and yeast, let the dough rest, and bake it until it is brown.",
    "I am sorry, but I cannot help with that. Is there something else that you would like to know?",
    "Q: Which party did he belong to?\nA: He belonged to the Republican Party.\n\nQ: What is a telescope?\nA:",
)
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
POSITIONS = 256
LIBRARIES = (
    "torch",
    "transformers",
    "trl.trainer.dpo_trainer",
    "peft",
    "datasets",
    "lm_eval.evaluator",
    "pandas",
    "scipy.stats",
)
"""What takes seconds to import, and every worker needs."""


def pytest_configure(config: pytest.Config) -> None:
    """Imports the large libraries untraced where coverage is measured; a worker comes to need them all.

    Tracing lines takes a Python 3.11 as long again as what it traces.
    """
    if not config.pluginmanager.hasplugin("_cov"):
        return
    is_controller = bool(config.getoption("numprocesses", None))  # which only prints the header
    from coverage import Coverage

    measured = Coverage.current()
    if measured is not None:
        measured.stop()
    logging.disable(logging.WARNING)  # bitsandbytes says at once what a CPU lacks
    for name in LIBRARIES[: 1 if is_controller else None]:
        import_module(name)
    logging.disable(logging.NOTSET)
    if measured is not None:
        measured.start()


def pytest_report_header() -> str:
    """Names the CPU that the tests run on, and what makes it compute as another one."""
    import torch

    from harness.models.precision import cpu_multiplies_bfloat16
    from harness.models.provenance import processor_name

    limits = [
        f"{name}={os.environ[name]}" for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY") if name in os.environ
    ]
    products = "in hardware" if cpu_multiplies_bfloat16() else "emulated"
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"CPU: {processor_name()}, {kernels} kernels, bfloat16 products {products}; {' '.join(limits) or 'as it is'}"


def _train(special_tokens: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE as GPT-2 and Llama 3 have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def train_tokenizer() -> Callable[[Iterable[str], int], Any]:
    """Trains a byte-level BPE with the special tokens and of about the size that are asked for."""
    return _train


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real rows; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("HARNESS_DATA_ROOT", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "datasets.yaml").is_file():
        pytest.skip(f"no real rows in {folder}: set HARNESS_DATA_ROOT")
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers whose tokenizer adds BOS and has a chat template that writes BOS as well."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    trained = _train(["<pad>", "<s>", "</s>"], vocabulary=400)
    trained.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", trained.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=POSITIONS
    )
    tokenizer.chat_template = LLAMA_TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=POSITIONS,
            initializer_range=0.2,  # far from uniform, so that a wrong position shows
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return _saved(tmp_path_factory.mktemp("llama"), model, tokenizer)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers without a chat template, BOS in front or a padding token of its own."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_train([end], vocabulary=380), bos_token=end, eos_token=end, model_max_length=POSITIONS
    )
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=POSITIONS,
            initializer_range=0.2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    return _saved(tmp_path_factory.mktemp("gpt2"), model, tokenizer)


def _saved(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
