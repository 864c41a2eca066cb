"""The lines of a headline: every metric by the name that people call it, in exactly one line, as many as fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.comparing.compare import Comparison
from reports.records import Metric
from reports.rendering.content.display import cells
from reports.rendering.content.headline.facts import Standing, standing
from reports.rendering.content.headline.subject import Judged
from reports.rendering.content.headline.words import opened, shortened

HeadlineKind = Literal["gained", "lost", "no change seen", "cannot tell", "believe it?"]
"""What a line is about, in the order of the lines."""

_LINES: dict[Standing, HeadlineKind] = {
    "better": "gained",
    "worse": "lost",
    "changed": "lost",
    "no change seen": "no change seen",
    "cannot tell": "cannot tell",
    "not finite": "cannot tell",
    "not measured": "cannot tell",
}
"""What a row shows -> its line. One that changed without a better direction is named by it beside what was lost."""
_ORDER: tuple[HeadlineKind, ...] = ("gained", "lost", "no change seen", "cannot tell")
_ALWAYS: tuple[HeadlineKind, ...] = ("gained", "lost")
"""Lines that are there without content too."""
NOTHING_SEEN = "nothing seen in these rows"

LONGEST_HEADLINE = 600
"""Characters of sentence and lines together, with the words that say what each line is about."""
_LONGEST_METRIC = 56
_LONGEST_SET = 26
_TARGET_SUFFIX = ", reward accuracy"
"""End of a name that is left out: what it is measured by is in the table."""
_LOWER = " (lower is better)"
"""What is said once, behind the first metric of which less is better."""


@dataclass(frozen=True, slots=True)
class HeadlineLine:
    """One line of the headline, such as gained: "preferred answers +13.2 pp"."""

    kind: HeadlineKind
    text: str
    n_left_out: int = 0
    """Metrics of the line that there was no room for."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What the lines hold beside metrics."""

    lost: str = ""
    """A cost that no metric counts, such as fewer refusals; it ends the line of what was lost."""
    believe: str = ""
    """Text of the last line."""


def headline_lines(
    judged: Judged, names: Mapping[Metric, str], beside: Beside, n_left: int
) -> tuple[HeadlineLine, ...]:
    """Return the lines, largest differences first and what it was trained for before all, as much as fits.

    Args:
        judged: Whom the headline is about.
        names: What people call each metric.
        beside: What else the lines hold.
        n_left: Characters that the sentence leaves for all lines.
    """
    rows: dict[HeadlineKind, list[_Told]] = {kind: [] for kind in _ALWAYS}
    target = {row.metric for row in judged.target}
    for row in sorted(judged.rows, key=lambda row: (row.metric not in target, -_size(row))):
        told = _told(row, names[row.metric], is_alone=row.metric in target)
        rows.setdefault(_LINES[standing(row)], []).append(told)
    shown = {kind: rows[kind] for kind in _ORDER if kind in rows}
    last = [HeadlineLine("believe it?", beside.believe)] if beside.believe else []
    n_left -= sum(n_characters(line) for line in last)
    return (*_fitted(shown, beside.lost, n_left), *last)


def n_characters(line: HeadlineLine) -> int:
    """Return how long a line is with what it is about: "lost: perplexity +2.1 %"."""
    return len(f"{line.kind}: {line.text}")


@dataclass(frozen=True, slots=True)
class _Told:
    """A row of a line, in words."""

    row: Comparison
    name: str
    measured_on: str
    words: str
    """What was measured."""
    amount: str
    group: tuple[str, ...]
    """What it has in common with the rows that it is told with."""

    @property
    def direction(self) -> str:
        """Which way it moved, where neither is better."""
        return f" ({self.row.outcome})" if self.row.outcome in ("higher", "lower") else ""


Rows = Mapping[HeadlineKind, Sequence[_Told]]


def _told(row: Comparison, name: str, *, is_alone: bool) -> _Told:
    measured_on, _, words = name.rpartition(", ")
    kind = (words, cells(row).unit, row.outcome, str(row.metric.higher_is_better))
    return _Told(
        row,
        shortened(name.removesuffix(_TARGET_SUFFIX), _LONGEST_METRIC),
        shortened(measured_on, _LONGEST_SET),
        shortened(words, _LONGEST_SET),
        _difference(row),
        (name,) if is_alone or not measured_on else kind,
    )


def _fitted(rows: Rows, lost: str, n_left: int) -> list[HeadlineLine]:
    """Return the lines: the first loss and gain, then every loss, every gain, and of the others while they fit."""
    n_shown = dict.fromkeys(rows, 0)
    n_most = max(map(len, rows.values()))
    turns: list[HeadlineKind] = ["lost", "gained"]
    turns += [kind for kind in turns for _ in range(n_most)]
    turns += [kind for _ in range(n_most) for kind in _ORDER[2:]]
    full: set[HeadlineKind] = set()
    for kind in turns:
        if kind in full or n_shown.get(kind, 0) >= len(rows.get(kind, ())):
            continue
        more = n_shown | {kind: n_shown[kind] + 1}
        if sum(map(n_characters, _lines(rows, more, lost))) <= n_left:
            n_shown = more
        else:
            full.add(kind)
    return _lines(rows, n_shown, lost)


def _lines(rows: Rows, n_shown: Mapping[HeadlineKind, int], lost: str) -> list[HeadlineLine]:
    """Return each line: its first rows, how many are left out, and once which direction is better."""
    lines: list[HeadlineLine] = []
    is_told = False
    for kind, of_kind in rows.items():
        groups: dict[tuple[str, ...], list[_Told]] = {}
        for each in of_kind[: n_shown[kind]]:
            groups.setdefault(each.group, []).append(each)
        items = []
        for group in groups.values():
            is_lower = group[0].row.metric.higher_is_better is False
            items.append(_item(group) + (_LOWER if is_lower and not is_told else ""))
            is_told |= is_lower
        n_left_out = len(of_kind) - n_shown[kind]
        lines.append(HeadlineLine(kind, _text(items, n_left_out, lost if kind == "lost" else ""), n_left_out))
    return lines


def _text(items: Sequence[str], n_left_out: int, also: str) -> str:
    """Return the items of a line and how many metrics are left out; without any that nothing was seen."""
    if not items and n_left_out:
        items = [f"{n_left_out:,} metric{'s' if n_left_out > 1 else ''}"]
    elif n_left_out:
        items = [*items, f"and {n_left_out:,} more"]
    found = [*items, also] if also else items
    return opened("; ".join(found)) if found else NOTHING_SEEN


def _item(group: Sequence[_Told]) -> str:
    """Return "preferred answers +13.2 pp", or "perplexity of A -2.4 %, B -2.5 %" of several: each has its number."""
    first = group[0]
    if len(group) == 1:
        return f"{first.name}{first.amount}{first.direction}"
    each = ", ".join(f"{one.measured_on}{one.amount}" for one in group)
    return f"{first.words} of {each}{first.direction}"


def _difference(row: Comparison) -> str:
    """Return the difference as the table shows it, with a space before it; a reason if there is none."""
    if not row.is_finite:
        return " (not finite)"
    if row.difference is None:
        return " (not measured)"
    shown = cells(row)
    return " (beyond measure)" if math.isinf(shown.difference_number or 0.0) else f" {shown.difference}"


def _size(row: Comparison) -> float:
    number = cells(row).difference_number
    return 0.0 if number is None else abs(number)
