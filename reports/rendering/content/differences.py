"""The table that a report opens with: primary metrics of one candidate, or a matrix of metrics and candidates."""

from dataclasses import dataclass

from reports.comparing.compare import Comparison, Outcome
from reports.rendering.content.display import Cells


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """One primary metric of the candidate."""

    comparison: Comparison
    name: str
    """What people call the metric."""
    detail: str
    """What it was measured on, such as "250 pairs, 235 prompts; 50 % is chance"."""
    cells: Cells
    outcome: Outcome
    notes: tuple[str, ...] = ()
    """Footnotes of the row."""


@dataclass(frozen=True, slots=True)
class DifferencePart:
    """Rows whose differences have one unit and share an axis."""

    title: str
    """Such as "What it was trained for" or "Perplexity of reference answers (lower is better)"."""
    unit: str
    higher_is_better: bool | None
    rows: tuple[DifferenceRow, ...]


@dataclass(frozen=True, slots=True)
class DifferenceTable:
    """The primary metrics of one candidate, or of one recipe over its seeds."""

    subject: str
    baseline: str
    parts: tuple[DifferencePart, ...]


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """A candidate's difference on one metric."""

    comparison: Comparison | None
    """None if it was not measured."""
    text: str
    """The difference with its unit, without an interval."""
    outcome: Outcome
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A candidate, or the adapters of a recipe folded into their mean and spread."""

    subject: str
    n_seeds: int
    is_chosen: bool
    is_control: bool
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The primary metrics of several candidates: the chosen one first, controls last."""

    metrics: tuple[str, ...]
    """What people call each metric, one a cell of a row."""
    baseline: str
    baseline_values: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    notes: tuple[str, ...] = ()
