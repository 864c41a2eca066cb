"""What every table says of a subject or a metric: other weights, and rewards on assumptions."""

from reports.comparing.compare import Comparison
from reports.records import Run
from reports.rendering.content.display import NOTHING, cells
from reports.rendering.content.verdict import has_assumed_reward

NO_CANDIDATE = "No candidate was measured, so nothing is compared."
OTHER_WEIGHTS = " \u2020"
"""Mark after the name of a subject whose weights are not the baseline's."""
ASSUMED = " \u2021"
"""Mark after a metric whose reference or beta is assumed."""
ASSUMED_NOTE = "nothing says what the adapter's training started from, or its beta: both are assumed (see reference)."


def weights_mark(run: Run, name: str) -> str:
    """Return the remark after a name in a heading, if the subject's weights are not the baseline's."""
    return "" if run.subject(name).same_weights else " (different weights)"


def marked(run: Run, name: str) -> str:
    """Return the name in a table, marked if the subject's weights are not the baseline's."""
    return name if run.subject(name).same_weights else name + OTHER_WEIGHTS


def reward_mark(run: Run, row: Comparison) -> str:
    """Return the mark of a metric that is taken against a reference, or scaled by a beta, that nothing says."""
    return ASSUMED if row.metric.chance is not None and has_assumed_reward(run, row.candidate) else ""


def numbers(row: Comparison, definition_mark: str) -> list[str]:
    """Return baseline, value, difference, interval and number of examples as text."""
    shown = cells(row)
    return [
        shown.baseline + (definition_mark if row.against == "definition" else ""),
        shown.candidate,
        shown.difference,
        shown.interval,
        f"{row.n:,}" if row.n else NOTHING,
    ]
