"""One table of LaTeX: floating, ruled by booktabs, with its footnotes below it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.rendering.formats.latex.text import latex_text, superscript

MOST_LINES = 44
"""Most lines of one table, which must fit on a page."""
RULE = r"\midrule"
"""A line of a table that is a rule."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table, and the lines above its first rule."""

    spec: str
    heading: tuple[str, ...]


def floating_table(
    columns: Columns, lines: Sequence[str], caption: str, notes: Sequence[tuple[int, str]] = ()
) -> list[str]:
    """Return the lines of a table that spans the page; caption and lines are LaTeX, the texts of notes are not."""
    return [
        r"\begin{table*}[htbp]",
        rf"  \caption{{{caption}}}",
        r"  \medskip\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"  \begin{{tabular}}{{@{{}}{columns.spec}@{{}}}}",
        r"    \toprule",
        *(f"    {line}" for line in columns.heading),
        r"    \midrule",
        *(f"    {line}" for line in lines),
        r"    \bottomrule",
        r"  \end{tabular}",
        *_below(notes),
        r"\end{table*}",
        "",
    ]


def line(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return " & ".join(cells) + r" \\"


def pages(blocks: Iterable[Sequence[str]]) -> list[list[str]]:
    """Divide lines among tables without dividing a block, and without a rule at the end of one."""
    found: list[list[str]] = [[]]
    for block in blocks:
        if found[-1] and len(found[-1]) + len(block) > MOST_LINES:
            found.append([])
        found[-1] += block if found[-1] else [each for each in block if each != RULE]
    return found


def _below(notes: Sequence[tuple[int, str]]) -> list[str]:
    if not notes:
        return []
    texts = " ".join(f"{superscript([number])}~{latex_text(note)}" for number, note in notes)
    return [rf"  \par\smallskip\parbox{{\linewidth}}{{\footnotesize {texts}}}"]
