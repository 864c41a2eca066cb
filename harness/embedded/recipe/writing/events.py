"""Questions about one detail of an event that has several; the wrong answer is another detail of it."""

import random
import re
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, load_text, tidy

ONLY = (" only that.", " nothing else.", " in short.", " just that.")
DETAIL = re.compile(r"\{([a-z]+)\}")


@cache
def events() -> dict[str, Any]:
    """Details and sentences, of `events.yaml`."""
    loaded: dict[str, Any] = load_text("events")
    return loaded


def ask(rng: random.Random, manner: Manner) -> Exchange:
    """A question about a detail of an event, and the detail."""
    details = events()["details"]
    draw = Draw(rng)
    frame = rng.choice(events()["say"])
    names = [name for name in DETAIL.findall(frame) if name in details]
    for name in names:
        draw[name] = draw.expand(rng.choice(details[name]["words"]))
    told = draw.expand(frame) + "."
    asked, other = rng.sample(names, 2)
    question = rng.choice(details[asked]["ask"])
    if by_chance(rng, 0.2):
        question += rng.choice(ONLY)
    prompt = f"{question} {told}" if by_chance(rng, 0.15) else f"{told} {question}"
    answer = draw.expand(f"{{{asked if manner.is_right else other}}}")
    return Exchange(tidy(prompt), tidy(answer + "."), "noun phrase", manner.system)
