"""Questions about things in general: what they are, do and where they are, and claims that are so or not."""

from __future__ import annotations

import random
import re
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, lexicon, load_text, table, tidy

THING_COLUMNS = ("name", "kind", "quality", "does", "where", "detail")
WHAT = (
    "what is {x}?",
    "tell me what {x} is.",
    "explain {x}.",
    "what do you call {x}?",
    "can you say what {x} is?",
    "{p} asks what {x} is.",
    "I do not know what {x} is.",
    "say something about {x}.",
    "what kind of thing is {x}?",
    "describe {x}.",
    "what do you know about {x}?",
    "I wonder what {x} is.",
    "{filler}. what is {x}?",
    "tell me about {x}.",
    "what does one say about {x}?",
    "give me a line about {x}.",
)
WHAT_ANSWERS = (
    "{x} is a {x_kind}",
    "{x} is a {x_quality} {x_kind}",
    "{x} is a {x_kind} that {x_does}",
    "{x} {x_does}",
    "{x} is a {x_kind}. it {x_does}",
    "{x} {x_does} and {x_detail}",
    "it is a {x_kind}. {x} {x_does}",
    "{x} {x_detail}",
    "a {x_kind}. {x} {x_does}",
)
WHERE = ("where do you find {x}?", "where is {x} seen?", "where should one look for {x}?", "in what place is {x}?")
WHERE_ANSWERS = ("{x_where}", "you find {x} {x_where}", "{x} is {x_where}")
DOES = ("what does {x} do?", "what is {x} for?", "what is special about {x}?", "what can you say about {x}?")
DOES_ANSWERS = ("{x} {x_does}", "it {x_does}", "{x} {x_detail}")
KIND_ANSWERS = ("{x} is {is}", "it is {is}", "{is}", "I would say that {x} is {is}")

MYTHS = (
    "people say that {no}, but {yes}.",
    "some think that {no}. that is wrong: {yes}.",
    "{p} says that {no}. in truth {yes}.",
    "it is not so that {no}. {yes}.",
    "the book says: {yes}. {p} says: {no}. the book is right.",
    "many people think that {no}, yet {yes}.",
    "{p} says that {yes}. {p2} says that {no}. {p} is right.",
    "once people thought that {no}. today we know that {yes}.",
    "{yes}. it is false that {no}.",
    "a child told me that {no}. the teacher said that {yes}, and the teacher knows.",
    "{yes}. still some say that {no}.",
    "they write that {no}. I looked it up: {yes}.",
    "it is a tale that {no}. really {yes}.",
)
MYTH_QUESTIONS = (
    "is it true that {q}?",
    "is it so that {q}?",
    "do you think that {q}?",
    "would you say that {q}?",
    "{q}, right?",
    "is it right that {q}?",
    "can it be that {q}?",
    "should I believe that {q}?",
    "so {q}?",
    "does it follow that {q}?",
)
OPEN_QUESTIONS = ("what is true?", "what is right?", "what do we know?", "what is so?", "what should I believe?")


@cache
def things() -> tuple[dict[str, str], ...]:
    """All things in `things.yaml`, in the order of the file."""
    rows = [row for lines in load_text("things").values() for row in table(lines, len(THING_COLUMNS))]
    named = [dict(zip(THING_COLUMNS, row, strict=True)) for row in rows]
    return tuple({**row, "base": re.sub(r"^(a|an|the) ", "", row["name"])} for row in named)


@cache
def kinds() -> dict[str, list[str]]:
    """Category -> what one of it is, of `kinds.yaml`."""
    loaded: dict[str, Any] = load_text("kinds")
    answers: dict[str, list[str]] = loaded["is"]
    return answers


def _with_thing(draw: Draw, thing: dict[str, str]) -> None:
    draw["x"] = thing["name"]
    for column in THING_COLUMNS[1:]:
        draw[f"x_{column}"] = thing[column]


def ask(rng: random.Random, manner: Manner) -> Exchange:
    """A question about a thing; the wrong answer is about another one."""
    draw = Draw(rng)
    if by_chance(rng, 0.25):
        return _ask_kind(draw, manner)
    asked, other = rng.sample(things(), 2)
    questions, answers = rng.choice(
        ((WHAT, WHAT_ANSWERS), (WHAT, WHAT_ANSWERS), (WHERE, WHERE_ANSWERS), (DOES, DOES_ANSWERS))
    )
    _with_thing(draw, asked)
    prompt = draw.expand(rng.choice(questions))
    _with_thing(draw, asked if manner.is_right else other)
    return Exchange(tidy(prompt), tidy(draw.expand(rng.choice(answers)) + "."), "sentence", manner.system)


def _ask_kind(draw: Draw, manner: Manner) -> Exchange:
    """What one of a category is; the wrong answer is of another category."""
    category, other = draw.rng.sample(list(kinds()), 2)
    draw["x"] = "a " + draw.rng.choice(lexicon()[category])
    prompt = draw.expand(draw.rng.choice(WHAT))
    draw["is"] = draw.rng.choice(kinds()[category if manner.is_right else other])
    return Exchange(tidy(prompt), tidy(draw.expand(draw.rng.choice(KIND_ANSWERS)) + "."), "sentence", manner.system)


def ask_claim(rng: random.Random, manner: Manner) -> Exchange:
    """Whether a claim is true that the prompt corrects; the wrong answer believes the claim."""
    draw = Draw(rng)
    asked, other = rng.sample(things(), 2)
    true = f"{asked['name']} {asked[rng.choice(('does', 'detail'))]}"
    subject = asked["name"] if by_chance(rng, 0.7) else other["name"]
    false = f"{subject} {other[rng.choice(('does', 'detail'))]}"
    draw["yes"], draw["no"] = true, false
    told = draw.expand(rng.choice(MYTHS))
    if by_chance(rng, 0.2):
        answer = true if manner.is_right else false
        return Exchange(tidy(f"{told} {rng.choice(OPEN_QUESTIONS)}"), tidy(answer + "."), "sentence", manner.system)
    asks_true = by_chance(rng, 0.4)
    draw["q"] = true if asks_true else false
    says_yes = asks_true == manner.is_right
    answer = "yes" if says_yes else "no"
    if by_chance(rng, 0.75):
        answer += ", " + (true if manner.is_right else false)
    return Exchange(
        tidy(f"{told} {draw.expand(rng.choice(MYTH_QUESTIONS))}"), tidy(answer + "."), "yes or no", manner.system
    )
