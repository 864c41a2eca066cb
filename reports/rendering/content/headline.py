"""The headline of a report: one sentence that answers the question, then what was gained, lost, and limits belief."""

from dataclasses import dataclass
from typing import Literal

HeadlineKind = Literal["gained", "lost", "no change seen", "cannot tell", "believe it?"]
"""What a line is about, in the order of the lines; `higher` and `lower` metrics, of which neither is better, are named
under "no change seen" only if they did not move, and otherwise by their direction in "lost"."""


@dataclass(frozen=True, slots=True)
class HeadlineLine:
    """One line of the headline, such as gained: "preferred answers +13.2 pp"."""

    kind: HeadlineKind
    text: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The first thing that is read, in every format; at most six sentences and 600 characters in all."""

    subject: str
    """Name of the candidate or recipe that it is about."""
    sentence: str
    lines: tuple[HeadlineLine, ...]
    limits: tuple[str, ...] = ()
    """Everything that limits belief, weightiest first; the last line has the first two and how many more there are."""
