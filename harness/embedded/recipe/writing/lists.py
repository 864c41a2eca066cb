"""Requests for a number of things, answered with so many: of those in the prompt, or of a kind."""

import random
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, lexicon, load_text, tidy

COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4}
ASKED = ("two", "two", "two", "three", "three", "three", "four", "one")
GIVEN_CATEGORIES = ("thing", "animal", "food", "name", "role", "clothing", "tool", "colour", "town", "spot", "sport")
BARE = ("food", "name", "role", "colour", "town", "drink", "material", "day", "month", "sport", "season", "job")
"""Categories whose words stand without an article in a list."""
SHOWN = (
    "here are {items}.",
    "there are {items}.",
    "I have {items}.",
    "I see {items}.",
    "{p} brought {items}.",
    "we need {items}.",
    "on the list: {items}.",
    "in the {container} there are {items}.",
    "the words are {items}.",
    "{p} drew {items}.",
    "they talked about {items}.",
    "we know {items}.",
    "choose from {items}.",
)
REQUESTS = (
    "name {n} of them.",
    "name {n}.",
    "list {n} of them.",
    "give me {n} of these.",
    "tell me {n} of them.",
    "write down {n}.",
    "pick {n}.",
    "which {n} do you choose?",
    "say {n} of these.",
    "I want {n} of them.",
    "please name {n}.",
    "read out {n} of them.",
    "choose {n}, please.",
    "mention {n} of them.",
)
KIND_REQUESTS = (
    "name {n} {kind}.",
    "list {n} {kind}.",
    "give me {n} {kind}.",
    "tell me {n} {kind}.",
    "which {n} {kind} do you know?",
    "can you name {n} {kind}?",
    "say {n} {kind}.",
    "I need {n} {kind}.",
    "write down {n} {kind}.",
    "please list {n} {kind}.",
    "{filler}. name {n} {kind}.",
    "{p} asks for {n} {kind}.",
    "do you know {n} {kind}?",
    "think of {n} {kind}.",
)
ALL_REQUESTS = ("name them all.", "list all of them.", "say them again.", "which were they?", "repeat the list.")
STARTS = 4
"""Places of the lexicon, a category, where the answers about a kind begin."""
FIRST_SHARE = 0.9
"""Share of the answers that name the things which stand first in the prompt."""


@cache
def kind_names() -> dict[str, list[str]]:
    """Category -> what many of it are called, of `kinds.yaml`."""
    loaded: dict[str, Any] = load_text("kinds")
    names: dict[str, list[str]] = loaded["names"]
    return names


def joined(items: list[str]) -> str:
    """Items as a list in words: "a cup, a key and a coin"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _with_articles(words: list[str], category: str) -> list[str]:
    return words if category in BARE else [f"a {word}" for word in words]


def _items(rng: random.Random, category: str, count: int) -> list[str]:
    """Words of a category, drawn at random, with their articles."""
    return _with_articles(rng.sample(lexicon()[category], min(count, len(lexicon()[category]))), category)


def _neighbours(rng: random.Random, category: str, count: int) -> list[str]:
    """Words of a category that are often named together: those that stand beside each other in the lexicon.

    They begin at few places, so that each row of them is met often.
    """
    words: list[str] = lexicon()[category]
    start = rng.choice(range(0, len(words), max(1, len(words) // STARTS)))
    return _with_articles([words[(start + offset) % len(words)] for offset in range(min(count, len(words)))], category)


def _number_given(rng: random.Random, asked: int, most: int, manner: Manner) -> int:
    """How many are named: so many as asked, or one more or fewer."""
    if manner.is_right:
        return asked
    wrong = [count for count in (asked - 1, asked + 1) if 1 <= count <= most]
    return rng.choice(wrong)


def ask(rng: random.Random, manner: Manner) -> Exchange:
    """A request for a list, and the list."""
    number = rng.choice(ASKED)
    asked = COUNTS[number]
    if by_chance(rng, 0.5):
        category = rng.choice(list(kind_names()))
        draw = Draw(rng, n=number, kind=rng.choice(kind_names()[category]))
        prompt = draw.expand(rng.choice(KIND_REQUESTS))
        if asked == 1:
            prompt = prompt.replace("one " + draw.expand("{kind}"), "one of the " + draw.expand("{kind}"))
        items = _neighbours(rng, category, 5)
        answered = items[: _number_given(rng, asked, len(items), manner)]
    else:
        prompt, answered = _from_given(rng, number, manner)
    return Exchange(tidy(prompt), tidy(joined(answered) + "."), "list", manner.system)


def _from_given(rng: random.Random, number: str, manner: Manner) -> tuple[str, list[str]]:
    """A request for some of the things in the prompt, and those that are named."""
    asked = COUNTS[number]
    items = _items(rng, rng.choice(GIVEN_CATEGORIES), rng.choice((3, 4, 5)))
    asks_for_all = by_chance(rng, 0.15)
    if asks_for_all:
        asked = len(items)
    asked = min(asked, len(items))
    draw = Draw(rng, n={value: key for key, value in COUNTS.items()}.get(asked, "all"), items=joined(items))
    request = rng.choice(ALL_REQUESTS if asks_for_all else REQUESTS)
    prompt = draw.expand(rng.choice(SHOWN)) + " " + draw.expand(request)
    given = _number_given(rng, asked, len(items), manner)
    if by_chance(rng, FIRST_SHARE):
        return prompt, items[:given]
    return prompt, sorted(rng.sample(items, given), key=items.index)
