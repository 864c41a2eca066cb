"""The sections on training and on the choice of a sweep's winner."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports.records import Run, Selection
from reports.rendering.content.blocks import Block, Paragraph, Section, Strong, Table, Words
from reports.rendering.content.display import NOTHING, number

NOT_FINITE = "not finite"
Rows = Sequence[Mapping[str, Any]]
"""Rows of training.jsonl."""

_FIELDS = {"loss": "loss", "rewards/accuracies": "reward accuracy", "rewards/margins": "reward margin"}
_COSTS: dict[str, tuple[str, float, int]] = {
    "step": ("steps", 1, 0),
    "num_tokens": ("tokens", 1, 0),
    "seconds": ("seconds", 1, 0),
    "peak_memory_bytes": ("GiB peak memory", 2**30, 2),
}
"""Key of a training row -> words, divisor, decimals."""
_RULE = (
    "The candidate with the highest selection accuracy was chosen; of equal ones, the one with the lowest loss; of "
    "these, the first of the sweep. "
    "Selection rows are neither training rows nor rows of this report, so the choice does not bias these numbers."
)


def choice_section(run: Run) -> Section:
    """Return the results of a sweep on selection rows, with the candidate that was chosen and what it tied with."""
    if not run.selection:
        return Section("choice", "Choice on selection rows")
    rows: list[tuple[Words, ...]] = [
        (
            Strong(selection.candidate) if selection.is_winner else selection.candidate,
            NOT_FINITE if selection.accuracy is None else f"{number(100 * selection.accuracy, 1)} %",
            NOT_FINITE if selection.loss is None else number(selection.loss, 4),
            f"{selection.n:,}",
            "chosen" if selection.is_winner else "",
        )
        for selection in run.selection
    ]
    header = ("Candidate", "Selection accuracy", "Selection loss", "Examples", "Chosen")
    return Section(
        "choice",
        "Choice on selection rows",
        (*map(Paragraph, _chosen(run)), Table(header, tuple(rows), "lrrrl"), Paragraph(_RULE)),
        "how the candidates of the sweep were ranked",
    )


def _chosen(run: Run) -> list[str]:
    """Return a sentence on the winner of a sweep, if there was one, and one on what it tied with."""
    return [sentence for selection in run.selection if selection.is_winner for sentence in _winner(selection)]


def _winner(winner: Selection) -> list[str]:
    sentences = [f"Chosen on selection rows, which are not those of this report: {winner.candidate}."]
    if winner.tied_with and winner.n_won is not None:
        equal = f"{number(winner.n_won, int(winner.n_won % 1 > 0))} of {winner.n_compared:,} comparisons won"
        rules = {"loss": "its lower loss decided", "order": "their losses are equal too, so the first was taken"}
        others = ", ".join(winner.tied_with)
        sentences.append(
            f"The choice was a tie with {others} ({equal} by each); {rules[winner.decided_by or 'order']}."
        )
    return sentences


def training_section(run: Run) -> Section:
    """Return the first and last values that training logged, and its cost; one row a candidate if there are several."""
    by_candidate: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.training:
        by_candidate.setdefault(row.get("candidate", ""), []).append(row)
    blocks = _one_candidate(run.training) if len(by_candidate) <= 1 else _several_candidates(by_candidate)
    return Section("training", "Training", tuple(blocks), "loss, accuracy and reward margin, first and last; cost")


def _one_candidate(training: Rows) -> list[Block]:
    rows: list[tuple[Words, ...]] = [
        (f"{kind}: {name}", *(_cell(value, step) for step, value in (logged[0], logged[-1])))
        for kind in ("train", "selection")
        for field, name in _FIELDS.items()
        if (logged := _logged(training, kind, field))
    ]
    if not rows:
        return []
    costs = {words: _cost(training, key) for key, (words, _, _) in _COSTS.items()}
    cost = "; ".join(f"{amount} {words}" for words, amount in costs.items() if amount != NOTHING)
    return [Table(("Rows", "First", "Last"), tuple(rows), "lrr"), *([Paragraph(f"{cost}.")] if cost else [])]


def _several_candidates(by_candidate: Mapping[str, Rows]) -> list[Block]:
    rows: list[tuple[Words, ...]] = [
        (
            candidate,
            _first_to_last(training, "train", "loss"),
            _first_to_last(training, "selection", "rewards/accuracies"),
            *(_cost(training, key) for key in _COSTS),
        )
        for candidate, training in by_candidate.items()
    ]
    header = ("Candidate", "Loss", "Selection accuracy", *(_upper(words) for words, _, _ in _COSTS.values()))
    note = "Loss and selection accuracy: first and last value. Losses of different methods are not comparable."
    return [Table(header, tuple(rows), "lrrrrrr"), Paragraph(note)]


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _logged(training: Rows, kind: str, field: str) -> list[tuple[int | None, float | None]]:
    """Return step and value of every row of a kind that has the field."""
    return [(row.get("step"), _field(row, field)) for row in training if row.get("kind") == kind and field in row]


def _field(row: Mapping[str, Any], field: str) -> float | None:
    """Return a logged value; an accuracy of older runs, which counts every tie as lost, with ties as halves.

    No margin above 0 and a mean of 0 leave margins of 0 alone: all pairs tie, as they do before the first update.
    """
    is_all_ties = field == "rewards/accuracies" and row[field] == 0 and row.get("rewards/margins") == 0
    return 0.5 if is_all_ties else row[field]


def _first_to_last(training: Rows, kind: str, field: str) -> str:
    values = [_cell(value) for _, value in _logged(training, kind, field)]
    return f"{values[0]} \u2192 {values[-1]}" if values else NOTHING


def _cell(value: float | None, step: int | None = None) -> str:
    """Return a value as text; a diverged loss, which is None on disk, is "not finite"."""
    return (number(value, 3) if _is_finite(value) else NOT_FINITE) + ("" if step is None else f" (step {step:,})")


def _cost(training: Rows, key: str) -> str:
    _, unit, decimals = _COSTS[key]
    values = [row[key] for row in training if _is_finite(row.get(key))]
    return number(max(values) / unit, decimals) if values else NOTHING


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
