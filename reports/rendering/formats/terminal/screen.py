"""What a reader's terminal can show, and the texts, marks and colours that are put on it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.style import Style
from rich.text import Text

from reports.comparing.compare import Comparison, Outcome
from reports.rendering.content.display import OUTCOME_MARKS, outcome_mark, plain
from reports.rendering.content.footnotes import Footnotes

NARROWEST = 60
"""Columns below which lines are not wrapped any further."""
_STYLES: dict[Outcome, Style] = {
    "better": Style(color="color(33)", bold=True),
    "worse": Style(color="color(166)", bold=True),
}
"""Blue and orange, which the colour-blind tell apart, and which are readable on black and on white."""
_SPACES_AT_THE_END = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$")
_SUPERSCRIPTS = str.maketrans("0123456789,", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u02d2")


Colours = Literal["standard", "256", "truecolor", "windows"]
"""How many colours a terminal has, as Rich calls it."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What the terminal of a reader can show; a file or a pipe shows neither colours nor links."""

    width: int = 80
    """Columns."""
    colours: Colours | None = None
    """How many colours; None is none."""
    links: bool = False
    """Whether it shows hyperlinks (OSC 8)."""

    @property
    def columns(self) -> int:
        """Columns that are used."""
        return max(self.width, NARROWEST)


def rendered(blocks: Iterable[RenderableType], screen: Screen) -> str:
    """Return blocks as lines, each no wider than the screen and without spaces at its end."""
    file = StringIO()
    console = Console(
        file=file,
        width=screen.columns,
        force_terminal=screen.colours is not None,
        color_system=screen.colours,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={},  # the screen says what the environment means
    )
    for block in blocks:
        console.print(block)
    return "\n".join(_SPACES_AT_THE_END.sub(r"\1", line) for line in file.getvalue().splitlines())


def page_line(page: Path, screen: Screen) -> str:
    """Return the path of the page, as a hyperlink where the terminal shows links."""
    path = plain(str(page))
    return f"\x1b]8;;{page.absolute().as_uri()}\x1b\\{path}\x1b]8;;\x1b\\" if screen.links else path


def outcome_style(row: Comparison | None) -> Style:
    """Return the colour of a row's outcome; only what may be claimed, after correction, has one."""
    return _STYLES.get(row.outcome, Style()) if row is not None and row.is_claim else Style()


def outcome_text(row: Comparison, *, word: bool) -> Text:
    """Return the mark of an outcome, with its word or without."""
    mark = outcome_mark(row, row.outcome)
    return Text(f"{mark} {row.outcome}" if word else mark, outcome_style(row))


def noted(name: str, notes: Iterable[str], footnotes: Footnotes) -> Text:
    """Return a name with the numbers of its footnotes."""
    return Text(plain(name)).append(superscript(footnotes.numbers(notes)))


def superscript(numbers: Iterable[int]) -> str:
    """Return the numbers of footnotes, raised."""
    return ",".join(map(str, sorted(numbers))).translate(_SUPERSCRIPTS)


def footnote_lines(footnotes: Footnotes, others: Iterable[str]) -> list[Text]:
    """Return the footnotes one behind the other, and what stands below a table without a number."""
    numbered = " ".join(f"{superscript([number])} {plain(note)}" for number, note in footnotes.used)
    return [Text(line) for line in (numbered, *map(plain, others)) if line]


def legend(outcomes: Iterable[Outcome], words: Sequence[str], *, has_words: bool = False) -> Text:
    """Return what the marks of a table mean, unless it has their words, and what its own words mean."""
    used = set(outcomes)
    marks = [f"{mark} {outcome}" for outcome, mark in OUTCOME_MARKS.items() if outcome in used]
    return Text("; ".join([*([] if has_words or not marks else ["  ".join(marks)]), *map(plain, words)]))


def width_of(texts: Iterable[str | Text]) -> int:
    """Return the columns that the widest text takes."""
    return max((text.cell_len if isinstance(text, Text) else cell_len(text) for text in texts), default=0)


def longest_word(text: str) -> int:
    """Return the columns that the longest word of a text takes."""
    return max(map(cell_len, text.split()), default=0)
