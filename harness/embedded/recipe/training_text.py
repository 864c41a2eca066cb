"""The documents of the base text as batches of token ids, each token with the weight of its loss.

A row of a batch is one document, as long as the others of its batch, so that no document sees another one and little is
padding: the model meets a prompt in training as it meets it in use.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from harness.embedded.recipe.exclusion import ExcludedTexts
from harness.embedded.recipe.tokenizer import BOS, EOS
from harness.embedded.recipe.writing.documents import Document, documents

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

PROMPT_WEIGHT = 0.2
"""Weight of a prompt's tokens; those of answers and of plain text weigh 1. What a prompt says cannot be foreseen."""
MOST_TOKENS = 128
"""Longest document; longer ones are left out."""
POOL = 4096
"""Documents that are sorted by length together before they are cut into batches."""
CHUNK = 2000
"""Documents that are tokenised together."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """The token ids of a document, and the weight of each as a target."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and the weight of each as a target, both of shape (n_documents, n_tokens)."""

    ids: torch.Tensor
    weights: torch.Tensor


def separate(made: Iterable[Document], excluded: ExcludedTexts) -> Iterator[Document]:
    """Yields the documents that do not overlap the rows that adapters are trained and measured on."""
    for document in made:
        if not any(excluded.overlaps(text) for text in document.texts):
            yield document


def segments(document: Document, tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, float]]:
    """The text of a document as the chat template writes it, in parts, each with the weight of its tokens."""
    if document.plain:
        return [(f"{BOS}{document.plain}{EOS}", 1.0)]
    parts: list[tuple[str, float]] = []
    for exchange in document.exchanges:
        messages = [{"role": "system", "content": exchange.system}] if exchange.system else []
        messages += [{"role": "user", "content": exchange.prompt}]
        prompt = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        parts += [(prompt.removeprefix(BOS) if parts else prompt, PROMPT_WEIGHT), (f"{exchange.answer}{EOS}", 1.0)]
    return parts


def sequences(made: Iterable[Document], tokenizer: PreTrainedTokenizerFast) -> Iterator[Sequence]:
    """Yields the documents in token ids; a part ends in a special token, so its ids do not depend on the next one."""
    documents = iter(made)
    while chunk := list(islice(documents, CHUNK)):
        parts = [segments(document, tokenizer) for document in chunk]
        encoded = iter(tokenizer([text for each in parts for text, _ in each], add_special_tokens=False)["input_ids"])
        for each in parts:
            ids: list[int] = []
            weights: list[float] = []
            for _, weight in each:
                part = next(encoded)
                ids += part
                weights += [weight] * len(part)
            if len(ids) <= MOST_TOKENS:
                yield Sequence(ids, weights)


def cut(pool: list[Sequence], batch_tokens: int, rng: random.Random) -> list[list[Sequence]]:
    """A pool of documents as batches of similar length, in random order; the short rest of the pool is left out."""
    pool = sorted(pool, key=lambda sequence: len(sequence.ids))
    batches: list[list[Sequence]] = []
    start = 0
    for stop in range(1, len(pool) + 1):
        if len(pool[stop - 1].ids) * (stop - start) > batch_tokens:
            batches.append(pool[start : stop - 1])
            start = stop - 1
    rng.shuffle(batches)
    return batches


def padded(batch: list[Sequence], padding: int) -> Batch:
    """A batch as tensors; the weight of padding is 0."""
    import torch

    length = max(len(sequence.ids) for sequence in batch)
    ids = torch.full((len(batch), length), padding, dtype=torch.int16)
    weights = torch.zeros((len(batch), length), dtype=torch.float32)
    for row, sequence in enumerate(batch):
        n_tokens = len(sequence.ids)
        ids[row, :n_tokens] = torch.tensor(sequence.ids, dtype=torch.int16)
        weights[row, :n_tokens] = torch.tensor(sequence.weights)
    return Batch(ids, weights)


def make_batches(
    tokenizer: PreTrainedTokenizerFast, excluded: ExcludedTexts, *, count: int, batch_tokens: int, seed: int
) -> list[Batch]:
    """So many batches of about so many tokens each, the same ones for the same seed.

    Documents are drawn until there are enough, so that none is seen twice.
    """
    rng = random.Random(f"batches {seed}")  # noqa: S311 - not for secrets
    padding = int(tokenizer.pad_token_id)
    batches: list[Batch] = []
    part = 0
    while len(batches) < count:
        made = separate(documents(POOL, seed * 100_000 + part), excluded)
        batches += [padded(batch, padding) for batch in cut(list(sequences(made, tokenizer)), batch_tokens, rng)]
        part += 1
    return batches[:count]
