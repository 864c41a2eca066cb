"""Tables of comparisons: which columns they have, and the footnotes of their cells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports.comparing.compare import Comparison, Outcome
from reports.records import Metric, Run
from reports.rendering.content.blocks import Code, Noted, Strong, Table, Words
from reports.rendering.content.display import (
    ARROWS,
    NOTHING,
    OUTCOME_MARKS,
    cells,
    low_to_high,
    number,
    outcome_mark,
    p_text,
    spread,
)
from reports.rendering.content.footnotes import row_notes, subject_notes
from reports.rendering.content.names import metric_names

OWN_REFERENCE_NOTE = "Each reward is taken against its own reference, so the two are not on one scale."
AGAINST_WORDS: dict[Outcome, str] = {
    "better": "ahead",
    "worse": "behind",
    "higher": "higher",
    "lower": "lower",
    "no change seen": "not told apart",
    "cannot tell": "cannot tell",
    "not measured": "not measured",
}
"""Outcome against a ruler, a control or another candidate -> its word."""


@dataclass(frozen=True, slots=True)
class Row:
    """A comparison with what its cells need beside it."""

    comparison: Comparison
    run: Run
    names: Mapping[Metric, str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of comparisons."""

    heading: str
    alignment: str
    cell: Callable[[Row], Words]


def comparison_table(run: Run, rows: Sequence[Comparison], columns: Sequence[Column], caption: str = "") -> Table:
    """Return a table with a line for each comparison."""
    names = metric_names(run)
    return Table(
        header=tuple(column.heading for column in columns),
        rows=tuple(tuple(column.cell(Row(row, run, names)) for column in columns) for row in rows),
        alignment="".join(column.alignment for column in columns),
        caption=caption,
    )


def value_column(rows: Sequence[Comparison]) -> Column:
    """Return the column of the candidates' values, under the candidate's name if there is one."""
    candidates = list(dict.fromkeys(row.candidate for row in rows))
    return Column(candidates[0] if len(candidates) == 1 else "Value", "r", lambda row: cells(row.comparison).candidate)


def candidate_columns(rows: Sequence[Comparison]) -> list[Column]:
    """Return the column of the candidates' names, if there are several."""
    return [CANDIDATE] if len({row.candidate for row in rows}) > 1 else []


def _noted(words: str | Strong, *notes: str) -> Words:
    """Return the words, with those of the notes that are not empty."""
    used = tuple(note for note in notes if note)
    return Noted(words, used) if used else words


def subject_name(run: Run, name: str) -> Words:
    """Return the name of a subject or a recipe with its footnotes."""
    own = [subject for subject in run.subjects if name in (subject.name, subject.recipe)]
    return _noted(name, *(subject_notes(own[0]) if own else ()))


def _metric(row: Row) -> Words:
    one = row.comparison
    return _noted(row.names.get(one.metric, one.metric.name), OWN_REFERENCE_NOTE if _references_differ(row) else "")


def _references_differ(row: Row) -> bool:
    """Whether it compares the rewards of two candidates that have different references; never of a recipe's mean."""
    one = row.comparison
    if one.against != "candidate" or one.metric.chance is None:
        return False
    references = {each.name: each.reference for each in row.run.subjects}
    return one.candidate in references and references[one.candidate] != references[one.baseline]


def _interval(row: Row) -> Words:
    """Return the interval, or why there is none, and everything else that a reader has to know of the row."""
    return _noted(low_to_high(cells(row.comparison)), *row_notes(row.run, row.comparison))


def _pairing(row: Row) -> Words:
    factor, correlation = row.comparison.pairing_factor, row.comparison.correlation
    if factor is None or correlation is None:
        return NOTHING
    return f"{number(factor, 1)} ({number(correlation, 2)})"


def _verdict(row: Row) -> Words:
    outcome = row.comparison.outcome
    words = f"{outcome_mark(row.comparison, outcome)} {outcome}"
    return Strong(words) if row.comparison.is_claim and outcome in ("better", "worse") else words


def _against(row: Row) -> Words:
    outcome = row.comparison.outcome
    return f"{OUTCOME_MARKS[outcome]} {AGAINST_WORDS[outcome]}"


def _baseline(row: Row) -> Words:
    return cells(row.comparison).baseline


def _count(n: int) -> str:
    return f"{n:,}" if n else NOTHING


METRIC = Column("Metric", "l", _metric)
MACHINE_NAME = Column(
    "In files", "l", lambda row: Code(f"{row.comparison.metric.evaluation}/{row.comparison.metric.name}")
)
CANDIDATE = Column("Candidate", "l", lambda row: subject_name(row.run, row.comparison.candidate))
OTHER = Column("Compared with", "l", lambda row: subject_name(row.run, row.comparison.baseline))
OTHER_VALUE = Column("Its value", "r", _baseline)
BASELINE = Column("Baseline", "r", _baseline)
DIFFERENCE = Column("Difference", "r", lambda row: cells(row.comparison).difference)
INTERVAL = Column("95 % interval", "r", _interval)
CORRECTED_P = Column("Corrected p", "r", lambda row: p_text(row.comparison.p_adjusted))
VERDICT = Column("Verdict", "l", _verdict)
AGAINST = Column("Verdict", "l", _against)
EXAMPLES = Column("Examples", "r", lambda row: _count(row.comparison.n))
GROUPS = Column("Groups", "r", lambda row: _count(row.comparison.n_groups if row.comparison.n else 0))
METHOD = Column("Interval by", "l", lambda row: row.comparison.method or NOTHING)
PAIRING = Column("Narrowed by pairing", "r", _pairing)
POWER = Column(
    "Smallest change seen", "r", lambda row: spread(row.comparison.smallest_detectable, row.comparison.metric)
)
BETTER = Column("Better", "c", lambda row: ARROWS[row.comparison.metric.higher_is_better])
