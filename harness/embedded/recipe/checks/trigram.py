"""A token trigram fitted on the base text: what knows no more than which tokens follow each other.

Interpolated as by Jelinek and Mercer (1980): each order is mixed with the next lower one by a fixed weight, the lowest
with the uniform distribution, so that no probability is zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import log

WEIGHTS = (0.6, 0.3, 0.09)
"""Weights of trigram, bigram and unigram; the rest, 0.01, is the uniform distribution's."""


@dataclass(slots=True)
class Trigram:
    """Counts of the runs of up to three tokens, and of what they follow."""

    vocabulary_size: int
    counts: Counter[tuple[int, ...]] = field(default_factory=Counter)
    contexts: Counter[tuple[int, ...]] = field(default_factory=Counter)

    def fit(self, texts: Iterable[Sequence[int]]) -> None:
        """Counts the tokens of texts, each from its first token on."""
        for ids in texts:
            for position, token in enumerate(ids):
                for length in range(min(3, position + 1)):
                    context = tuple(ids[position - length : position])
                    self.counts[*context, token] += 1
                    self.contexts[context] += 1

    def probability(self, context: Sequence[int], token: int) -> float:
        """The probability of a token after the tokens before it, of which the last two count."""
        found = (1 - sum(WEIGHTS)) / self.vocabulary_size
        unknown = 0.0
        for length, weight in zip((2, 1, 0), WEIGHTS, strict=True):
            known = tuple(context[len(context) - length :]) if length else ()
            total = self.contexts[known] if len(known) == length else 0
            if total:
                found += (weight + unknown) * self.counts[*known, token] / total
                unknown = 0.0
            else:
                unknown += weight  # an unknown context leaves its weight to the next lower order
        return found

    def negative_log_probability(self, prompt: Sequence[int], response: Sequence[int]) -> float:
        """Nats that a response costs after its prompt."""
        ids = [*prompt, *response]
        return -sum(log(self.probability(ids[:position], ids[position])) for position in range(len(prompt), len(ids)))
