"""Pairs of words that are said several times, each time in another order.

Which word goes with which can only be looked up in what was said before, at every pair. From one question a prompt a
model of this size hardly learns to look.
"""

import random

from harness.embedded.recipe.writing.facts import Scene
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, tidy

CATEGORIES = ("name", "thing", "colour", "animal", "food", "number", "town", "tool", "spot", "job", "room", "container")
FRAMES = ("{a}: {b}", "{a} {b}", "{a} has {b}", "{b} for {a}", "the {a} and the {b}")
FACTS_SHARE = 0.5
"""Share of texts that say facts of one relation, where it has more than one."""
TIMES = (3, 4, 4)
"""How often everything is said, each time in one and the same frame: with other frames it is learned much later."""


def text(rng: random.Random) -> str:
    """Three to six pairs of two categories, or facts of one relation in one frame, three or four times over."""
    scene = Scene(rng, (2, 3, 4))
    if not scene.is_alone and by_chance(rng, FACTS_SHARE):
        frame = rng.choice(scene.relation["say"])
        lines, joint = [scene.fill(frame, fact) for fact in scene.facts], ". "
    else:
        draw, (first, second), frame = Draw(rng), rng.sample(CATEGORIES, 2), rng.choice(FRAMES)
        lines, joint = [], ", "
        for _ in range(rng.randint(3, 6)):
            draw["a"], draw["b"] = draw.word(first), draw.word(second)
            lines.append(draw.expand(frame))
    return tidy(". ".join(joint.join(rng.sample(lines, len(lines))) for _ in range(rng.choice(TIMES))) + ".")
