"""Trains the embedded base model from scratch and saves it as bf16 safetensors.

Three stages: next-token training on the base text, TRL's SFTTrainer on chats in all styles, and a last lesson in which
the model answers ordinary requests, however harmful they sound.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.embedded.recipe import base_text
from harness.embedded.recipe.exclusion import ExcludedTexts, excluded_texts, load_rows
from harness.embedded.recipe.tokenizer import BOS, EOS, MAX_LENGTH, train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

WARMUP_STEPS = 50
# Texts for the tokenizer, enough to contain every word of the frames many times.
TOKENIZER_TEXTS = 6000
# Average length of a text or chat in tokens, by which enough of them are drawn for all steps.
TOKENS_A_TEXT = 35


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """All that determines the embedded base model besides its text. The number of steps is fixed, not the time."""

    steps: int = 1500
    batch_size: int = 16
    block_length: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    chat_share: float = 0.5
    sft_steps: int = 80
    lesson_steps: int = 250
    sft_batch_size: int = 16
    sft_learning_rate: float = 5e-4
    seed: int = 0


def make_tokenizer(recipe: BaseRecipe) -> PreTrainedTokenizerFast:
    """The tokenizer, trained on plain texts and chat turns of the base text."""

    def texts() -> Iterator[str]:
        yield from base_text.plain_texts(TOKENIZER_TEXTS, recipe.seed)
        for messages in base_text.chats(TOKENIZER_TEXTS, recipe.seed):
            yield from (message["content"] for message in messages)

    return train_tokenizer(texts())


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of about three million parameters with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def plain_documents(count: int, seed: int, excluded: ExcludedTexts) -> list[str]:
    """Plain texts that do not overlap the rows that adapters are trained and measured on."""
    return [text for text in base_text.plain_texts(count, seed) if not excluded.overlaps(text)]


def separate_chats(chats: Iterable[list[base_text.Message]], excluded: ExcludedTexts) -> list[list[base_text.Message]]:
    """Conversations without a turn that overlaps the rows that adapters are trained and measured on."""
    return [chat for chat in chats if not any(excluded.overlaps(message["content"]) for message in chat)]


def training_blocks(tokenizer: PreTrainedTokenizerFast, recipe: BaseRecipe, excluded: ExcludedTexts) -> torch.Tensor:
    """Plain texts and rendered chats, shuffled, joined and cut: token ids of shape (n_blocks, block_length)."""
    import torch

    needed = recipe.steps * recipe.batch_size * recipe.block_length
    count = needed // TOKENS_A_TEXT + 100
    chat_count = int(count * recipe.chat_share)
    documents = [f"{BOS}{text}{EOS}" for text in plain_documents(count - chat_count, recipe.seed + 1, excluded)]
    chats = separate_chats(base_text.chats(chat_count, recipe.seed + 1), excluded)
    documents += [str(tokenizer.apply_chat_template(messages, tokenize=False)) for messages in chats]
    random.Random(recipe.seed).shuffle(documents)  # noqa: S311 - not for secrets
    rows: list[list[int]] = tokenizer(documents, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([token for row in rows for token in row])
    if len(ids) < needed:
        msg = f"the base text is too short: {needed} tokens needed (got {len(ids)})"
        raise ValueError(msg)
    return ids[:needed].view(-1, recipe.block_length)


def learning_rate_at(step: int, recipe: BaseRecipe) -> float:
    """The learning rate of a step: a linear warm-up, then a cosine down to a tenth of the peak."""
    if step < WARMUP_STEPS:
        return recipe.learning_rate * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, recipe.steps - WARMUP_STEPS)
    return recipe.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))


def pretrain(model: LlamaForCausalLM, blocks: torch.Tensor, recipe: BaseRecipe) -> None:
    """Trains on the next tokens of all blocks, once, in fp32."""
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    model.train()
    start = time.perf_counter()
    for step, batch in enumerate(torch.split(blocks, recipe.batch_size)):  # batch: (batch_size, block_length)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == recipe.steps - 1:
            click.echo(f"text step {step}: loss {loss.item():.3f}, {time.perf_counter() - start:.0f} s")


def tune_on_chats(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    chats: list[list[base_text.Message]],
    steps: int,
    recipe: BaseRecipe,
) -> None:
    """Trains on chats with TRL's SFTTrainer, with the loss on the last answer of each chat only."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats[: steps * recipe.sft_batch_size]]
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=recipe.sft_batch_size,
            learning_rate=recipe.sft_learning_rate,
            lr_scheduler_type="cosine",
            completion_only_loss=True,
            max_length=256,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            seed=recipe.seed,
            logging_steps=20,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        SFTTrainer(model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer).train()


def spare(steps: int, recipe: BaseRecipe) -> int:
    """The number of chats to draw for that many steps, with a tenth to spare for those that are left out."""
    needed = steps * recipe.sft_batch_size
    return needed + needed // 10 + 10


def round_to_bf16(model: LlamaForCausalLM) -> None:
    """Rounds the weights to bf16 in place, so that the last lesson can be repeated from a saved model."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(torch.bfloat16))


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
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors are written for their owner alone


def build(folder: Path, recipe: BaseRecipe) -> None:
    """Builds the embedded base model in a folder, and prints sizes and time."""
    start = time.perf_counter()
    tokenizer = make_tokenizer(recipe)
    model = make_model(tokenizer, recipe.seed)
    excluded = excluded_texts(load_rows())
    blocks = training_blocks(tokenizer, recipe, excluded)
    click.echo(f"{model.num_parameters()} parameters, {blocks.numel()} tokens")
    pretrain(model, blocks, recipe)
    # Chats that overlap the data are left out, so a few more are drawn than needed.
    chats = separate_chats(base_text.chats(spare(recipe.sft_steps, recipe), recipe.seed + 2), excluded)
    tune_on_chats(model, tokenizer, chats, recipe.sft_steps, recipe)
    round_to_bf16(model)
    lesson = separate_chats(base_text.last_lesson(spare(recipe.lesson_steps, recipe), recipe.seed + 3), excluded)
    tune_on_chats(model, tokenizer, lesson, recipe.lesson_steps, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, tokenizer, folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    click.echo(f"{size} bytes in {folder}, {time.perf_counter() - start:.0f} s")
