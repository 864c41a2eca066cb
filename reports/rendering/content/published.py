"""The published layout: response-only cross-entropy, one row a set and one column a subject, without differences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reports.records import MetricScores, Run, without_nan
from reports.rendering.content.blocks import Block, Bullets, Paragraph, Section, Strong, Table
from reports.rendering.content.display import number

ReportLayout = Literal["differences", "published"]
"""Paired differences with everything that explains them, or cross-entropies in columns as publications print them."""
Average = Literal["tokens", "examples"]
"""Unit that nats per token are averaged over."""

_METRICS: dict[str, Average] = {"perplexity": "tokens", "perplexity_per_example": "examples"}
"""Metric whose logarithm is shown -> what it is averaged over."""


@dataclass(frozen=True, slots=True)
class PublishedColumn:
    """The cross-entropies of a subject, as measured here or as published."""

    subject: str
    is_published: bool
    nats_per_token: Mapping[str, float]
    """Set -> cross-entropy, if there is one."""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """All subjects on all sets with one way of averaging."""

    average: Average
    sets: tuple[str, ...]
    columns: tuple[PublishedColumn, ...]


def published_tables(run: Run) -> list[PublishedTable]:
    """Return a table for each way of averaging: baseline, then candidates, each followed by its published column.

    Publications rarely say how they average, so both averages are shown next to the published figures. Evaluations that
    the suite assigns to a group, such as capability, are not among the sets.
    """
    tables = []
    apart = {counts.evaluation for counts in run.counts if counts.suite_group}
    for metric, average in _METRICS.items():
        measured = [
            measurement
            for measurement in run.measurements
            if measurement.metric.name == metric and measurement.metric.evaluation not in apart
        ]
        columns = _columns(run, measured)
        if columns:
            sets = dict.fromkeys(measurement.metric.evaluation for measurement in measured)
            tables.append(PublishedTable(average, tuple(sets), columns))
    return tables


def published_blocks(run: Run) -> tuple[Block, ...]:
    """Return the tables as blocks; none if no perplexity was measured."""
    tables = published_tables(run)
    if not tables:
        return ()
    blocks: list[Block] = []
    for table in tables:
        header = (
            "Set",
            *(f"{'published: ' if column.is_published else ''}{column.subject}" for column in table.columns),
        )
        rows = tuple(
            (name, *(number(column.nats_per_token.get(name), 3) for column in table.columns)) for name in table.sets
        )
        blocks += [
            Paragraph(("Nats per response token, averaged over ", Strong(table.average), ":")),
            Table(header, rows, "l" + "r" * len(table.columns)),
        ]
    items = []
    if run.published:
        items.append(f"Published: {run.published.source}")
        elsewhere = [name for name in run.published.figures if name not in tables[0].sets]
        if elsewhere:
            items.append(f"Published, but not measured here: {', '.join(elsewhere)}.")
    items.append("Claims are made from paired differences and their intervals, not from these columns.")
    return (*blocks, Bullets(tuple(items)))


def published_section(run: Run) -> Section:
    """Return the tables, if there are published figures or several candidates."""
    is_wanted = run.published is not None or len(run.candidates) > 1
    return Section(
        "published",
        "In the published layout",
        published_blocks(run) if is_wanted else (),
        "cross-entropies in columns, as write-ups print them",
    )


def _columns(run: Run, measured: list[MetricScores]) -> tuple[PublishedColumn, ...]:
    ours: dict[str, dict[str, float]] = {}
    for measurement in measured:
        value = _nats_per_token(measurement)
        if value is not None:
            ours.setdefault(measurement.subject, {})[measurement.metric.evaluation] = value
    if not ours:
        return ()
    published = _published(run)
    columns = []
    for subject in sorted(run.subjects, key=lambda subject: subject.kind != "baseline"):
        if subject.name in ours:
            columns.append(PublishedColumn(subject.name, is_published=False, nats_per_token=ours[subject.name]))
            columns += [column for column in published if column.subject == subject.name]
    return (*columns, *(column for column in published if column.subject not in ours))


def _published(run: Run) -> list[PublishedColumn]:
    by_subject: dict[str, dict[str, float]] = {}
    for evaluation, figures in (run.published.figures if run.published else {}).items():
        for subject, value in figures.items():
            by_subject.setdefault(subject, {})[evaluation] = value
    return [PublishedColumn(name, is_published=True, nats_per_token=values) for name, values in by_subject.items()]


def _nats_per_token(measurement: MetricScores) -> float | None:
    """Return sum(total) / sum(count), or None if there is no number."""
    scores = without_nan(measurement).scores
    return scores.sum_of_totals / scores.sum_of_counts if scores.sum_of_counts > 0 else None
