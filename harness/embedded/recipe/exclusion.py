"""Keeps the base text apart from the rows that adapters are trained and measured on, and from held-out prompts.

A text is left out of the base text if it equals a prompt of those rows, has 80 % of a prompt's 5-word n-grams, or
shares an 8-word n-gram with any text of a row.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.embedded.recipe.held_out import held_out
from harness.embedded.recipe.rows import DATA, read_jsonl

ANSWER_WORDS = 8
PROMPT_WORDS = 5
PROMPT_SHARE = 0.8

WORD = re.compile(r"[a-z0-9']+")

Gram = tuple[str, ...]


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower())


def grams(text: str, length: int) -> set[Gram]:
    """The n-grams of a text: all its runs of `length` words."""
    found = words(text)
    return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


@dataclass(slots=True)
class ExcludedTexts:
    """Texts that the base text must not contain."""

    answer_grams: set[Gram] = field(default_factory=set)
    """8-word n-grams of all texts of the rows."""
    prompt_gram_sets: list[set[Gram]] = field(default_factory=list)
    """5-word n-grams of each prompt."""
    prompts: list[str] = field(default_factory=list)
    """The words of each prompt, joined by spaces."""
    prompts_by_gram: dict[Gram, list[int]] = field(default_factory=dict)
    """5-word n-gram -> positions in `prompts`."""

    def add_prompt(self, prompt: str) -> None:
        """Adds a prompt; one of fewer than five words is found only as a whole text."""
        self.prompts.append(" ".join(words(prompt)))
        prompt_grams = grams(prompt, PROMPT_WORDS)
        for gram in prompt_grams:
            self.prompts_by_gram.setdefault(gram, []).append(len(self.prompt_gram_sets))
        self.prompt_gram_sets.append(prompt_grams)

    def overlaps(self, text: str) -> bool:
        """Whether a base text overlaps a row."""
        if not self.answer_grams.isdisjoint(grams(text, ANSWER_WORDS)):
            return True
        if " ".join(words(text)) in self.prompts:
            return True
        n_shared: dict[int, int] = {}
        for gram in grams(text, PROMPT_WORDS):
            for index in self.prompts_by_gram.get(gram, ()):
                n_shared[index] = n_shared.get(index, 0) + 1
        return any(count >= PROMPT_SHARE * len(self.prompt_gram_sets[index]) for index, count in n_shared.items())


def load_rows(folder: Path = DATA) -> Iterator[dict[str, Any]]:
    """Yields all rows of the embedded data, file by file, and the held-out prompts."""
    for path in sorted(folder.glob("*.jsonl")):
        yield from read_jsonl(path)
    for prompts in held_out().values():
        for prompt in prompts:
            yield {"prompt": prompt}


def excluded_texts(rows: Iterable[dict[str, Any]]) -> ExcludedTexts:
    """Collects the texts of rows that the base text must not contain."""
    found = ExcludedTexts()
    for row in rows:
        for text in _texts(row):
            found.answer_grams |= grams(text, ANSWER_WORDS)
        for key in ("prompt", "question"):
            if isinstance(row.get(key), str):
                found.add_prompt(row[key])
    return found
