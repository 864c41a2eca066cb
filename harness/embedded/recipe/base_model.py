"""Builds the embedded base model from scratch: tokenizer, text, training, and bf16 safetensors in a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.embedded.recipe.exclusion import excluded_texts, load_rows
from harness.embedded.recipe.pretraining import Schedule, pretrain
from harness.embedded.recipe.tokenizer import MAX_LENGTH, train_tokenizer
from harness.embedded.recipe.training_text import make_batches
from harness.embedded.recipe.writing.documents import documents

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from harness.embedded.recipe.training_text import Batch


BASE_MODEL = Path(__file__).parents[1] / "base_model"
"""The folder of the base that ships."""


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """All that determines the embedded base model besides its text."""

    schedule: Schedule = field(default_factory=Schedule)
    batch_tokens: int = 1280
    vocabulary_size: int = 4096
    tokenizer_documents: int = 20_000
    """Documents that the tokenizer is trained on, enough to contain every word many times."""
    hidden_size: int = 192
    intermediate_size: int = 512
    n_layers: int = 6
    n_heads: int = 6
    seed: int = 0


def make_tokenizer(recipe: BaseRecipe) -> PreTrainedTokenizerFast:
    """The tokenizer, trained on the texts of documents."""

    def texts() -> Iterator[str]:
        for document in documents(recipe.tokenizer_documents, recipe.seed):
            yield from document.texts

    return train_tokenizer(texts(), recipe.vocabulary_size)


def make_model(tokenizer: PreTrainedTokenizerFast, recipe: BaseRecipe) -> LlamaForCausalLM:
    """A Llama of about three and a half million parameters with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes the model in bf16, the tokenizer and the settings for greedy answers."""
    import torch
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    model.config.use_cache = True
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # which is written for its owner alone


def progress_folder(folder: Path, recipe: BaseRecipe, batches: Sequence[Batch]) -> Path:
    """The folder beside the model's for the progress of this very recipe on this text, with so many threads."""
    import torch

    settings = json.dumps([dataclasses.asdict(recipe), torch.get_num_threads()], sort_keys=True)
    found = hashlib.sha256(settings.encode())
    for batch in batches:
        found.update(batch.ids.numpy().tobytes())
    return folder.parent / f"{folder.name}.progress-{found.hexdigest()[:8]}"


def build(folder: Path, recipe: BaseRecipe) -> None:
    """Builds the embedded base model in a folder, and prints sizes and time; goes on where a stopped build was."""
    start = time.perf_counter()
    tokenizer = make_tokenizer(recipe)
    model = make_model(tokenizer, recipe)
    batches = make_batches(
        tokenizer,
        excluded_texts(load_rows()),
        count=recipe.schedule.steps,
        batch_tokens=recipe.batch_tokens,
        seed=recipe.seed,
    )
    n_tokens = sum(int((batch.weights > 0).sum()) for batch in batches)
    click.echo(
        f"{model.num_parameters()} parameters, {len(tokenizer)} tokens in the vocabulary, {n_tokens} in the text, "
        f"{time.perf_counter() - start:.0f} s"
    )
    progress = progress_folder(folder, recipe, batches)
    pretrain(model, batches, recipe.schedule, progress)
    save(model, tokenizer, folder)
    shutil.rmtree(progress, ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.iterdir())
    click.echo(f"{size} bytes in {folder}, {time.perf_counter() - start:.0f} s")
