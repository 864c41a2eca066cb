"""Estimates how wide a text is drawn, and breaks or cuts texts to a width.

A picture does not know the font that it will be drawn in. The estimates are those of DejaVu Sans, the widest of the
system fonts that `FONTS` names, so that text takes less space than was kept for it.
"""

import unicodedata
from collections.abc import Sequence

from reports.rendering.content.display import plain

FONTS = "system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif"
SMALL, SIZE = 11.0, 13.0
"""Font sizes in pixels: of axes and notes, and of names and numbers."""
LINE_HEIGHT = 1.25
"""Distance of two lines of a text, in font sizes."""
ASCENT, DESCENT = 0.95, 0.25
"""How far letters reach above and below their line, in font sizes, accents and brackets included."""
ELLIPSIS = "\u2026"

_WIDTHS = (
    "318 401 460 838 636 950 780 275 390 390 500 838 318 361 318 337 636 636 636 636 636 636 636 636 636 636 337 337 "
    "838 838 838 531 1000 684 686 698 770 632 575 775 752 295 295 656 557 863 748 787 603 787 695 635 611 732 684 989 "
    "685 611 685 390 337 390 838 500 500 613 635 550 635 615 352 635 634 278 278 579 278 974 634 612 635 635 411 521 "
    "392 634 592 818 592 592 525 636 337 636 838"
)
_KNOWN = {chr(32 + place): int(width) / 1000 for place, width in enumerate(_WIDTHS.split())} | {
    "\u2212": 0.84,
    "\u2013": 0.5,
    "\u2014": 1.0,
    "\u00b7": 0.32,
    "\u2019": 0.32,
    "\u00d7": 0.84,
}
"""Width in font sizes of each printable ASCII character, and of signs that numbers and names have."""
_WIDE, _LETTER, _ELSE, _PICTOGRAPH = 1.02, 0.8, 1.0, 1.4
_BOLD = 1.15
_BOLD_WEIGHT = 600
"""Font weight from which fonts have wider letters."""
_FIRST_PICTOGRAPH = 0x1F000
_BREAKS_AFTER = " -/_,=:."


def text_width(words: str, size: float = SIZE, weight: int = 400) -> float:
    """Return the width of a line of text in pixels, rather too wide than too narrow."""
    width = sum(map(_character_width, words)) * size
    return width * _BOLD if weight >= _BOLD_WEIGHT else width


def _character_width(character: str) -> float:
    bare = unicodedata.normalize("NFD", character)[0]
    if bare in _KNOWN:
        return _KNOWN[bare]
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0.0
    if ord(character) >= _FIRST_PICTOGRAPH:
        return _PICTOGRAPH
    if unicodedata.east_asian_width(character) in "WF":
        return _WIDE
    return _LETTER if character.isalpha() else _ELSE


def wrapped(words: str, width: float, *, size: float = SIZE, weight: int = 400, most_lines: int = 2) -> tuple[str, ...]:
    """Return a text as lines that are no wider than a width, cut in its middle if it needs more lines than allowed.

    Lines break after spaces and the signs of names such as learning_rate=1e-5, between Chinese, Japanese and Korean
    characters, and within a word only if it is wider than a line.
    """
    text = plain(words)
    lines = _lines(text, width, size, weight)
    kept = len(text)
    while len(lines) > most_lines and kept > 1:
        kept = kept * most_lines // len(lines) if len(lines) > most_lines + 1 else kept - 1
        lines = _lines(_without_middle(text, kept), width, size, weight)
    return tuple(lines)


def cut(words: str, width: float, *, size: float = SIZE, weight: int = 400) -> str:
    """Return a text on one line, without its middle if it is wider than a width.

    Names of controls and of members of a sweep begin alike and end in what differs, or the other way round.
    """
    text = plain(words)
    kept = len(text)
    while text_width(shown := _without_middle(text, kept), size, weight) > width and kept > 1:
        kept -= 1
    return shown


def _without_middle(text: str, n_kept: int) -> str:
    if n_kept >= len(text):
        return text
    n_first = (n_kept + 1) // 2
    return text[:n_first].rstrip() + ELLIPSIS + text[len(text) - (n_kept - n_first) :].lstrip()


def _lines(text: str, width: float, size: float, weight: int) -> list[str]:
    lines, line = [], ""
    for piece in _pieces(text):
        if line and text_width((line + piece).rstrip(), size, weight) > width:
            lines.append(line)
            line = ""
        line += piece
        while text_width(line.rstrip(), size, weight) > width and len(line) > 1:
            n_fitting = _n_fitting(line, width, size, weight)
            lines.append(line[:n_fitting])
            line = line[n_fitting:]
    return [each.strip() for each in (*lines, line) if each.strip()] or [""]


def _pieces(text: str) -> list[str]:
    """Return the text in pieces between which a line may break; no punctuation stands at the start of one."""
    pieces: list[str] = []
    for place, character in enumerate(text):
        if place and _may_break(text[place - 1], character):
            pieces.append(character)
        else:
            pieces[-1:] = ["".join((*pieces[-1:], character))]
    return pieces


def _may_break(before: str, after: str) -> bool:
    if unicodedata.category(after)[0] not in "LNS" and after not in "([":
        return False
    is_number = before in "-.:," and after.isdigit()  # 1e-5 and 0.25 stay whole
    return _is_cjk(before) or _is_cjk(after) or (before in _BREAKS_AFTER and not is_number)


def _is_cjk(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF" and ord(character) < _FIRST_PICTOGRAPH


def _n_fitting(piece: str, width: float, size: float, weight: int) -> int:
    n = 1
    while n < len(piece) and text_width(piece[: n + 1], size, weight) <= width:
        n += 1
    while n > 1 and unicodedata.combining(piece[n : n + 1] or " "):
        n -= 1
    return n


def block_height(lines: Sequence[str], size: float = SIZE) -> float:
    """Return the height of lines of text in pixels."""
    return (ASCENT + DESCENT + (len(lines) - 1) * LINE_HEIGHT) * size
