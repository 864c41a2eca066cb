"""Errors that transformers, PEFT and torch raise on values from outside, and their words on one line."""

from huggingface_hub.errors import StrictDataclassError

from reports.plain_text import one_line

LIBRARY_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, OSError, RecursionError,
    RuntimeError, StrictDataclassError, TypeError, ValueError,
)  # fmt: skip
"""What a library raises on a configuration or on weights that it does not expect."""
_LONGEST = 300


def first_line(error: Exception) -> str:
    """Return what an error says first, on one line."""
    return _short(str(error).strip().split("\n", 1)[0], error)


def last_line(error: Exception) -> str:
    """Return what an error says last, on one line: with torch, what is wrong with one tensor."""
    return _short(str(error).strip().rsplit("\n", 1)[-1], error)


def _short(text: str, error: Exception) -> str:
    text = one_line(text.strip()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
