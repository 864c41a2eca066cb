"""The base class of every mistake that a user can make, and the words of a library's errors on one line.

At the bottom, so that all packages can use them.
"""

from reports.plain_text import one_line

_LONGEST = 300


class UserError(Exception):
    """A mistake in the configuration, the command line, the data or the environment.

    Each subclass is defined beside the code that raises it. Its message is one line: what was wrong, what is allowed,
    what was given, what to do. The command line prints that line and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """Return what an error says first, on one line; its kind where it says nothing."""
    return _short(str(error).strip().split("\n", 1)[0], error)


def last_line(error: BaseException) -> str:
    """Return what an error says last, on one line: with torch, what is wrong with one tensor."""
    return _short(str(error).strip().rsplit("\n", 1)[-1], error)


def _short(text: str, error: BaseException) -> str:
    text = one_line(text.strip()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
