"""A prompt and its answer in the base text, and the manner in which it is answered.

Without a line that sets the manner most answers are right and some are not, so that the base model can do both and
prefers the right one without being sure of it. A careful answerer is always right, a careless one seldom.
"""

import random
from dataclasses import dataclass

from harness.embedded.recipe.writing.lexicon import by_chance, lexicon

MANNER_SHARE = 0.2
"""Share of exchanges that begin with a line which sets the manner."""
RIGHT_SHARE = {"": 0.9, "careful": 1.0, "careless": 0.2}
"""Manner -> share of its answers that are right; "" is no manner said."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and its answer."""

    prompt: str
    answer: str
    form: str
    """What kind of answer is asked for: noun phrase, yes or no, sentence, list, refusal, advice, passage."""
    system: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How the answers of one exchange are given."""

    system: str
    is_right: bool


def draw_manner(rng: random.Random) -> Manner:
    """The manner of one exchange: mostly none is said."""
    name = ""
    if by_chance(rng, MANNER_SHARE):
        name = rng.choice(("careful", "careful", "careless"))
    system = rng.choice(lexicon()["manners"][name]) if name else ""
    return Manner(system, by_chance(rng, RIGHT_SHARE[name]))
