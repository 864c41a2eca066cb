"""Errors that transformers, PEFT and torch raise on values from outside."""

from huggingface_hub.errors import StrictDataclassError

LIBRARY_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, OSError, RecursionError,
    RuntimeError, StrictDataclassError, TypeError, ValueError,
)  # fmt: skip
"""What a library raises on a configuration or on weights that it does not expect."""
