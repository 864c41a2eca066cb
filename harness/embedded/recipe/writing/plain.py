"""Plain text: facts, stories, instructions and sentences, from frames that are filled in at random, and passages.

The frames and words are in `text/*.yaml`. A passage has a first sentence and a rest, so that it can also be asked for.
"""

import random
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.definitions import THING_COLUMNS, things
from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.lexicon import ALTERNATIVES, TEXT_FOLDER, Draw, by_chance, load_text, table, tidy

Entry = dict[str, str]
"""One line of a table of words: column -> text."""

DEED_FIELDS = {
    "tasks": ("do", "one", "two", "three", "gain"),
    "harms": ("do", "harm", "better"),
    "unknowns": ("q", "need", "say"),
    "troubles": ("event", "feel", "help"),
    "claims": ("say", "truth", "why"),
}
DEED_LETTERS = {"t": "tasks", "h": "harms", "u": "unknowns", "b": "troubles", "c": "claims"}

# Relative frequency of each kind of plain text.
PLAIN_WEIGHTS = {
    "fact": 2, "cause": 1, "story": 3, "steps": 1, "talk": 1, "describe": 2, "sentence": 4, "advice": 1, "passage": 14,
}  # fmt: skip

SLOT = re.compile(r"\{([A-Za-z][A-Za-z0-9_.]*)\}")


def capitalised(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


@cache
def deeds() -> dict[str, list[Entry]]:
    """The tables in `deeds.yaml`: tasks, harms, unknowns, troubles, claims."""
    tables = load_text("deeds")
    return {
        name: [dict(zip(fields, row, strict=True)) for row in table(tables[name], len(fields))]
        for name, fields in DEED_FIELDS.items()
    }


@cache
def phrases() -> dict[str, list[str]]:
    """Name -> phrases, of `words.yaml` and `phrases.yaml`."""
    merged: dict[str, list[str]] = {}
    for name in ("words", "phrases"):
        for key, lines in load_text(name).items():
            merged.setdefault(key, []).extend(lines)
    return merged


@cache
def stories() -> dict[str, list[str]]:
    """Kind of text -> frames, of `stories.yaml` and `sentences.yaml`."""
    loaded: dict[str, list[str]] = {**load_text("stories"), **load_text("sentences")}
    return loaded


@cache
def passages() -> list[dict[str, Any]]:
    """The frames of passages, of all `passages*.yaml`."""
    names = sorted(path.stem for path in TEXT_FOLDER.glob("passages*.yaml"))
    return [frame for name in names for frame in load_text(name)]


class Scene:
    """The subject of one text: things, people and deeds that are drawn once and stay the same throughout the text."""

    def __init__(self, rng: random.Random) -> None:
        """Draws the things, people and deeds of one text."""
        self._rng = rng
        self._fixed: dict[str, str] = {}
        self._used: set[str] = set()
        for letter, row in zip("xy", rng.sample(things(), 2), strict=True):
            self._fixed[letter] = row["name"]
            self._fixed[letter.upper()] = capitalised(row["name"])
            self._add(letter, row)
        for letter, name in DEED_LETTERS.items():
            self._add(letter, rng.choice(deeds()[name]))
        self._fixed["child"], self._fixed["child2"] = rng.sample(phrases()["child"], 2)
        self._fixed["relative"] = rng.choice(phrases()["relative"])

    def _add(self, letter: str, row: Mapping[str, str]) -> None:
        for field, value in row.items():
            self._fixed[f"{letter}.{field}"] = value
            self._fixed[f"{letter}.{capitalised(field)}"] = capitalised(value)

    def _fill(self, match: re.Match[str]) -> str:
        name = match[1]
        if name in self._fixed:
            return self._fixed[name]
        # No phrase is repeated within a text while there are unused ones.
        fresh = [phrase for phrase in phrases()[name] if phrase not in self._used]
        phrase = self._rng.choice(fresh or phrases()[name])
        self._used.add(phrase)
        return phrase

    def expand(self, frame: str) -> str:
        """Fills the slots and chooses the alternatives of a frame until none is left."""
        previous = ""
        while frame != previous:
            previous = frame
            frame = ALTERNATIVES.sub(lambda match: self._rng.choice(match[1].split("|")), frame)
            frame = SLOT.sub(self._fill, frame)
        return tidy(frame)


def passage(rng: random.Random) -> tuple[str, str]:
    """The first sentence of a passage, and one to three that go on from it."""
    frame = rng.choice(passages())
    draw = Draw(rng)
    rest = rng.sample(frame["rest"], rng.choice((1, 2, 2, 3)))
    return tidy(draw.expand(frame["first"])), tidy(draw.expand(" ".join(rest)))


def text(rng: random.Random) -> str:
    """One plain text: a passage, or one or two filled frames of the same kind."""
    kind = rng.choices(list(PLAIN_WEIGHTS), list(PLAIN_WEIGHTS.values()))[0]
    if kind == "passage":
        return " ".join(passage(rng))
    return " ".join(Scene(rng).expand(rng.choice(stories()[kind])) for _ in range(rng.choice((1, 1, 2))))


def go_on(rng: random.Random, manner: Manner) -> Exchange:
    """The first sentence of a passage or of a story as the prompt, the rest as the answer."""
    if by_chance(rng, 0.7):
        first, rest = passage(rng)
    else:
        kind = rng.choice(("story", "describe", "cause", "fact", "steps"))
        whole = Scene(rng).expand(rng.choice(stories()[kind]))
        start, stop, end = whole.partition(". ")
        first, rest = (start + stop.strip(), end) if end else passage(rng)
    return Exchange(first, rest, "passage", manner.system)


__all__ = ["DEED_FIELDS", "THING_COLUMNS", "Scene", "go_on", "passage", "text"]
