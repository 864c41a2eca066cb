"""One raw row of a dataset, read column by column; errors name the file and line."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from harness.config.wording import listed, shown
from harness.data.message import (
    MessageError,
    UnusableError,
    answer_of,
    as_messages,
    is_missing,
    text_of,
    tools_of,
    turn_of,
)
from reports.errors import UserError
from suites.inputs import Prompt, Turn

Read = TypeVar("Read")

_FLAGS = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
NO_ANSWER = "no conversation that ends with an assistant turn"
"""Reason why a row of whole conversations is left out."""


class DataError(UserError):
    """Rows that are missing or broken, or columns that hold something else than expected."""


class UnusableRowError(DataError):
    """A row that lacks something, or holds what cannot be used: it is left out and counted."""

    def __init__(self, where: str, reason: str, message: str = "") -> None:
        """Takes the row's place, the reason that rows are counted under, and perhaps more words for one row alone."""
        super().__init__(f"{where}: {message or reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that cannot be used."""

    reason: str
    """The reason, in the words that reports count it under."""


@dataclass(frozen=True, slots=True)
class Row:
    """One raw row of a dataset; each method reads a column as one type.

    A column without a value raises `UnusableRowError`, of which callers count how many rows it concerns.
    """

    where: str
    """File and line, or dataset, split and row number, for error messages."""
    columns: Mapping[str, Any]
    """Column -> value."""
    source: str
    """Part of the dataset that the row comes from: its configuration, its file, or the dataset's own name."""

    def text(self, column: str) -> str:
        """The text in a column, unchanged; a number as JSON writes it.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        text = text_of(value)
        if text is None:
            raise self._wrong(column, "text", value)
        return text

    def texts(self, column: str) -> tuple[str, ...]:
        """The list of texts in a column.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        texts = [text_of(item) for item in value] if isinstance(value, list) else [None]
        if not all(text is not None for text in texts):
            raise self._wrong(column, "a list of texts", value)
        return tuple(text for text in texts if text is not None)

    def name(self, column: str) -> str:
        """A text or a whole number that names something, as text.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if not isinstance(whole, str | int):
            raise self._wrong(column, "text or a whole number", value)
        return str(whole)

    def number(self, column: str) -> float:
        """The number in a column; a text of a number, as in a CSV file, counts.

        Raises:
            DataError: The column is missing or holds something else.
        """
        return self._number(column, self._value(column))

    def numbers(self, column: str) -> tuple[float, ...]:
        """The list of numbers in a column.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if not isinstance(value, list):
            raise self._wrong(column, "a list of numbers", value)
        return tuple(self._number(column, item) for item in value)

    def gap(self, higher: str, lower: str) -> float | None:
        """The number in column `higher` minus the number in column `lower`; None where either is missing.

        Raises:
            DataError: A column holds something else.
        """
        return self.number(higher) - self.number(lower) if self.has(higher) and self.has(lower) else None

    def flag(self, column: str) -> bool:
        """The truth value in a column: true or false, 1 or 0, or one of these or yes or no as text, as in a CSV file.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        flag = _FLAGS.get(str(value).strip().casefold()) if isinstance(value, float | int | str) else None
        if flag is None:
            raise self._wrong(column, "true or false, 1 or 0", value)
        return flag

    def one_of(self, column: str, *choices: object) -> Any:
        """The choice that a column holds; a text or a number stands for the choice that is written the same.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        # True == 1 in Python, but true is no answer to "which of the two, 0 or 1".
        written = str(whole) if isinstance(whole, str | int) and not isinstance(whole, bool) else None
        choice = next((choice for choice in choices if str(choice) == written), None)
        if choice is None:
            raise self._wrong(column, f"one of {', '.join(map(shown, choices))}", value)
        return choice

    def labels(self, column: str) -> tuple[int, ...]:
        """The list of zeros and ones in a column.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if not isinstance(value, list) or not all(type(item) is int and item in (0, 1) for item in value):
            raise self._wrong(column, "a list of 0 and 1", value)
        return tuple(value)

    def part(self, column: str) -> "Row":
        """A column that holds a mapping, as a row of its own.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if not isinstance(value, dict):
            raise self._wrong(column, "a mapping", value)
        return replace(self, where=f"{self.where}, column {column!r}", columns=value)

    def parts(self, column: str) -> "tuple[Row, ...]":
        """A column that holds a list of mappings, each as a row of its own.

        Raises:
            DataError: The column is missing or holds something else.
        """
        return self._parts(column, "a list of mappings")

    def lists(self, column: str) -> "Row":
        """A column that holds a list of mappings, as one row of lists; Arrow may store it that way already.

        Raises:
            DataError: The column is missing or holds something else.
        """
        if isinstance(self._value(column), dict):
            return self.part(column)
        items = [item.columns for item in self._parts(column, "a list of mappings")]
        keys = items[0] if items else ()
        columns = {key: [item.get(key) for item in items] for key in keys}
        return replace(self, where=f"{self.where}, column {column!r}", columns=columns)

    def messages(self, column: str) -> Prompt:
        """The whole conversation in a column, a list of messages as `turn_of` reads them, the last one an answer.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._conversation(column)
        turns = self._turns(column, value, "a list of messages")
        if turns and turns[-1].speaker == "assistant" and isinstance(value, list):
            self._inside(column, len(value) - 1, value[-1]).message(answer_of)
        return turns

    def turns(self, column: str) -> Prompt:
        """The conversation in a column: a text, which is one user turn, or messages as `turn_of` reads them.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._conversation(column)
        text = text_of(value)
        if text is not None:
            return (Turn("user", text.strip()),)
        return self._turns(column, [value] if isinstance(value, dict) else value, "text or a list of messages")

    def tools(self, column: str) -> str:
        """The functions that a conversation may call, from a list of JSON schemas or that list as text.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        try:
            return tools_of(value)
        except MessageError as error:
            raise DataError(f"{self.where}: column {column!r} {error}") from None

    def answer(self, column: str) -> str:
        """The stripped text of the answer in a column: a text, one message, or a list of one message.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._conversation(column)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        text = text_of(value)
        if text is not None:
            return text.strip()
        if isinstance(value, dict):
            return self._inside(column, 0, value).message(answer_of)
        raise self._wrong(column, "text or one message", value)

    def answered(self, column: str) -> tuple[Prompt, str]:
        """The answer in a column, and the turns before it where the column holds a conversation of several messages.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._conversation(column)
        if not isinstance(value, list) or len(value) < 2:  # noqa: PLR2004 - an answer alone
            return (), self.answer(column)
        turns = self.messages(column)
        if turns[-1].speaker != "assistant":
            raise UnusableRowError(self.where, NO_ANSWER)
        return turns[:-1], turns[-1].text

    def is_text(self, column: str) -> bool:
        """Whether a column holds a text that is no list of messages."""
        return isinstance(self.columns.get(column), str) and isinstance(self._conversation(column), str)

    def has(self, column: str) -> bool:
        """Whether the row has a value in a column."""
        return not is_missing(self.columns.get(column))

    def has_name(self, column: str) -> bool:
        """Whether the row has a value in a column that names something: a blank text, as an empty CSV cell, is none."""
        value = self.columns.get(column)
        return not is_missing(value) and not (isinstance(value, str) and not value.strip())

    def _conversation(self, column: str) -> object:
        """The value of a column, with messages as text as a list of them."""
        try:
            return as_messages(self._value(column))
        except MessageError as error:
            raise DataError(f"{self.where}: column {column!r} {error}") from None

    def _turns(self, column: str, value: object, needed: str) -> Prompt:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(column, needed, value)
        return tuple(self._inside(column, index, item).message(turn_of) for index, item in enumerate(value))

    def message(self, read: Callable[[Mapping[str, Any]], Read]) -> Read:
        """What a function reads from the row itself as one message."""
        try:
            return read(self.columns)
        except MessageError as error:
            raise DataError(f"{self.where}: {error}") from None
        except UnusableError as error:
            raise UnusableRowError(self.where, str(error)) from None

    def _parts(self, column: str, needed: str) -> "tuple[Row, ...]":
        value = self._value(column)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(column, needed, value)
        return tuple(self._inside(column, index, item) for index, item in enumerate(value))

    def _inside(self, column: str, index: int, columns: Mapping[str, Any]) -> "Row":
        """One item of a list column as a row of its own."""
        return replace(self, where=f"{self.where}, column {column!r}, item {index + 1}", columns=columns)

    def _number(self, column: str, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self._wrong(column, "a number", value)
        return number

    def _value(self, column: str) -> Any:
        value = self.columns.get(column)
        if is_missing(value):
            problem = (
                f"column {column!r} has no value" if column in self.columns else f"the column {column!r} is missing"
            )
            there = listed(self.columns) or "none"
            raise UnusableRowError(self.where, f"no value in column {column!r}", f"{problem}; the row has: {there}")
        return value

    def _wrong(self, column: str, needed: str, value: object) -> DataError:
        return DataError(f"{self.where}: column {column!r} must be {needed}, got {shown(value)}")
