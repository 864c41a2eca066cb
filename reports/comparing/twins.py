"""Metrics that come in two forms, with and without the end of turn, and must not contradict each other."""

from collections.abc import Iterable

from reports.comparing.compare import Comparison


def twin_of(row: Comparison, rows: Iterable[Comparison]) -> Comparison | None:
    """Return the comparison of the same two subjects on the metric's twin (`Metric.twin`), if it was measured."""
    sought = (row.metric.evaluation, row.metric.twin, row.candidate, row.against, row.baseline)
    for each in rows:
        if (each.metric.evaluation, each.metric.name, each.candidate, each.against, each.baseline) == sought:
            return each
    return None


def contradiction(row: Comparison, rows: Iterable[Comparison], margin: float) -> Comparison | None:
    """Return the twin if it forbids calling the row unchanged: it moved the other way, or by more than the margin.

    In answers of a few tokens an end of turn that becomes more probable hides words that become less so: their sum is
    unchanged, and the model is not.

    Args:
        row: A comparison within its margin.
        rows: Comparisons, among them those of its candidate.
        margin: Largest difference that counts as none, in the metric's own unit.
    """
    twin = twin_of(row, rows)
    if twin is None or twin.difference is None or row.difference is None:
        return None
    is_opposite = row.difference * twin.difference < 0
    return twin if is_opposite or abs(twin.difference) > margin else None
