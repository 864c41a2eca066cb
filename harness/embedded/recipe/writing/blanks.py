"""Sentences with a blank that one of two words fills, and the same sentences with the right word in them."""

import random
from functools import cache
from typing import Any

from harness.embedded.recipe.writing.exchange import Exchange, Manner
from harness.embedded.recipe.writing.lexicon import Draw, by_chance, load_text, tidy

CUE = 'Fill in the blank with "{first}" or "{second}".\n'
"""The cue of Winogrande's rows (harness/data/sources/winogrande.py), which those of the embedded data get as well."""
PLAIN_CUES = ('which word fits, "{first}" or "{second}"? ', 'what belongs in the blank, "{first}" or "{second}"? ')


@cache
def frames() -> dict[str, list[dict[str, Any]]]:
    """Sentences on things and on people, of `blanks.yaml`."""
    loaded: dict[str, list[dict[str, Any]]] = load_text("blanks")
    return loaded


def _drawn(rng: random.Random) -> tuple[str, str, str, bool]:
    """A sentence with its blank, the word that stands first, the second one, and whether the first fills the blank."""
    kind = rng.choice(("things", "things", "people"))
    frame = rng.choice(frames()[kind])
    draw = Draw(rng)
    draw["a"] = draw.word(frame.get("a", "name"))
    draw["b"] = draw.word(frame.get("b", "name"))
    is_first = by_chance(rng, 0.5)
    end = rng.choice(frame["first" if is_first else "second"])
    sentence = draw.expand(f"{frame['say']} {end}.")
    return tidy(sentence), draw.expand("{a}"), draw.expand("{b}"), is_first


def ask(rng: random.Random, manner: Manner) -> Exchange:
    """A sentence with a blank and two words to choose from, and the word alone."""
    sentence, first, second, is_first = _drawn(rng)
    cue = CUE if by_chance(rng, 0.8) else tidy(rng.choice(PLAIN_CUES))
    answer = first if is_first == manner.is_right else second
    return Exchange(cue.format(first=first, second=second) + sentence, answer, "noun phrase", manner.system)


def plain(rng: random.Random) -> str:
    """A sentence with the right word in its blank."""
    sentence, first, second, is_first = _drawn(rng)
    return tidy(sentence.replace("_", first if is_first else second))
