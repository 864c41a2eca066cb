"""What rows hold that is not used: columns, and keys of messages, of their parts and of answers."""

from collections.abc import Iterable, Mapping
from typing import Any

from harness.config.schema import ColumnsConfig
from harness.config.wording import listed
from harness.data.message import (
    KEYS,
    PART_KEYS,
    TEXT_KEYS,
    UNUSED_ANSWER_KEYS,
    MessageError,
    as_messages,
    is_empty,
    is_media,
)
from harness.data.row import Row


def unused_keys(rows: Iterable[Row], columns: ColumnsConfig) -> dict[str, set[str]]:
    """Messages, parts of messages and answers -> their keys that are not used.

    Args:
        rows: The raw rows.
        columns: What their columns hold.
    """
    in_messages, in_parts, in_answers = set[str](), set[str](), set[str]()
    answers = {column for column in (columns.chosen, columns.rejected, columns.answer) if column is not None}
    conversations = answers if columns.prompt is None else {*answers, columns.prompt}
    for row in rows:
        for column in conversations:
            messages = _messages(row.columns.get(column))
            for message in messages:
                in_messages |= _filled(message).difference(KEYS)
                in_parts |= _unused_in_parts(message)
            if column in answers and messages:
                in_answers |= _filled(messages[-1]).intersection(UNUSED_ANSWER_KEYS)
        in_answers |= _unused_in_ranked(columns, row)
    return {"messages": in_messages, "parts of messages": in_parts, "answers": in_answers}


def unused_note(
    name: str, used: Iterable[str], there: Mapping[str, int], keys_that_are_unused: Mapping[str, Iterable[str]]
) -> str:
    """A line for the user that tells what is not used; empty where everything is.

    Args:
        name: The dataset.
        used: Columns that are read.
        there: Column -> rows that have a value in it.
        keys_that_are_unused: As `unused_keys` returns them.
    """
    columns = [column for column in there if column not in set(used)]
    clauses = [f"columns that are not used: {listed(columns)}"] if columns else []
    clauses += [
        f"keys of {holder} that are not used: {listed(sorted(keys))}"
        for holder, keys in keys_that_are_unused.items()
        if keys
    ]
    return f"{name}: {'; '.join(clauses)}" if clauses else ""


def _messages(value: object) -> list[Mapping[str, Any]]:
    """The messages of a value in any form that rows are read in; none where it is another value or a broken one."""
    try:
        read = as_messages(value)
    except MessageError:  # the row is refused where it is read, with its place
        return []
    items = read if isinstance(read, list) else [read]
    return [item for item in items if isinstance(item, dict)]


def _unused_in_parts(message: Mapping[str, Any]) -> set[str]:
    """Keys of a message's parts; not those of images and the like, for which the row is left out and counted."""
    lists = [message[key] for key in TEXT_KEYS if isinstance(message.get(key), list)]
    parts = [part for parts in lists for part in parts if isinstance(part, dict)]
    return {key for part in parts for key in _filled(part).difference(PART_KEYS) if not is_media(key)}


def _unused_in_ranked(columns: ColumnsConfig, row: Row) -> set[str]:
    """Keys of ranked answers that are mappings, or a mapping of lists as in Arrow."""
    if columns.answers is None or columns.answer_text is None:
        return set()
    value = row.columns.get(columns.answers)
    answers = value if isinstance(value, list) else [value]
    keys = {key for answer in answers if isinstance(answer, dict) for key in _filled(answer)}
    return keys - {columns.answer_text, columns.scores}


def _filled(mapping: Mapping[str, Any]) -> set[str]:
    return {str(key) for key, value in mapping.items() if not is_empty(value)}
