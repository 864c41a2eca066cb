"""Words by what they can stand for, and the draws that fill the slots of a frame with them.

A frame is a line with slots such as {thing} or {thing2} and alternatives such as [big|large]. A slot keeps its word
throughout a draw, and no two slots of a draw have the same word while there are others.
"""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEXT_FOLDER = Path(__file__).parent.parent / "text"

ALTERNATIVES = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
SLOT = re.compile(r"\{([A-Za-z_]+[0-9]*(?:\.[a-z]+)?)\}")
SENTENCE_START = re.compile(r"(^|[.?!:]\s+|\n)(?!asked\b|said\b)(\w)")
ARTICLE = re.compile(r"\b([Aa])n? (?=(\w+))")
AN_BEFORE = re.compile(r"(?!one\b|us(?!h)|uni)[aeiou]|hour|honest", re.IGNORECASE)
DOUBLED_STOP = re.compile(r"([?!.])\.")

NAME_SHARE = 0.75
"""Share of persons that have a name; the others are called by what they are."""
VERB_TABLES = {"V": ("people_verb", ("base", "past", "part")), "W": ("thing_verb", ("base", "past", "part"))}
TABLES = {**VERB_TABLES, "C": ("comparison", ("more", "less"))}


def load_text(name: str) -> Any:
    """The content of a YAML file of the text folder."""
    with (TEXT_FOLDER / f"{name}.yaml").open(encoding="utf-8") as file:
        return yaml.safe_load(file)


def table(lines: str, n_columns: int) -> list[tuple[str, ...]]:
    """The cells of a table of words: a row a line, columns separated by "|"."""
    rows = [tuple(cell.strip() for cell in line.split("|")) for line in lines.strip().splitlines()]
    wrong = [row for row in rows if len(row) != n_columns]
    if wrong:
        msg = f"a row of the base text needs {n_columns} columns (got {wrong[0]})"
        raise ValueError(msg)
    return rows


@cache
def lexicon() -> dict[str, Any]:
    """Category -> words, of `lexicon.yaml`."""
    loaded: dict[str, Any] = load_text("lexicon")
    return loaded


@cache
def verbs(letter: str) -> list[dict[str, str]]:
    """The verbs or comparisons of a letter of `TABLES`: form -> text."""
    name, columns = TABLES[letter]
    return [dict(zip(columns, row, strict=True)) for row in table(lexicon()[name], len(columns))]


def tidy(text: str) -> str:
    """The text with correct articles, capital letters at the start of sentences and no doubled punctuation."""

    def article(match: re.Match[str]) -> str:
        return match[1] + ("n " if AN_BEFORE.match(match[2]) else " ")

    text = ARTICLE.sub(article, text.replace("a(n)", "a").replace("A(n)", "A"))
    return SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), DOUBLED_STOP.sub(r"\1", text))


def by_chance(rng: random.Random, share: float) -> bool:
    """Whether something that happens in that share of the cases happens this time."""
    return rng.random() < share


class Draw:
    """The words of one text, drawn once for each slot."""

    def __init__(self, rng: random.Random, **words: str) -> None:
        """Starts a draw; `words` gives the words of some slots."""
        self.rng = rng
        self._words: dict[str, str] = dict(words)
        self._used: set[str] = set(words.values())
        self._verbs: dict[str, dict[str, str]] = {}

    def __setitem__(self, slot: str, word: str) -> None:
        """Gives a slot its word, in place of the one that it had."""
        self._words[slot] = word
        self._used.add(word)

    def word(self, category: str) -> str:
        """A word of the category that the draw has not used yet, while there is one."""
        if category in ("person", "p"):
            category = "name" if by_chance(self.rng, NAME_SHARE) else "role"
        words = lexicon()[category]
        for _ in range(20):
            word: str = self.rng.choice(words)
            if word not in self._used:
                break
        self._used.add(word)
        return word

    def _fill(self, match: re.Match[str]) -> str:
        slot = match[1]
        if slot in self._words:
            return self._words[slot]
        if slot[1:2] == ".":
            letter, form = slot.split(".")
            if letter not in self._verbs:
                self._verbs[letter] = self.rng.choice(verbs(letter))
            return self._verbs[letter][form]
        self._words[slot] = self.word(slot.rstrip("0123456789"))
        return self._words[slot]

    def expand(self, frame: str) -> str:
        """Chooses the alternatives and fills the slots of a frame until none is left, as running text."""
        previous = ""
        while frame != previous:
            previous = frame
            frame = ALTERNATIVES.sub(lambda match: self.rng.choice(match[1].split("|")), frame)
            frame = SLOT.sub(self._fill, frame)
        return frame

    def sentence(self, frame: str) -> str:
        """The expanded frame with capital letters and a full stop."""
        return tidy(self.expand(frame) + ".")
