"""One raw row of a dataset, read column by column; errors name the file and line."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.config.wording import shown
from reports.errors import UserError
from suites.inputs import Prompt, Speaker, Turn

_SPEAKERS: dict[str, Speaker] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class DataError(UserError):
    """Rows that are missing or broken, or columns that hold something else than expected."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that cannot be used."""

    reason: str
    """The reason, in the words that reports count it under."""


@dataclass(frozen=True, slots=True)
class Row:
    """One raw row of a dataset; each method reads a column as one type."""

    where: str
    """File and line, or dataset, split and row number, for error messages."""
    columns: Mapping[str, Any]
    """Column -> value."""
    source: str
    """Part of the dataset that the row comes from: its configuration, its file, or the dataset's own name."""

    def text(self, column: str) -> str:
        """The text in a column, unchanged.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if not isinstance(value, str):
            raise self._wrong(column, "text", value)
        return value

    def texts(self, column: str) -> tuple[str, ...]:
        """The list of texts in a column.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(column, "a list of texts", value)
        return tuple(value)

    def name(self, column: str) -> str:
        """A text or a whole number that names something, as text.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if not isinstance(value, str | int):
            raise self._wrong(column, "text or a whole number", value)
        return str(value)

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
        """The truth value in a column: true or false, 1 or 0, or one of these as text, as in a CSV file.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        flag = _FLAGS.get(str(value).casefold()) if isinstance(value, bool | int | str) else None
        if flag is None:
            raise self._wrong(column, "true or false, 1 or 0", value)
        return flag

    def one_of(self, column: str, *choices: object) -> Any:
        """The value in a column that may hold only these choices.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        # True == 1 in Python, but true is no answer to "which of the two, 0 or 1".
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise self._wrong(column, f"one of {', '.join(map(shown, choices))}", value)
        return value

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
        """The conversation in a column, a list of messages; texts are stripped.

        A message has a `role` (system, user or human, assistant or gpt) and a `content` or `text`; or `from` and
        `value`, as in ShareGPT.

        Raises:
            DataError: The column is missing or holds something else.
        """
        return tuple(message.turn() for message in self._parts(column, "a list of messages"))

    def turns(self, column: str) -> Prompt:
        """The conversation in a column: a text, which is one user turn, or a list of messages; texts are stripped.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if isinstance(value, str):
            return (Turn("user", value.strip()),)
        return tuple(message.turn() for message in self._parts(column, "text or a list of messages"))

    def turn(self) -> Turn:
        """The row itself as one message; its text is stripped.

        Raises:
            DataError: It has no known role or no text.
        """
        role = self.one_of("from" if "from" in self.columns else "role", *_SPEAKERS)
        column = next((column for column in ("text", "value") if column in self.columns), "content")
        return Turn(_SPEAKERS[role], self.text(column).strip())

    def answer(self, column: str) -> str:
        """The stripped text of the answer in a column: a text, one message, or a list of one message.

        Raises:
            DataError: The column is missing or holds something else.
        """
        value = self._value(column)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, dict):
            return self._inside(column, 0, value).turn().text
        raise self._wrong(column, "text or one message", value)

    def is_conversation(self, column: str) -> bool:
        """Whether a column holds several messages."""
        value = self._value(column)
        return isinstance(value, list) and len(value) > 1

    def has(self, column: str) -> bool:
        """Whether the row has a value in a column."""
        return self.columns.get(column) is not None

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
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self._wrong(column, "a number", value)
        return number

    def _value(self, column: str) -> Any:
        if column not in self.columns:
            there = ", ".join(map(str, self.columns)) or "none"
            raise DataError(f"{self.where}: the column {column!r} is missing; the row has: {there}")
        return self.columns[column]

    def _wrong(self, column: str, needed: str, value: object) -> DataError:
        return DataError(f"{self.where}: column {column!r} must be {needed}, got {shown(value)}")
