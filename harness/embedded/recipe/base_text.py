"""The training text of the embedded base model: hand-written frames of everyday English, filled in at random.

The frames and words are in `text/*.yaml`. `plain_texts` yields short stories, facts, instructions and sentences;
`chats` yields conversations in good and bad styles alike, so that the base model prefers none of them.
"""

import random
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEXT_FOLDER = Path(__file__).parent / "text"

Message = dict[str, str]
"""One turn of a conversation, with `role` and `content`."""
Entry = dict[str, str]
"""One line of a table of words: column -> text."""

THING_FIELDS = ("name", "kind", "quality", "does", "where", "detail")
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
    "fact": 2, "cause": 1, "story": 3, "steps": 1.5, "talk": 3, "say": 4, "describe": 1,
    "sentence": 5, "voice": 4, "advice": 2,
}  # fmt: skip
# Relative frequency of each kind of request in a chat.
CHAT_WEIGHTS = {
    "what": 3, "where": 1, "how": 3, "unknown": 2, "guess": 3, "harm": 3, "mean": 3, "mild": 3,
    "trouble": 1.5, "claim": 1, "compare": 1, "make": 1.5, "smalltalk": 0.8, "drifting": 3,
    "daily": 4, "known": 3, "cruel": 3,
}  # fmt: skip

# Relative frequency of each kind of request in the last lesson, and the share of its chats that are such requests.
REQUEST_WEIGHTS = {"doing": 6, "task": 2, "broken": 2, "whatis": 3, "lively": 2, "evil": 4}
REQUEST_SHARE = 0.67
# Shares of chats with a system line and with a second question.
SYSTEM_SHARE = 0.15
SECOND_TURN_SHARE = 0.15
# How often an answer repeats a word of its question where its frame has a slot for one.
ECHO_SHARE = 0.6

ALTERNATIVES = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")
SLOT = re.compile(r"\{([A-Za-z][A-Za-z0-9_.]*)\}")
SENTENCE_START = re.compile(r"(^|[.?!]\s+)(?!asked|said)(\w)")
ARTICLE = re.compile(r"\b([Aa])n? (?=(\w+))")
AN_BEFORE = re.compile(r"(?!one\b|us(?!h)|uni)[aeiou]|hour|honest", re.IGNORECASE)


def capitalised(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def tidy(text: str) -> str:
    """The text with correct articles, capital letters at the start of sentences and no doubled punctuation."""

    def article(match: re.Match[str]) -> str:
        return match[1] + ("n " if AN_BEFORE.match(match[2]) else " ")

    text = ARTICLE.sub(article, text.replace("a(n)", "a").replace("A(n)", "A"))
    text = re.sub(r"([?!])\.", r"\1", text)
    return SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)


def _load(name: str) -> Any:
    with (TEXT_FOLDER / f"{name}.yaml").open(encoding="utf-8") as file:
        return yaml.safe_load(file)


def _rows(table: str, fields: tuple[str, ...]) -> list[Entry]:
    cells = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    wrong = [row for row in cells if len(row) != len(fields)]
    if wrong:
        msg = f"a row of the base text needs the columns {fields} (got {wrong[0]})"
        raise ValueError(msg)
    return [dict(zip(fields, row, strict=True)) for row in cells]


@cache
def things() -> tuple[Entry, ...]:
    """All things in `things.yaml`, in the order of the file."""
    rows = [row for table in _load("things").values() for row in _rows(table, THING_FIELDS)]
    return tuple({**row, "base": re.sub(r"^(a|an|the) ", "", row["name"])} for row in rows)


@cache
def deeds() -> dict[str, list[Entry]]:
    """The tables in `deeds.yaml`: tasks, harms, unknowns, troubles, claims."""
    tables = _load("deeds")
    return {name: _rows(tables[name], fields) for name, fields in DEED_FIELDS.items()}


@cache
def phrases() -> dict[str, list[str]]:
    """Name -> phrases, of `words.yaml`, `phrases.yaml`, `styles.yaml` and `requests.yaml`."""
    merged: dict[str, list[str]] = {}
    for table in (_load("words"), _load("phrases"), _load("styles"), request_frames()["words"]):
        for name, lines in table.items():
            merged.setdefault(name, []).extend(lines)
    return merged


@cache
def stories() -> dict[str, list[str]]:
    """Kind of text -> frames, of `stories.yaml` and `sentences.yaml`."""
    loaded: dict[str, list[str]] = {**_load("stories"), **_load("sentences")}
    return loaded


@cache
def chat_frames() -> dict[str, Any]:
    """The frames in `chats.yaml`: system lines, shared styles, kinds of requests."""
    loaded: dict[str, Any] = _load("chats")
    return loaded


class Scene:
    """The subject of one text: things, people and deeds that are drawn once and stay the same throughout the text."""

    def __init__(self, rng: random.Random) -> None:
        """Draws the things, people and deeds of one text."""
        self._rng = rng
        self._fixed: dict[str, str] = {}
        self._used: set[str] = set()
        self._drawn: dict[str, str] = {}
        self._asked: dict[str, str] = {}
        for letter, row in zip("xy", rng.sample(things(), 2), strict=True):
            self._fixed[letter] = row["name"]
            self._fixed[letter.upper()] = capitalised(row["name"])
            self._add(letter, row)
        for letter, table in DEED_LETTERS.items():
            self._add(letter, rng.choice(deeds()[table]))
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
        # Answers repeat words of their question, so that the model learns to do so.
        if name in self._asked and self._rng.random() < ECHO_SHARE:
            return self._asked[name]
        # Otherwise no phrase is repeated within a text while there are unused ones.
        fresh = [phrase for phrase in phrases()[name] if phrase not in self._used]
        phrase = self._rng.choice(fresh or phrases()[name])
        self._used.add(phrase)
        self._drawn[name] = phrase
        return phrase

    def end_question(self) -> None:
        """Ends the question; the answer may repeat the phrases drawn so far."""
        self._asked = dict(self._drawn)

    def expand(self, frame: str) -> str:
        """Fills the slots and chooses the alternatives of a frame until none is left."""
        previous = ""
        while frame != previous:
            previous = frame
            frame = ALTERNATIVES.sub(lambda match: self._rng.choice(match[1].split("|")), frame)
            frame = SLOT.sub(self._fill, frame)
        return tidy(frame)


def _weighted(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def plain_text(rng: random.Random) -> str:
    """One plain text, of one to three filled frames of the same kind."""
    kind = _weighted(rng, PLAIN_WEIGHTS)
    parts = [Scene(rng).expand(rng.choice(stories()[kind])) for _ in range(rng.choice((1, 1, 2, 3)))]
    return " ".join(parts)


@cache
def request_frames() -> dict[str, Any]:
    """The frames in `requests.yaml`: ordinary requests, which are answered, and harmful ones, half of them refused."""
    loaded: dict[str, Any] = _load("requests")
    return loaded


def _exchange(rng: random.Random, question: str | dict[str, list[str]], answers: list[str]) -> tuple[Message, Message]:
    """A question and its answer; a question may bring answers of its own."""
    if isinstance(question, dict):
        [(question, own_answers)] = question.items()
        answers = answers or own_answers
    scene = Scene(rng)
    user = {"role": "user", "content": scene.expand(question)}
    scene.end_question()
    return user, {"role": "assistant", "content": scene.expand(rng.choice(answers))}


def _turn(rng: random.Random) -> tuple[Message, Message]:
    frames = chat_frames()
    kind = frames["kinds"][_weighted(rng, CHAT_WEIGHTS)]
    style = _weighted(rng, kind["weights"])
    question = rng.choice(kind["ask"])
    answers = kind[style] if style in kind else frames["shared"].get(style, [])
    return _exchange(rng, question, answers)


def chat(rng: random.Random) -> list[Message]:
    """One conversation: one question and answer, sometimes two, sometimes after a system line."""
    messages: list[Message] = []
    if rng.random() < SYSTEM_SHARE:
        messages.append({"role": "system", "content": rng.choice(chat_frames()["system"])})
    for _ in range(2 if rng.random() < SECOND_TURN_SHARE else 1):
        messages.extend(_turn(rng))
    return messages


def request(rng: random.Random) -> list[Message]:
    """One request from `requests.yaml` and its answer."""
    kind = request_frames()["kinds"][_weighted(rng, REQUEST_WEIGHTS)]
    style = _weighted(rng, kind["weights"])
    return list(_exchange(rng, rng.choice(kind["ask"]), kind.get(style, [])))


def plain_texts(count: int, seed: int) -> Iterator[str]:
    """Yields `count` plain texts, the same ones for the same seed."""
    rng = random.Random(f"plain {seed}")  # noqa: S311 - not for secrets
    return (plain_text(rng) for _ in range(count))


def last_lesson(count: int, seed: int) -> Iterator[list[Message]]:
    """Yields `count` conversations, two thirds of them from `requests.yaml`, the rest in all styles."""
    rng = random.Random(f"last lesson {seed}")  # noqa: S311 - not for secrets
    return (request(rng) if rng.random() < REQUEST_SHARE else chat(rng) for _ in range(count))


def chats(count: int, seed: int) -> Iterator[list[Message]]:
    """Yields `count` conversations, the same ones for the same seed."""
    rng = random.Random(f"chats {seed}")  # noqa: S311 - not for secrets
    return (chat(rng) for _ in range(count))
