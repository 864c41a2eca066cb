"""A run and its comparisons as a table for the terminal."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import SEPARATING_LINE, tabulate

from reports.comparing.compare import Against, Comparison
from reports.comparing.seeds import over_seeds
from reports.records import Metric, Run
from reports.rendering.content.display import ARROWS, MINUS, label, plain
from reports.rendering.content.results import (
    ASSUMED,
    ASSUMED_NOTE,
    NO_CANDIDATE,
    OTHER_WEIGHTS,
    marked,
    numbers,
    reward_mark,
    weights_mark,
)
from reports.rendering.content.verdict import (
    candidates_of,
    choice,
    headline_candidate,
    not_finite_sentences,
    recipe_verdicts,
    verdict,
)

NARROWEST_TERMINAL = 100
FEW_IN_TERMINAL = 2
"""With more candidates, the terminal shows all metrics of one candidate and the primary metrics of the others."""


def terminal_table(run: Run, comparisons: Sequence[Comparison], *, width: int = NARROWEST_TERMINAL) -> str:
    """Return headline, verdict and results as plain text; of many candidates, all metrics of the headline one alone.

    Args:
        run: What was measured.
        comparisons: Result of `compare`.
        width: Width in columns; at least 100 are used.
    """
    width = max(width, NARROWEST_TERMINAL)
    blocks = [textwrap.fill(plain(run.headline), width)] if run.headline else []
    candidates = candidates_of(run, comparisons)
    if not candidates:
        return "\n\n".join([*blocks, NO_CANDIDATE])
    blocks += [textwrap.fill(plain(sentence), width) for sentence in (*not_finite_sentences(run), *choice(run))]
    for recipe, sentences in recipe_verdicts(run, over_seeds(run, comparisons)).items():
        blocks.append(_judged(f"{recipe}, over its training seeds:", sentences, width))
    is_long = len(candidates) > FEW_IN_TERMINAL
    for name in [headline_candidate(run, candidates)] if is_long else candidates:
        rows = [row for row in comparisons if row.candidate == name]
        blocks += [
            _judged(f"{name}{weights_mark(run, name)}:", verdict(run, comparisons, name), width),
            _terminal_rows(run, rows, width),
        ]
    measured = {row.metric for row in comparisons if row.candidate_value is not None}
    primary = [row for row in comparisons if row.primary and row.metric in measured]
    if is_long and primary:
        blocks += ["All candidates, primary metrics:", _terminal_overview(run, primary, width)]
    return "\n\n".join([*blocks, _terminal_note(run, comparisons, width)])


def _judged(title: str, sentences: Iterable[str], width: int) -> str:
    lines = (textwrap.fill(plain(each), width, initial_indent="- ", subsequent_indent="  ") for each in sentences)
    return "\n".join([plain(title), *lines])


def _terminal_rows(run: Run, rows: Iterable[Comparison], width: int) -> str:
    """Return a candidate's primary metrics, other comparisons of them, and below a line its exploratory metrics."""
    ranks: dict[Against, int] = {"ruler": 0, "candidate": 1}
    rows = sorted(
        (row for row in rows if row.against != "candidate" or row.metric.primary),
        key=lambda row: (not row.primary, ranks.get(row.against, 2)),
    )
    grid = [
        (_terminal_label(row) + reward_mark(run, row), [*numbers(row, " *"), ARROWS[row.metric.higher_is_better]])
        for row in rows
    ]
    return _terminal_grid(grid, width, n_above_line=sum(row.primary for row in rows))


def _terminal_label(row: Comparison) -> str:
    return label(row.metric) + (f", against {row.baseline}" if row.against in ("ruler", "candidate") else "")


def _terminal_overview(run: Run, rows: Sequence[Comparison], width: int) -> str:
    """Return each metric with its baseline, and below it the candidates."""
    by_metric: dict[Metric, list[Comparison]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    grid: list[tuple[str, list[str]]] = []
    for metric, of_metric in by_metric.items():
        baseline, *_, n = numbers(of_metric[0], " *")
        grid.append((label(metric), [baseline, "", "", "", n, ARROWS[metric.higher_is_better]]))
        for row in of_metric:
            _, *differences, _ = numbers(row, "")
            grid.append((f"- {marked(run, row.candidate)}{reward_mark(run, row)}", ["", *differences, "", ""]))
    return _terminal_grid(grid, width)


def _terminal_grid(rows: Sequence[tuple[str, Sequence[str]]], width: int, n_above_line: int = 0) -> str:
    """Return a table of labels and numbers; labels are wrapped to the width that the numbers leave."""
    header = ["metric", "baseline", "candidate", "difference", "95 % interval", "n", "better"]
    padded = [f"{title}  " for title in header[1:]]  # as tabulate pads them
    widths = [max(map(len, column)) for column in zip(padded, *(cells for _, cells in rows), strict=True)]
    widest_label = max(12, width - sum(widths) - 2 * len(widths))
    table: list[Any] = [["\n".join(textwrap.wrap(plain(name), widest_label)), *cells] for name, cells in rows]
    if 0 < n_above_line < len(rows):
        table.insert(n_above_line, SEPARATING_LINE)
    return tabulate(
        table, header, tablefmt="simple", colalign=("left", *["right"] * 5, "center"), disable_numparse=True
    )


def _terminal_note(run: Run, comparisons: Sequence[Comparison], width: int) -> str:
    notes = ["Primary metrics above the line, exploratory ones below it; intervals are not adjusted for their number."]
    if any(row.against == "definition" for row in comparisons):
        notes.append("* by definition.")
    if any(row.metric.display == "exp" for row in comparisons):
        notes.append(f"Differences of perplexities are candidate / baseline {MINUS} 1.")
    if not all(subject.same_weights for subject in run.subjects):
        notes.append(f"{OTHER_WEIGHTS.strip()} different weights from the baseline's.")
    if any(reward_mark(run, row) for row in comparisons):
        notes.append(f"{ASSUMED.strip()} {ASSUMED_NOTE}")
    return textwrap.fill(" ".join(notes), width)
