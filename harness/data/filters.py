"""Filters of training rows by length and by score gap, with a count of the rows that each one takes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.config.schema import FiltersConfig
from harness.data.make import Trainable, answers_of
from harness.data.splits import PROMPTS_A_BLOCK, blocks_by_prompt
from suites.engine.encoding import Encoder, Lengths
from suites.inputs import Pair

AnyTrainable = TypeVar("AnyTrainable", bound=Trainable)


@dataclass(frozen=True, slots=True)
class FilterResult(Generic[AnyTrainable]):
    """The rows that pass the filters, and counts of the others."""

    rows: tuple[AnyTrainable, ...]
    """The rows that pass, in their order."""
    left_out: Mapping[str, int]
    """Reason -> rows that do not pass; each row is counted once, under the first reason that applies."""


def filter_rows(rows: Sequence[AnyTrainable], filters: FiltersConfig, encoder: Encoder) -> FilterResult[AnyTrainable]:
    """Returns the rows that pass the configured filters, in their order.

    Lengths are in tokens, before the encoder truncates anything; a response includes what the template writes after it.

    Raises:
        SuiteError: The template cannot render a conversation.
    """
    kept, left_out = [], Counter[str]()
    for row, length in zip(rows, _lengths(rows, filters, encoder), strict=True):
        reason = _score_reason(row, filters) or _length_reason(length, filters)
        if reason is None:
            kept.append(row)
        else:
            left_out[reason] += 1
    return FilterResult(tuple(kept), dict(left_out))


def _lengths(rows: Sequence[Trainable], filters: FiltersConfig, encoder: Encoder) -> Sequence[Lengths | None]:
    """The length of each row; None where no filter needs it."""
    lengths: list[Lengths | None] = [None] * len(rows)
    if filters.max_prompt_tokens is None and filters.max_response_tokens is None:
        return lengths
    for places in blocks_by_prompt(rows, PROMPTS_A_BLOCK):
        items = [(rows[place].prompt, answers_of(rows[place])) for place in places]
        for place, length in zip(places, encoder.lengths(items), strict=True):
            lengths[place] = length
    return lengths


def _score_reason(row: Trainable, filters: FiltersConfig) -> str | None:
    least = filters.min_score_gap
    gap = row.score_gap if isinstance(row, Pair) else None
    return f"score gap below {least:g}" if least is not None and gap is not None and gap < least else None


def _length_reason(length: Lengths | None, filters: FiltersConfig) -> str | None:
    if length is None:
        return None
    limits = (
        ("prompt", length.n_prompt_tokens, filters.max_prompt_tokens),
        ("response", max(length.n_response_tokens), filters.max_response_tokens),
    )
    too_long = (f"{part} longer than {most} tokens" for part, n, most in limits if most is not None and n > most)
    return next(too_long, None)
