"""Texts of scored rows for the report, shortened."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from reports.example_texts import ExampleTexts
from reports.records import ExampleText
from suites.evaluations.generations import prompt_text
from suites.inputs import Example, Pair

Row = TypeVar("Row", Example, Pair)

LONGEST_TEXT = 2_000
"""Largest number of characters of a prompt or an answer."""


def texts_of_rows(text_of: Callable[[Row, str], ExampleText], rows: Sequence[Row], evaluation: str) -> ExampleTexts:
    """Texts of an evaluation's rows, which are made when they are written."""
    return ExampleTexts(lambda: (text_of(row, evaluation) for row in rows))


def text_of_pair(pair: Pair, evaluation: str) -> ExampleText:
    """Text of a pair: its prompt and its two answers."""
    texts = {"chosen": pair.chosen, "rejected": pair.rejected}
    return shortened(ExampleText(pair.example_id, evaluation, prompt_text(pair.prompt), texts))


def text_of_example(example: Example, evaluation: str) -> ExampleText:
    """Text of an example: its prompt, its right response, and its wrong responses, one a line."""
    texts = {"right": example.response}
    if example.wrong_responses:
        texts["wrong"] = "\n".join(example.wrong_responses)
    return shortened(ExampleText(example.example_id, evaluation, prompt_text(example.prompt), texts))


def shortened(text: ExampleText) -> ExampleText:
    """The text with prompt and answers cut to `LONGEST_TEXT` characters and an ellipsis."""
    texts = {what: _cut(each) for what, each in text.texts.items()}
    return ExampleText(text.example_id, text.evaluation, _cut(text.prompt), texts)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "\u2026"
