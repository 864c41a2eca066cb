r"""A run's primary differences, or its cross-entropies, as booktabs tables of LaTeX.

The file compiles by itself, and can be \input into a paper whose preamble loads booktabs.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from reports.comparing.compare import Comparison
from reports.comparing.inference import Method
from reports.records import Run
from reports.rendering.content.display import ARROWS, NOTHING, cells, label, number
from reports.rendering.content.published import PublishedColumn, PublishedTable, ReportLayout, published_tables
from reports.rendering.content.results import NO_CANDIDATE, marked, reward_mark
from reports.rendering.content.verdict import p_text

MOST_LINES = 44
"""Most lines of one table, which must fit on a page."""

MOST_COLUMNS = 6
"""Most columns of one table in the published layout, without the names of the sets."""

_HEAD = r"""% Compiles as it is; through \input it stands in a paper whose preamble loads booktabs.
\makeatletter
\ifx\@nodocument\relax
  \let\finishreport\endinput
\else
  \documentclass{article}
  \usepackage[T1]{fontenc}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
  \usepackage{textcomp,booktabs}
  \usepackage[margin=2cm]{geometry}
  \def\finishreport{\end{document}}
  \begin{document}
\fi
\makeatother
"""
_FOOT = "\\finishreport\n"
_METHODS: dict[Method, str] = {
    "t and skewness": "Student's t and Hall's for skewness, leaving out one group at a time",
    "mid-p and score": "McNemar's mid-p and Tango's score by group",
    "mid-p and Wilson": "binomial mid-p and Wilson's score at the effective number of examples",
    "seeds and groups": "Cochran and Cox's t over training seeds and groups",
}
_HEADER = ("Metric", "Baseline", "Value", "Difference", r"95\,\% interval", "Corrected $p$", "$n$")
_COLUMNS = r"p{0.29\linewidth}rrrrrr"
_RELATIVE = r"Differences of perplexities are candidate\,/\,baseline $-$ 1."
_OTHER_WEIGHTS = r"$\dagger$: weights other than the baseline's."
_ASSUMED = r"$\ddagger$: nothing says what the adapter's training started from, or its beta: both are assumed."
_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#{}"},
    "_": r"\_\allowbreak{}",
    "/": r"/\allowbreak{}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "-": "-{}",  # two of them would become a dash
    "`": r"\textasciigrave{}",
    "\u2212": r"\ensuremath{-}",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\dots{}",
    "\u221e": r"\ensuremath{\infty}",
    "\u2191": r"\ensuremath{\uparrow}",
    "\u2193": r"\ensuremath{\downarrow}",
    "\u2192": r"\ensuremath{\rightarrow}",
    "\u2020": r"\ensuremath{\dagger}",
    "\u2021": r"\ensuremath{\ddagger}",
    "\u00b7": r"\ensuremath{\cdot}",
    "\u00a0": "~",
}
_BASIC_LATIN, _LETTERS_OF_LATIN_1 = range(0x20, 0x7F), range(0xC0, 0x100)


def latex_report(run: Run, comparisons: Sequence[Comparison], *, layout: ReportLayout = "differences") -> str:
    """Return paired differences of the primary metrics, with marks of significance; all others are in report.csv.

    In the published layout: rows are sets, columns are subjects, cells are nats per response token.
    """
    tables = _published(run) if layout == "published" else _differences(run, comparisons)
    return "\n".join([_HEAD, *tables, _FOOT])


def latex_text(text: str) -> str:
    """Return the text escaped; a character that plain LaTeX has no glyph for becomes its code point."""
    return "".join(_latex_character(character) for character in text)


def _latex_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if ord(character) in _BASIC_LATIN or ord(character) in _LETTERS_OF_LATIN_1:
        return character
    return " " if character.isspace() else f"[U+{ord(character):04X}]"


def _differences(run: Run, comparisons: Sequence[Comparison]) -> list[str]:
    """Return tables with a line for each metric, or for each metric and candidate if there are several."""
    rows = [row for row in comparisons if row.primary]
    if not rows:
        return [latex_text(NO_CANDIDATE), ""]
    candidates = list(dict.fromkeys(row.candidate for row in rows))
    by_metric: dict[str, list[Comparison]] = {}
    for row in rows:
        by_metric.setdefault(f"{label(row.metric)} {ARROWS[row.metric.higher_is_better]}", []).append(row)
    if len(candidates) == 1:
        blocks = [[_line(latex_text(name + reward_mark(run, row)), row)] for name, (row,) in by_metric.items()]
    else:
        blocks = [
            [
                rf"\multicolumn{{7}}{{@{{}}l}}{{\textbf{{{latex_text(name)}}}}} \\",
                *(
                    _line(r"\quad " + latex_text(marked(run, row.candidate) + reward_mark(run, row)), row)
                    for row in of_metric
                ),
            ]
            for name, of_metric in by_metric.items()
        ]
    caption = _caption(run, rows, candidates)
    tables = []
    for place, lines in enumerate(_pages(blocks)):
        tables += _table(_HEADER, lines, "Continued." if place else caption, _COLUMNS)
    return tables


def _line(name: str, row: Comparison) -> str:
    shown = cells(row)
    p_value = NOTHING if row.p_adjusted is None else p_text(row.p_adjusted)
    difference = latex_text(shown.difference) + ("$^{*}$" if _is_significant(row) else "")
    texts = [
        *(name, latex_text(shown.baseline), latex_text(shown.candidate), difference, latex_text(shown.interval)),
        *(latex_text(p_value), f"{row.n:,}"),
    ]
    return " & ".join(texts) + r" \\"


def _pages(blocks: Iterable[list[str]]) -> list[list[str]]:
    """Divide the lines among tables without dividing a metric."""
    pages: list[list[str]] = [[]]
    for block in blocks:
        if pages[-1] and len(pages[-1]) + len(block) > MOST_LINES:
            pages.append([])
        pages[-1] += block
    return pages


def _caption(run: Run, rows: Sequence[Comparison], candidates: Sequence[str]) -> str:
    """Return what was compared on how many examples, the methods of the intervals, and the meaning of the signs."""
    baseline = latex_text(run.baseline.name)
    of = f" of {latex_text(candidates[0])}" if len(candidates) == 1 else ""
    methods = Counter(row.method for row in rows if row.method)
    how = " or ".join(words for method, words in _METHODS.items() if methods[method])
    sentences = [
        latex_text(run.headline),
        f"Primary metrics, differences{of} from {baseline}, paired by example, independent by group.",
        f"$n$: examples, {_range(row.n for row in rows)} in {_range(row.n_groups for row in rows)} groups.",
        f"Intervals by {how}; not adjusted for their number." if how else "No intervals.",
        _correction(rows),
        "Arrows: which way is better.",
        "pp: percentage points." if any(row.metric.display == "percent" for row in rows) else "",
        _RELATIVE if any(row.metric.display == "exp" for row in rows) else "",
        _ASSUMED if any(reward_mark(run, row) for row in rows) else "",
        _OTHER_WEIGHTS if not all(run.subject(row.candidate).same_weights for row in rows) else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _range(sizes: Iterable[int]) -> str:
    found = sorted(size for size in sizes if size)
    if not found:
        return "none"
    return f"{found[0]:,}" if found[0] == found[-1] else f"{found[0]:,} to {found[-1]:,}"


def _correction(rows: Sequence[Comparison]) -> str:
    """Return the family over which p was corrected, and the meaning of the mark of significance."""
    family = [row for row in rows if row.p_adjusted is not None]
    if not family:
        return ""
    mark = r" $^{*}$: at most 0.05." if any(map(_is_significant, rows)) else ""
    return f"Corrected $p$: two-sided, after Holm over the {len(family)} rows with one.{mark}"


def _is_significant(row: Comparison) -> bool:
    """Whether the interval excludes zero and the corrected p is small."""
    return row.is_clear and row.is_claim and not row.fails_correction


def _published(run: Run) -> list[str]:
    tables = []
    for table in published_tables(run):
        tables += _published_table(run, table)
    return tables or ["No perplexity was measured.", ""]


def _published_table(run: Run, table: PublishedTable) -> list[str]:
    """Return a table, or several of a few columns each if there are many subjects."""
    sentences = [
        latex_text(run.headline),
        f"Response-only cross-entropy in nats per token, averaged over {table.average}.",
        f"Published: {latex_text(run.published.source)}" if run.published else "",
    ]
    caption = " ".join(sentence for sentence in sentences if sentence)
    tables = []
    for first in range(0, len(table.columns), MOST_COLUMNS):
        columns = table.columns[first : first + MOST_COLUMNS]
        lines = [
            " & ".join([latex_text(name), *(latex_text(number(c.nats_per_token.get(name), 3)) for c in columns)])
            + r" \\"
            for name in table.sets
        ]
        spec = r"p{0.15\linewidth}" + "r" * len(columns)
        tables += _table(["Set", *map(_heading, columns)], lines, "Continued." if first else caption, spec)
    return tables


def _heading(column: PublishedColumn) -> str:
    """Return the heading of a column, wrapped to the column's width."""
    name = latex_text(f"{'published: ' if column.is_published else ''}{column.subject}")
    return rf"\parbox[b]{{0.12\linewidth}}{{\raggedleft {name}}}"


def _table(header: Sequence[str], lines: Sequence[str], caption: str, columns: str) -> list[str]:
    return [
        r"\begin{table*}[htbp]",
        rf"  \caption{{{caption}}}",
        r"  \medskip\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"  \begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"    \toprule",
        rf"    {' & '.join(header)} \\",
        r"    \midrule",
        *(f"    {line}" for line in lines),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table*}",
        "",
    ]
