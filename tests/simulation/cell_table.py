"""The table of docs/statistics.md: a line for each cell, in percent, with the figure of before in brackets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cells import Cell
from rates import Rates, Share
from tabulate import tabulate

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
BEGIN, END = "<!-- simulation -->", "<!-- end of simulation -->"
COLUMNS = {
    "false claims": "false claims",
    "false stops": "false stops",
    "coverage": "coverage",
    "false no change": "false “no change”",
    "cannot tell": "cannot tell",
    "power": "power 2.8",
    "power away": "power -2.8",
    "power away 5.6": "power -5.6",
}
"""Measure -> how the column is headed."""


class PageError(Exception):
    """The page lacks the two lines between which the table stands."""


def render(cells: Sequence[Cell], rates: Mapping[str, Rates], before: Mapping[str, Rates]) -> str:
    """Returns how many experiments there were and two tables: the cells that the bar names, and the others."""
    numbers = [rates[cell.key]["false claims"].n for cell in cells if cell.key in rates]
    n_experiments = f"{min(numbers):,}" + (f" to {max(numbers):,}" if max(numbers) > min(numbers) else "")
    parts = [f"{n_experiments} experiments a cell:"]
    for is_held, title in ((True, "Cells that the bar names:"), (False, "Other cells, as they are:")):
        own = [cell for cell in cells if cell.is_held == is_held and cell.key in rates]
        lines = [_line(cell, rates[cell.key], before.get(cell.key, {})) for cell in own]
        if lines:
            alignment = ("left", "right", *["right"] * len(COLUMNS))
            heads = ("differences", "groups", *COLUMNS.values())
            table = tabulate(lines, heads, "pipe", colalign=alignment, disable_numparse=True)
            parts.append(f"{title}\n\n{table}")
    return "\n\n".join(parts)


def _line(cell: Cell, rates: Rates, before: Rates) -> list[str]:
    return [cell.data, cell.groups, *(_figure(rates.get(measure), before.get(measure)) for measure in COLUMNS)]


def _figure(now: Share | None, before: Share | None) -> str:
    """Returns "4.1 (11.3)"; a dash where nothing is counted."""
    return f"{_percent(now)} ({_percent(before)})" if before and before.n else _percent(now)


def _percent(share: Share | None) -> str:
    return f"{100 * share.value:.1f}" if share and share.n else "-"


def write_table(table: str, page: Path = PAGE) -> None:
    """Puts the table in place of what stands between the two lines.

    Raises:
        PageError: The page lacks one of them.
    """
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise PageError(f"{page} has no lines {BEGIN!r} and {END!r}")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    page.write_text(f"{text[:start]}\n{table}\n{text[end:]}", encoding="utf-8")
