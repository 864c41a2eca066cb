"""Text of the data escaped for Markdown, so that it stays text."""

import re

from reports.rendering.content.display import plain

LONGEST_TEXT = 600
"""Characters of an answer that are shown."""

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@<!-- -->"}  # the comment keeps a forge from calling @somebody
    | {character: f"\\{character}" for character in "\\`*[]|~$"}
)
_LOOSE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_BLOCK_START = re.compile(r"^(\d*)([-+=#.)])")


def escape(text: str) -> str:
    """Return the text on one line, escaped so that nothing in it is Markdown, HTML or a column of a table."""
    return _LOOSE_UNDERSCORE.sub(r"\\_", plain(text).translate(_ESCAPES))


def escape_line(text: str) -> str:
    """Return the text escaped for a line of its own, which must not start a list or a heading either."""
    return _BLOCK_START.sub(r"\1\\\2", escape(text))


def code(text: str) -> str:
    """Return the text between backticks, or escaped if it has backticks or would divide a table."""
    line = plain(text)
    return f"`{line}`" if line and not any(mark in line for mark in "`|@<") else escape(line)


def quote(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a block quote with the line breaks of the text and a count of the characters that are not shown."""
    lines = [_quoted_line(line) for line in text[:longest].strip("\n").splitlines()] or ["*(empty)*"]
    if len(text) > longest:
        lines.append(f"*\u2026 {len(text) - longest:,} more characters*")
    last = len(lines) - 1
    breaks = ["  " if line and position < last else "" for position, line in enumerate(lines)]
    return "\n".join(
        f"> {line}{line_break}".rstrip(" ") + line_break for line, line_break in zip(lines, breaks, strict=True)
    )


def _quoted_line(line: str) -> str:
    text = line.lstrip(" \t")
    return "&nbsp;" * (len(line) - len(text)) + escape_line(text)
