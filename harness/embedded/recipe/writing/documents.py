"""The documents that the embedded base model learns from, in a fixed mixture: exchanges of all forms and plain text."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.embedded.recipe.writing import (
    blanks,
    definitions,
    events,
    facts,
    handwritten,
    lists,
    plain,
    recall,
    requests,
)
from harness.embedded.recipe.writing.exchange import Exchange, Manner, draw_manner
from harness.embedded.recipe.writing.lexicon import by_chance

PLAIN_SHARE = 0.2
"""Share of documents that are plain text."""
RECALL_SHARE = 0.08
"""Share of the other documents that say pairs of words again and again."""
CONVERSATION_SHARE = 0.25
"""Share of the other documents that ask several questions in turn."""
LINES_SHARE = 0.08
"""Share of exchanges that are written as the two lines "Q: ..." and "A: ..." instead of a chat."""

Writer = Callable[[random.Random, Manner], Exchange]
WRITERS: dict[Writer, float] = {
    facts.ask: 10,
    events.ask: 2.5,
    lists.ask: 5,
    requests.ask: 7,
    definitions.ask: 2.5,
    definitions.ask_claim: 3,
    blanks.ask: 2.5,
    plain.go_on: 4,
    handwritten.ask_told: 4,
    handwritten.ask_advice: 3,
    handwritten.ask_echo: 3,
}
"""What writes an exchange -> its relative frequency."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text to learn from: plain text, or one or several exchanges in turn."""

    plain: str = ""
    exchanges: tuple[Exchange, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts in it, without lines that set a manner."""
        if self.plain:
            return (self.plain,)
        return tuple(text for exchange in self.exchanges for text in (exchange.prompt, exchange.answer))


def exchange(rng: random.Random) -> Exchange:
    """One exchange of any form."""
    writer = rng.choices(list(WRITERS), list(WRITERS.values()))[0]
    return writer(rng, draw_manner(rng))


def document(rng: random.Random) -> Document:
    """One document."""
    if by_chance(rng, PLAIN_SHARE):
        return Document(plain=blanks.plain(rng) if by_chance(rng, 0.15) else plain.text(rng))
    if by_chance(rng, RECALL_SHARE):
        return Document(plain=recall.text(rng))
    if by_chance(rng, CONVERSATION_SHARE):
        return Document(exchanges=facts.conversation(rng))
    made = exchange(rng)
    if not made.system and by_chance(rng, LINES_SHARE):
        return Document(plain=f"Q: {made.prompt}\nA: {made.answer}")
    return Document(exchanges=(made,))


def documents(count: int, seed: int) -> Iterator[Document]:
    """Yields `count` documents, the same ones for the same seed."""
    rng = random.Random(f"documents {seed}")  # noqa: S311 - not for secrets
    return (document(rng) for _ in range(count))
