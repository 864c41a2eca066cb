"""What `--verbose` prints before the headline: every other row, and everything that limits belief in the headline."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from reports.comparing.compare import Comparison
from reports.records import Run
from reports.rendering.content.display import cells, plain
from reports.rendering.content.headline import Headline
from reports.rendering.content.names import metric_names
from reports.rendering.formats.terminal.rows import Line, Part, rows_table
from reports.rendering.formats.terminal.screen import Screen


def everything_else(
    run: Run, comparisons: Sequence[Comparison], found: Headline, screen: Screen, *, has_matrix: bool
) -> list[RenderableType]:
    """Return the rows that the first table leaves out, by what they are, and the limits of the headline.

    Of several candidates the primary rows are here too, because their matrix has neither values nor intervals.
    """
    main = [row for row in comparisons if row.against in ("baseline", "definition")]
    others = [row for row in comparisons if row.against == "candidate"]
    groups = {
        "Primary metrics, with values and intervals": [row for row in main if row.primary] if has_matrix else [],
        "Exploratory metrics: hints, not claims": [row for row in main if not row.primary],
        "Against surface rulers, exploratory": [row for row in comparisons if row.against == "ruler"],
        "Against controls and other candidates, exploratory": others,
    }
    blocks: list[RenderableType] = []
    for title, rows in groups.items():
        measured = [row for row in rows if row.difference is not None]
        if measured:
            blocks += [Text(title, "bold underline"), *rows_table(_parts(run, measured), screen), Text("")]
    if found.limits:
        blocks += [Text("What limits belief", "bold underline"), *map(_item, found.limits), Text("")]
    return blocks


def _parts(run: Run, rows: Iterable[Comparison]) -> list[Part]:
    """Return a part a candidate, which has no title if there is only one."""
    names = metric_names(run)
    by_candidate: dict[str, list[Line]] = {}
    for row in rows:
        other = f", against {row.baseline}" if row.against in ("ruler", "candidate") else ""
        name = Text(plain(names[row.metric] + other))
        by_candidate.setdefault(row.candidate, []).append(Line(name, row, cells(row)))
    is_alone = len(by_candidate) == 1
    return [Part("" if is_alone else plain(name), tuple(lines)) for name, lines in by_candidate.items()]


def _item(sentence: str) -> RenderableType:
    return Padding(Text(plain(sentence)), (0, 0, 0, 2))
