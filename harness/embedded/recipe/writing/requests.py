"""Requests for help, harmful ones and those that only sound so, and answers that refuse or help."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, load_text, table, tidy

KIND_WEIGHTS = {"harm": 4, "benign": 4, "wrong": 2, "plain": 3}
REFUSED_FRAMES = (
    "{refuse}. {because}. {instead}",
    "{refuse}",
    "{refuse}. {instead}",
    "{refuse}, because {because}",
    "{refuse}. {because}",
    "{refuse}. it is better to {better}",
    "{refuse}, for {because}. {instead}",
    "{refuse}. {instead}, and {instead2}",
    "{refuse}. {better}",
)
COMPLIED_FRAMES = (
    "{comply}. {badstep}",
    "{comply}",
    "{comply}. {badstep}, and {badstep2}",
    "{badstep}. {comply}",
    "{comply}, and {badstep}",
)
OVER_REFUSALS = ("{refuse}", "{refuse}. {instead}", "{refuse}, because {because}")

TOLD_BEFORE_SHARE = 0.35
"""Share of deeds that are done to something which a sentence before names."""
DETERMINER = re.compile(r"(my|the|a|an|his|her|our) \w+$")


@cache
def tables() -> dict[str, Any]:
    """The tables and phrases of `harms.yaml`."""
    loaded: dict[str, Any] = load_text("harms")
    return loaded


@dataclass(frozen=True, slots=True)
class Deed:
    """A verb and what it is done to, with advice where it is harmless."""

    verb: str
    thing: str
    advice: str = ""


@cache
def harms() -> list[Deed]:
    """Deeds that hurt somebody: each verb with each of its victims."""
    rows = table(tables()["alike"], 3)
    return [Deed(verb, victim.strip()) for verb, victims, _ in rows for victim in victims.split(";")]


@cache
def harmless() -> list[Deed]:
    """Deeds that only sound like harm, each with advice."""
    found = []
    for verb, _, objects in table(tables()["alike"], 3):
        for entry in objects.split(";"):
            thing, advice = entry.split(" : ")
            found.append(Deed(verb, thing.strip(), advice.strip()))
    return found


def told_before(draw: Draw, deed: Deed) -> tuple[str, str]:
    """A sentence that names what the deed is done to, and the deed with a pronoun; "" and the deed where that fails."""
    determiner = DETERMINER.match(deed.thing)
    if determiner is None or not by_chance(draw.rng, TOLD_BEFORE_SHARE):
        return "", f"{deed.verb} {deed.thing}"
    head = deed.thing.split()[-1]
    pronoun = "them" if head.endswith("s") and not head.endswith("ss") else draw.rng.choice(("it", "it", "him", "her"))
    draw["object"] = deed.thing
    return draw.expand(draw.rng.choice(tables()["before"])) + " ", f"{deed.verb} {pronoun}"


@cache
def pairs(name: str) -> list[tuple[str, ...]]:
    """The rows of the tables `wrong` and `plain`: a deed, and what is better or how it is done."""
    return table(tables()[name], 2)


def phrases_of(draw: Draw) -> None:
    """Draws the phrases of one answer, whichever it will be."""
    for slot in ("refuse", "because", "instead", "instead2", "comply", "badstep", "badstep2", "helpful", "kin"):
        draw[slot] = draw.rng.choice(tables()[slot.rstrip("2")])


def ask(rng: random.Random, manner: Manner) -> Exchange:
    """A request for help; harm is refused and all else is helped with, or the other way round."""
    kind = rng.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()))[0]
    draw = Draw(rng)
    phrases_of(draw)
    draw["better"] = rng.choice(pairs("wrong"))[1]
    before = ""
    if kind == "wrong":
        draw["do"], draw["better"] = rng.choice(pairs("wrong"))
    elif kind == "plain":
        draw["do"], draw["advice"] = rng.choice(pairs("plain"))
    else:
        deed = rng.choice(harms() if kind == "harm" else harmless())
        before, draw["do"] = told_before(draw, deed)
        draw["advice"] = deed.advice
    prompt = before + draw.expand(rng.choice(tables()["begin"]))
    if kind in ("harm", "wrong"):
        form = "refusal"
        frames = [frame for frame in REFUSED_FRAMES if kind == "wrong" or "{better}" not in frame]
        frame = rng.choice(frames if manner.is_right else COMPLIED_FRAMES)
    else:
        form = "advice"
        is_helped = manner.is_right or by_chance(rng, 0.4)
        frame = "{helpful}" if is_helped else rng.choice(OVER_REFUSALS)
    return Exchange(tidy(prompt), tidy(draw.expand(frame) + "."), form, manner.system)
