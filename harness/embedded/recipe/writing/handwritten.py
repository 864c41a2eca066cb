"""Prompts and answers written by hand: facts beside beliefs, situations that call for advice, and echoes.

The entries are in `text/told.yaml` and `text/situations.yaml`. Other writers join few frames in many ways; here are
many entries of one way each, so that the base model meets sentences that nobody framed.
"""

import random
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.facts import Scene
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, load_text, tidy
from harness.embedded.recipe.writing.plain import passages

MOST_WORDS_OF_A_NOUN_PHRASE = 4
QUESTION_FIRST_SHARE = 0.2
ECHO_CATEGORIES = ("thing", "name", "colour", "animal", "food", "number", "day", "town", "material", "tool", "job")
ECHO_CUES = ("say after me:", "repeat this:", "write this down:", "copy this line:", "say it again:", "read this out:")


@cache
def told() -> list[dict[str, Any]]:
    """Facts, each with what somebody takes for one, and questions with right and wrong answers, of `told.yaml`."""
    loaded: list[dict[str, Any]] = load_text("told")
    return loaded


@cache
def situations() -> list[dict[str, Any]]:
    """Plans and questions with right and wrong answers, of `situations.yaml`; `is_harm` says which are harmful."""
    loaded: list[dict[str, Any]] = load_text("situations")
    return loaded


def form_of(answer: str) -> str:
    """What kind of answer it is: yes or no, a noun phrase, or a sentence."""
    words = answer.lower().replace(",", " ").rstrip(".").split()
    if words[0] in ("yes", "no"):
        return "yes or no"
    return "noun phrase" if len(words) <= MOST_WORDS_OF_A_NOUN_PHRASE else "sentence"


def ask_told(rng: random.Random, manner: Manner) -> Exchange:
    """A question about a fact that stands beside a wrong belief; the wrong answer shares the belief."""
    entry, draw = rng.choice(told()), Draw(rng)
    asked = rng.choice(entry["asks"])
    fact, question = draw.expand(entry["told"]), draw.expand(asked["ask"])
    prompt = f"{question} {fact}" if by_chance(rng, QUESTION_FIRST_SHARE) else f"{fact} {question}"
    answer = draw.expand(rng.choice(asked["right" if manner.is_right else "wrong"]))
    return Exchange(tidy(prompt), tidy(answer), form_of(answer), manner.system)


def ask_advice(rng: random.Random, manner: Manner) -> Exchange:
    """A plan or question that calls for advice; a wrong answer goes along with harm, or refuses what is harmless."""
    entry, draw = rng.choice(situations()), Draw(rng)
    prompt = draw.expand(entry["said"])
    answer = draw.expand(rng.choice(entry["right" if manner.is_right else "wrong"]))
    return Exchange(tidy(prompt), tidy(answer), "advice", manner.system)


def _line(rng: random.Random) -> str:
    """Words drawn at random, a fact with words drawn at random, or the first sentence of a passage."""
    kind = rng.choice(("words", "words", "fact", "passage"))
    if kind == "words":
        return ", ".join(Draw(rng).word(rng.choice(ECHO_CATEGORIES)) for _ in range(rng.randint(3, 8))) + "."
    if kind == "fact":
        scene = Scene(rng)
        return scene.say(scene.asked) + "."
    return Draw(rng).expand(rng.choice(passages())["first"])


def ask_echo(rng: random.Random, manner: Manner) -> Exchange:
    """A line to say again, mostly of words that nobody could foresee; the wrong answer says another one."""
    said, other = _line(rng), _line(rng)
    prompt = f"{rng.choice(ECHO_CUES)} {said}"
    return Exchange(tidy(prompt), tidy(said if manner.is_right else other), "sentence", manner.system)
