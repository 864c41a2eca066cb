"""Footnotes of a table row: what a reader has to know of it before he believes it, each in one sentence or two."""

from collections.abc import Iterable
from dataclasses import replace

from reports.comparing.compare import ERROR_RATE, FEW_GROUPS, Comparison
from reports.records import Run, Subject
from reports.rendering.content.display import cells, spread


class Footnotes:
    """The footnotes of one table or section, numbered in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def numbers(self, notes: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers of notes, new ones for those that were not used before."""
        return tuple(self._numbers.setdefault(note, len(self._numbers) + 1) for note in notes)

    @property
    def used(self) -> tuple[tuple[int, str], ...]:
        """The notes that were used, with their numbers."""
        return tuple((number, note) for note, number in self._numbers.items())


def row_notes(run: Run, row: Comparison) -> tuple[str, ...]:
    """Return every footnote of a row that was measured, those that change its meaning first."""
    notes = (_by_definition(row), _not_after_correction(row), *_meaning(run, row), *_method(row))
    return tuple(note for note in notes if note)


def table_notes(run: Run, row: Comparison) -> tuple[str, ...]:
    """Return the footnotes of a row in the table of one candidate, which says the rest by marks and words."""
    return tuple(note for note in (*_meaning(run, row), *_method(row)) if note)


def matrix_notes(run: Run, row: Comparison) -> tuple[str, ...]:
    """Return the footnotes of a cell of several candidates: what changes its meaning, the rest is in the full table."""
    return tuple(note for note in _meaning(run, row) if note)


def _meaning(run: Run, row: Comparison) -> tuple[str, ...]:
    return _assumed(run, row), _without_interval(row), _above_vocabulary(row)


def _method(row: Comparison) -> tuple[str, ...]:
    return _within_margin(row), _few_groups(row), _long_tail(row)


def subject_notes(subject: Subject) -> tuple[str, ...]:
    """Return the footnotes of a subject's name."""
    if subject.same_weights:
        return ()
    return ("Other weights than the baseline's: the difference is not of the training alone.",)


def not_measured(run: Run, rows: Iterable[tuple[str, Comparison]]) -> tuple[str, ...]:
    """Return a note for each reason why metrics, given with their names, have no difference."""
    by_reason: dict[str, dict[str, None]] = {}
    for name, row in rows:
        by_reason.setdefault(reason_not_measured(run, row), {})[name] = None
    return tuple(f"Not measured: {'; '.join(names)} ({reason})." for reason, names in by_reason.items())


def reason_not_measured(run: Run, row: Comparison) -> str:
    """Return why a row has no difference, in words that rows share of which the same subject's numbers are broken."""
    is_recipe = all(subject.name != row.candidate for subject in run.subjects)
    if row.is_finite or is_recipe:
        return row.why_no_interval or "no number"
    return f"numbers of {row.candidate if row.candidate_value is None else row.baseline} are not finite"


def _by_definition(row: Comparison) -> str:
    if row.against != "definition":
        return ""
    if row.metric.name.startswith("reward_"):
        return "By definition: a model's reward against itself is 0."
    return "By definition, not measured."


def _assumed(run: Run, row: Comparison) -> str:
    """Return that its reward is taken against a reference, or scaled by a beta, that nothing says."""
    adapters = [each for each in run.candidates if row.candidate in (each.name, each.recipe)]
    if row.metric.chance is None or not any(each.assumed for each in adapters):
        return ""
    return "Nothing says what the adapter's training started from, or its beta: they are assumed."


def _not_after_correction(row: Comparison) -> str:
    if not row.fails_correction:
        return ""
    return "Clear of zero by itself, but not after correction for the number of comparisons."


def _within_margin(row: Comparison) -> str:
    """Return that it is equivalent within its gate, unless its twin with or without the end of turn contradicts."""
    if row.p_unchanged is None or row.p_unchanged > ERROR_RATE:
        return ""
    margin = spread(row.margin, row.metric)
    if not row.is_contradicted:
        opening = "Unchanged within" if row.outcome == "no change seen" else "Changed by less than"
        return f"{opening} {margin}, the margin of its gate."
    twin = cells(replace(row, difference=row.twin_difference)).difference
    return (
        f"Within {margin}, the margin of its gate, but not called unchanged: {row.metric.twin} changed by {twin}, so "
        "words and the end of turn moved apart."
    )


def _without_interval(row: Comparison) -> str:
    if row.interval is not None or row.why_no_interval is None:
        return ""
    return "The same scores on every example." if row.is_identical else f"No interval: {row.why_no_interval}."


def _above_vocabulary(row: Comparison) -> str:
    """Return that a value is worse than a uniform guess over the vocabulary, so that it says nothing of a model."""
    ceiling = row.metric.uninformative
    values = [value for value in (row.baseline_value, row.candidate_value) if value is not None]
    if ceiling is None or not values or max(values) <= ceiling:
        return ""
    tokens = cells(replace(row, baseline_value=ceiling, interval=None)).baseline.partition(".")[0]
    place = f"Above {tokens}, the tokens of the vocabulary, it is worse than guessing"
    return f"{place}: a gain there means nothing, but a loss counts."


def _few_groups(row: Comparison) -> str:
    is_by_amounts = row.method in ("t and skewness", "seeds and groups")
    if not is_by_amounts or row.n_groups >= FEW_GROUPS:
        return ""
    return f"Fewer than {FEW_GROUPS} groups, where claims may be wrong more often than 5 %."


def _long_tail(row: Comparison) -> str:
    if row.long_tail is None:
        return ""
    way, other = ("rise", "fall") if row.long_tail == "above" else ("fall", "rise")
    tail = f"A few of its groups {way} far more than the rest: the interval is lopsided"
    return f"{tail}, and only a clearer {other} would be claimed."
