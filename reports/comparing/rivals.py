"""What a candidate or a recipe is held against beside the baseline: surface rulers, controls, other candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.comparing.compare import Comparison, in_family
from reports.records import Run


@dataclass(frozen=True, slots=True)
class Rivals:
    """The primary metrics of a candidate, or of a recipe, against others than the baseline.

    p-values are adjusted over all rulers and metrics of the candidate, and over all its controls and metrics.
    """

    rulers: tuple[Comparison, ...]
    controls: tuple[Comparison, ...]
    others: tuple[Comparison, ...]
    """Against other candidates, such as the stage or the adapter it was made from; exploratory."""


def rivals(run: Run, rows: Sequence[Comparison]) -> Rivals:
    """Return the rivals among the rows of a candidate or of a recipe, those without a number too."""
    controls = {subject.name for subject in run.subjects if subject.is_control}
    primary = [row for row in rows if row.metric.primary]
    against = [row for row in primary if row.against == "candidate"]
    return Rivals(
        rulers=tuple(in_family([row for row in primary if row.against == "ruler"], ())),
        controls=tuple(in_family([row for row in against if row.baseline in controls], ())),
        others=tuple(row for row in against if row.baseline not in controls),
    )
