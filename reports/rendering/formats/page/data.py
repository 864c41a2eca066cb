"""The data of the page as text, and how much of them it holds."""

import json

LARGEST_PAGE = 20_000_000
"""Most bytes of a page, unless its reader asks for more examples than that holds."""
LARGEST_ANSWERS = 8_000_000
"""Most bytes of answers in it."""


def json_in_html(data: object) -> str:
    """Return JSON without a character that could end the HTML element it is in."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def n_bytes(text: str) -> int:
    """Return how many bytes a text is in the page's file, in which a lone surrogate is written as its code point."""
    return len(text.encode("utf-8", errors="backslashreplace"))
