"""Text from outside on its way to a terminal: what would steer the terminal is shown, and never sent."""

import re

_STEERING = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # C0 without tab and line feed, DEL, C1
    "\\u2028\\u2029"  # line and paragraph separator
    "\\u200e\\u200f\\u061c\\u202a-\\u202e\\u2066-\\u2069"  # direction of text
    "\\ud800-\\udfff]"  # half of a pair, which no encoding can hold
)
_STYLE = re.compile(r"(\x1b\[[0-9;]*m|\x1b\]8;[^\x00-\x1f\x7f]*\x1b\\)")
"""What this project's own tables steer a terminal with: colours and weights of letters, and links."""
_ASCII = {
    "\u2192": "->", "\u2190": "<-", "\u2191": "^", "\u2193": "v", "\u2016": "||", "\u2212": "-", "\u2013": "-",
    "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2026": "...", "\u2265": ">=",
    "\u2264": "<=", "\u00b1": "+/-", "\u00d7": "x", "\u00b7": "*", "\u2022": "*", "\u2248": "~", "\u00a0": " ",
    "\u2020": "+", "\u2021": "++", "\u202f": " ", "\u2009": " ", "\u2500": "-", "\u2502": "|",
}  # fmt: skip
"""What is written where an encoding lacks a character that this project's own texts use."""


def visible(text: str) -> str:
    r"""Return the text with every character that would steer a terminal as its escape, such as \x1b."""
    return _STEERING.sub(_escape, text)


def visible_with_styles(text: str) -> str:
    """Return the text as `visible`, but with its colours and links: for what was made for a terminal."""
    return "".join(part if index % 2 else visible(part) for index, part in enumerate(_STYLE.split(text)))


def one_line(text: str) -> str:
    r"""Return the text on one line: as `visible`, with \n and \t for line feeds and tabs."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def for_encoding(error: UnicodeError) -> tuple[str, int]:
    r"""Return what to write for characters that an encoding lacks: their ASCII form, or else their escape.

    An error handler of `codecs`: a name in other letters is readable to a program, and an arrow to a person.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ASCII.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lacking), error.end


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
