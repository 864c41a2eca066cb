"""Text, numbers and footnotes in LaTeX."""

import re
from collections.abc import Sequence

from reports.rendering.content.display import MINUS, NOTHING

_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#{}"},
    "_": r"\_\allowbreak{}",
    "/": r"/\allowbreak{}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "-": "-{}",  # two of them would become a dash
    "`": r"\textasciigrave{}",
    "[": "{[}",  # at the start of a line it would be the option of the line break before it
    "*": "{*}",
    "\u2212": r"\ensuremath{-}",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\dots{}",
    "\u221e": r"\ensuremath{\infty}",
    "\u2191": r"\ensuremath{\uparrow}",
    "\u2193": r"\ensuremath{\downarrow}",
    "\u2192": r"\ensuremath{\rightarrow}",
    "\u00b7": r"\ensuremath{\cdot}",
    "\u00a0": "~",
    "\u2605": r"\ensuremath{\star}",
    "\u25b3": r"\ensuremath{\bigtriangleup}",
    "\u25bd": r"\ensuremath{\bigtriangledown}",
    "\u25c7": r"\ensuremath{\diamond}",
}
_BASIC_LATIN, _LETTERS_OF_LATIN_1 = range(0x20, 0x7F), range(0xC0, 0x100)
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_CELL = re.compile(r"(?P<sign>[+-])?(?P<whole>\d+)(\.(?P<decimals>\d+))?( \{(?P<mark>.*)\})?")
_UNITS = re.compile(r" (%|pp)$")


def latex_text(text: str) -> str:
    """Return the text escaped; a character that plain LaTeX has no glyph for becomes its code point."""
    return "".join(_latex_character(character) for character in text)


def _latex_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if ord(character) in _BASIC_LATIN or ord(character) in _LETTERS_OF_LATIN_1:
        return character
    return " " if character.isspace() else f"[U+{ord(character):04X}]"


def number_cell(text: str, mark: str = "") -> str:
    """Return a number for a column of siunitx, without its unit; what is no plain number stands in braces as text.

    Args:
        text: A cell of a table, such as "+13.2 pp".
        mark: LaTeX that follows the number, such as a footnote.
    """
    bare = without_unit(text).replace(",", "").replace(MINUS, "-")
    if _PLAIN_NUMBER.fullmatch(bare):
        return f"{bare} {{{mark}}}" if mark else bare
    return f"{{{latex_text(without_unit(text) or NOTHING)}{mark}}}"


def without_unit(text: str) -> str:
    """Return a number, or several, without the unit at the end."""
    return _UNITS.sub("", text)


def number_column(cells: Sequence[str]) -> str:
    """Return a column of siunitx with room for the digits, the signs and the widest mark of these cells."""
    found = [match for cell in cells if (match := _CELL.fullmatch(cell))]
    whole = max((len(match["whole"]) for match in found), default=1)
    decimals = max((len(match["decimals"] or "") for match in found), default=0)
    sign = "+" if any(match["sign"] for match in found) else ""
    mark = max((match["mark"] or "" for match in found), key=_columns_of, default="")
    room = f",table-space-text-post={{{mark}}}" if mark else ""
    plus = ",retain-explicit-plus" if sign else ""
    return f"S[table-format={sign}{whole}.{decimals}{plus}{room}]"


def _columns_of(mark: str) -> int:
    return len(mark.replace(r"$\ast$", "*"))


def superscript(numbers: Sequence[int], before: str = "") -> str:
    """Return the numbers of footnotes, raised, behind other raised marks; nothing without any."""
    marks = [*([before] if before else []), *map(str, sorted(numbers))]
    return rf"\textsuperscript{{{','.join(marks)}}}" if marks else ""
