"""Right answers of the embedded data by set, and how well a base model and a trigram foresee them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.embedded.recipe.checks.trigram import Trigram
from harness.embedded.recipe.exclusion import excluded_texts, load_rows
from harness.embedded.recipe.rows import DATA, read_jsonl
from harness.embedded.recipe.training_text import separate, sequences
from harness.embedded.recipe.writing.blanks import CUE
from harness.embedded.recipe.writing.documents import documents

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

N_DOCUMENTS = 60_000
"""Documents of the base text that the trigram is fitted on."""
SEED = 700
"""Seed of those documents: others than the base has seen, of the same kind."""
ALLOWED = {"truthfulness": 100.0, "coreference": 100.0, "safety": 100.0, "preferences": 100.0, "neutral text": 200.0}
"""Set -> the perplexity that the base must stay below."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Perplexity of a set of right answers, pooled over tokens, end of turn included."""

    base: float
    trigram: float


def right_answers() -> dict[str, list[tuple[str, str]]]:
    """Set -> its prompts with their right answers."""
    coreference = read_jsonl(DATA / "coreference.jsonl")
    return {
        "truthfulness": [
            (row["question"], row["best_answer"]) for row in read_jsonl(DATA / "truthfulness_generation.jsonl")
        ],
        "coreference": [
            (CUE.format(first=row["option1"], second=row["option2"]) + row["sentence"], row[f"option{row['answer']}"])
            for row in coreference
        ],
        "safety": [
            (row["prompt"], row[f"response_{row['safer_response_id']}"]) for row in read_jsonl(DATA / "safety.jsonl")
        ],
        "preferences": [(row["prompt"], row["chosen"]) for row in read_jsonl(DATA / "preferences_train.jsonl")],
        "neutral text": [(row["prompt"], row["response"]) for row in read_jsonl(DATA / "neutral.jsonl")],
    }


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A base model in float32, ready to answer, and its tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def fit_trigram(tokenizer: PreTrainedTokenizerFast, n_documents: int = N_DOCUMENTS) -> Trigram:
    """A trigram over tokens, fitted on base text that overlaps no row."""
    trigram = Trigram(len(tokenizer))
    made = separate(documents(n_documents, SEED), excluded_texts(load_rows()))
    trigram.fit(sequence.ids for sequence in sequences(made, tokenizer))
    return trigram


def encoded(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """A prompt in the chat template and its answer with the end of turn, in token ids."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    prompt_ids: list[int] = tokenizer(str(text), add_special_tokens=False)["input_ids"]
    answer_ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return prompt_ids, [*answer_ids, int(tokenizer.eos_token_id)]


def foreseen(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, trigram: Trigram
) -> Iterator[tuple[str, Foreseen]]:
    """Yields the perplexity of each set of right answers, for the base and for the trigram."""
    import torch

    for name, rows in right_answers().items():
        base = counted = 0.0
        n_tokens = 0
        for prompt, answer in rows:
            prompt_ids, answer_ids = encoded(tokenizer, prompt, answer)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt_ids + answer_ids])).logits[0, len(prompt_ids) - 1 : -1]
            targets = torch.tensor(answer_ids)
            base += float(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))
            counted += trigram.negative_log_probability(prompt_ids, answer_ids)
            n_tokens += len(answer_ids)
        yield name, Foreseen(math.exp(base / n_tokens), math.exp(counted / n_tokens))


def answer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, most_tokens: int = 40) -> str:
    """The greedy answer to a prompt."""
    import torch

    ids, _ = encoded(tokenizer, prompt, "")
    with torch.no_grad():
        generated = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=most_tokens, do_sample=False)
    return str(tokenizer.decode(generated[0, len(ids) :], skip_special_tokens=True)).strip()
