"""What the words and marks of the first table mean: a few words each, in sight wherever the table is."""

from collections.abc import Sequence

from reports.comparing.choice import is_chosen
from reports.comparing.compare import Comparison
from reports.records import WITHOUT_END_OF_TURN, Run
from reports.rendering.content.display import UNCORRECTED_MARKS, cells, outcome_mark

CHOSEN_MARK = "\u2605"
ONLY_BEFORE_CORRECTION = "clear only before correction"
"""What is said beside the outcome of a difference that is clear of zero by itself."""
DIRECTIONS = "\u2191 higher is better, \u2193 lower is better"
"""What the arrows behind the names of metrics mean, in formats that have them."""
SEED_RANGE = "below a mean of seeds: its lowest and highest seed, not an interval"
"""What the smaller numbers in a matrix are, in formats that have them."""
_RULES = {
    "accuracy": "favoured the preferred answer most often",
    "loss": "tied for favouring the preferred answer most often and had the lowest loss,",
    "order": "came first of those that tied in accuracy and loss",
}


def legend(run: Run, rows: Sequence[Comparison]) -> tuple[str, ...]:
    """Return the meaning of what these rows of the first table have: terms, units, marks, and the rule of a choice."""
    found = [*_choice(run, rows)]
    if any(row.metric.name == "reward_accuracy" for row in rows):
        found.append("reward accuracy: how often training favoured the preferred answer")
    if any(row.metric.name.endswith(WITHOUT_END_OF_TURN) for row in rows):
        found.append("of the words: without the end token")
    if any(cells(row).unit == "pp" for row in rows):
        found.append("pp: percentage points")
    marks = {outcome_mark(row, row.outcome) for row in rows if row.fails_correction}
    shown = " ".join(mark for mark in UNCORRECTED_MARKS.values() if mark in marks)
    if shown:
        found.append(
            f"{shown} {ONLY_BEFORE_CORRECTION} for the number of comparisons (intervals are uncorrected): not claimed"
        )
    return tuple(found)


def _choice(run: Run, rows: Sequence[Comparison]) -> list[str]:
    """Return by which rule the chosen one was chosen, on how many rows, if it is among these."""
    winner = next((each for each in run.selection if each.is_winner), None)
    names = {subject.name for subject in run.subjects if is_chosen(run, subject.name)} | (
        {winner.candidate} if winner else set()
    )
    if winner is None or not any(row.candidate in names for row in rows):
        return []
    rule = _RULES.get(winner.decided_by or "", "did best")
    return [f"{CHOSEN_MARK} chosen: {rule} on {winner.n:,} other rows, whatever the cost"]
