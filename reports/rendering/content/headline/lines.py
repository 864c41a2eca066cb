"""The lines of a headline: every metric by the name that people call it, in exactly one line, as many as fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reports.comparing.compare import Comparison
from reports.records import Metric
from reports.rendering.content.display import cells
from reports.rendering.content.headline.facts import Standing, standing
from reports.rendering.content.headline.subject import Judged
from reports.rendering.content.headline.words import listed, opened, shortened

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
_ALWAYS: tuple[HeadlineKind, ...] = ("gained", "lost")
"""Lines that are there without content too."""
NOTHING_SEEN = "nothing seen in these rows"

LONGEST_HEADLINE = 600
"""Characters of sentence and lines together, with the words that say what each line is about."""
_LONGEST_METRIC = 44
_MOST_IN_A_GROUP = 4
_TARGET_SUFFIX = ", reward accuracy"
"""End of a name that is left out: what it is measured by is in the table."""


@dataclass(frozen=True, slots=True)
class HeadlineLine:
    """One line of the headline, such as gained: "preferred answers +13.2 pp"."""

    kind: HeadlineKind
    text: str


@dataclass(frozen=True, slots=True)
class _Item:
    """One or several metrics of a line."""

    text: str
    n_metrics: int


def headline_lines(judged: Judged, names: Mapping[Metric, str], believe: str, n_left: int) -> tuple[HeadlineLine, ...]:
    """Return the lines, largest differences first and what it was trained for before all, as much as fits.

    Args:
        judged: Whom the headline is about.
        names: What people call each metric.
        believe: Text of the last line, or empty.
        n_left: Characters that the sentence leaves for all lines.
    """
    rows: dict[HeadlineKind, list[Comparison]] = {}
    for row in judged.rows:
        rows.setdefault(_LINES[standing(row)], []).append(row)
    order: tuple[HeadlineKind, ...] = ("gained", "lost", "no change seen", "cannot tell")
    items = {kind: _items(judged, rows[kind], names) if kind in rows else [] for kind in order}
    shown = {kind: found for kind, found in items.items() if found or kind in _ALWAYS}
    last = [HeadlineLine("believe it?", believe)] if believe else []
    n_left -= sum(n_characters(line) for line in last)
    return (*(HeadlineLine(kind, text) for kind, text in _fitted(shown, n_left).items()), *last)


def n_characters(line: HeadlineLine) -> int:
    """Return how long a line is with what it is about: "lost: perplexity +2.1 %"."""
    return len(f"{line.kind}: {line.text}")


def _fitted(items: Mapping[HeadlineKind, Sequence[_Item]], n_left: int) -> dict[HeadlineKind, str]:
    """Return the texts of the lines: first what was lost, then each line in turn gets one more item while it fits."""
    n_shown = dict.fromkeys(items, 0)
    turns: tuple[HeadlineKind, ...] = ("lost", "gained", "no change seen", "cannot tell")
    grows = True
    while grows:
        grows = False
        for kind in turns:
            if n_shown.get(kind, 0) >= len(items.get(kind, ())):
                continue
            more = n_shown | {kind: n_shown[kind] + 1}
            texts = {each: _text(items[each], more[each]) for each in items}
            if sum(n_characters(HeadlineLine(each, text)) for each, text in texts.items()) <= n_left:
                n_shown, grows = more, True
    return {kind: _text(found, n_shown[kind]) for kind, found in items.items()}


def _text(items: Sequence[_Item], n_shown: int) -> str:
    """Return the first items and how many metrics are left out; without items that nothing was seen."""
    if not items:
        return NOTHING_SEEN
    rest = sum(item.n_metrics for item in items[n_shown:])
    if not n_shown:
        return f"{rest:,} metric{'s' if rest > 1 else ''}"
    shown = "; ".join(item.text for item in items[:n_shown])
    return opened(shown) + (f"; and {rest:,} more" if rest else "")


def _items(judged: Judged, rows: Sequence[Comparison], names: Mapping[Metric, str]) -> list[_Item]:
    """Return the items of a line; metrics of one kind and unit that went the same way are one of them."""
    ordered = sorted(rows, key=lambda row: (row not in judged.target, -_size(row)))
    groups: dict[tuple[str, ...], list[Comparison]] = {}
    for row in ordered:
        _, _, words = names[row.metric].rpartition(", ")
        is_alone = row in judged.target or words == names[row.metric]
        key = (names[row.metric],) if is_alone else (words, cells(row).unit, row.outcome)
        groups.setdefault(key, []).append(row)
    return [_item(group, names) for group in groups.values()]


def _item(rows: Sequence[Comparison], names: Mapping[Metric, str]) -> _Item:
    """Return "preferred answers +13.2 pp", or "perplexity of A and B -2.4 to -2.5 %" of several."""
    numbers = [_difference(row) for row in rows]
    direction = f" ({rows[0].outcome})" if rows[0].outcome in ("higher", "lower") else ""
    if len(rows) == 1:
        name = shortened(names[rows[0].metric].removesuffix(_TARGET_SUFFIX), _LONGEST_METRIC)
        return _Item(f"{name}{numbers[0]}{direction}", 1)
    sets, words = zip(*(_parts(names[row.metric]) for row in rows), strict=True)
    some = [shortened(name, _LONGEST_METRIC // 2) for name in sets[:_MOST_IN_A_GROUP]]
    if len(sets) > _MOST_IN_A_GROUP:
        some[-1:] = [f"{len(sets) - _MOST_IN_A_GROUP + 1:,} more"]
    unit = f" {cells(rows[0]).unit}" if rows[0].metric.display != "mean" else ""
    return _Item(
        f"{shortened(words[0], _LONGEST_METRIC // 2)} of {listed(some)}{_range(rows, numbers, unit)}{direction}",
        len(rows),
    )


def _range(rows: Sequence[Comparison], texts: Sequence[str], unit: str) -> str:
    """Return the smallest and the largest difference, or the lowest and the highest if they have both signs."""
    amounts = [cells(row).difference_number for row in rows]
    known = sorted((amount, text) for amount, text in zip(amounts, texts, strict=True) if amount is not None)
    if not known:
        return texts[0]
    low, high = known[0], known[-1]
    first, last = (high, low) if high[0] <= 0 else (low, high)
    return last[1] if first[1] == last[1] else f"{first[1].removesuffix(unit)} to{last[1]}"


def _parts(name: str) -> tuple[str, str]:
    """Return what was measured on, and what was measured."""
    measured_on, _, words = name.rpartition(", ")
    return measured_on, words


def _difference(row: Comparison) -> str:
    """Return the difference as the table shows it, with a space before it; a reason if there is none."""
    if not row.is_finite:
        return " (not finite)"
    return " (not measured)" if row.difference is None else f" {cells(row).difference}"


def _size(row: Comparison) -> float:
    number = cells(row).difference_number
    return 0.0 if number is None else abs(number)
