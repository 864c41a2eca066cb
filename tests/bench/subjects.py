"""Models to benchmark: shapes with random weights, a tokenizer trained on the rows, a LoRA adapter."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

END = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of a model with random weights, seed 0."""

    title: str
    family: Literal["gpt2", "llama"]
    options: dict[str, Any]
    vocabulary: int
    positions: int
    dtype: torch.dtype = torch.float32


SHAPES = {
    "gpt2": Shape("GPT-2 124M shape, fp32", "gpt2", {"n_embd": 768, "n_layer": 12, "n_head": 12}, 50_257, 1024),
    "llama": Shape(
        "Llama shape of 135 M parameters, fp32",
        "llama",
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "tie_word_embeddings": True,
        },
        49_152,
        2048,
    ),
    "llama-1b": Shape(
        "Llama shape of 1 B parameters, bf16",
        "llama",
        {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "tie_word_embeddings": True,
        },
        128_256,
        4096,
        torch.bfloat16,
    ),
    "tiny": Shape("a tiny GPT-2, fp32", "gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2}, 1024, 1024),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with its tokenizer, the same for every side of a comparison."""

    shape: Shape
    model: Any
    tokenizer: Any

    @property
    def pad_token_id(self) -> int:
        """Id of the padding token."""
        return int(self.tokenizer.pad_token_id)


def build_subject(shape: Shape, texts: Sequence[str], device: str) -> Subject:
    """Returns the model on the device and a tokenizer with as many tokens as it has, or as the texts give."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(texts, shape.vocabulary, shape.positions)
    ids = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_token_id)
    torch.manual_seed(0)
    if shape.family == "gpt2":
        config = GPT2Config(vocab_size=shape.vocabulary, n_positions=shape.positions, **shape.options, **ids)
        model = GPT2LMHeadModel(config)
    else:
        positions = {"max_position_embeddings": shape.positions}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=shape.vocabulary, **positions, **shape.options, **ids))
    return Subject(shape, model.to(device=device, dtype=shape.dtype).eval(), tokenizer)


def train_tokenizer(texts: Sequence[str], vocabulary: int, positions: int) -> Any:
    """Trains a byte-level BPE like GPT-2's; the same texts give the same tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=positions
    )


def lora_config() -> Any:
    """LoRA on every linear layer, rank 8, no dropout."""
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear")


def with_adapter(model: Any) -> Any:
    """Returns a copy of the model with an adapter that has an effect: B is random, seed 1."""
    from peft import get_peft_model

    adapted = get_peft_model(copy.deepcopy(model), lora_config())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in lora_parameters(adapted):
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return adapted.eval()


def lora_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of the adapter's weights."""
    return ((name, parameter) for name, parameter in model.named_parameters() if "lora_" in name)
