"""The picture of differences: a forest plot with names at the left, numbers at the right, and one axis a unit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from reports.comparing.compare import Comparison
from reports.rendering.content.differences import DifferencePart, DifferenceTable, Matrix, MatrixRow
from reports.rendering.content.display import Cells, cells
from reports.rendering.pictures.drawing.elements import Element, Group, Text, line, picture_markup, text_lines
from reports.rendering.pictures.drawing.lettering import (
    ASCENT,
    LINE_HEIGHT,
    SIZE,
    SMALL,
    block_height,
    cut,
    text_width,
    wrapped,
)
from reports.rendering.pictures.drawing.marks import estimate, estimate_marks, legend, legend_entries
from reports.rendering.pictures.drawing.scales import Scale
from reports.rendering.pictures.picture import Picture
from reports.rendering.pictures.row_plots import PlotAxis, axis_elements, shared_axis

MOST_CANDIDATES = 6
"""With more candidates than these, the picture shows the first one of the table, which is the chosen one."""

_WIDTH = 760.0
_EDGE = 12.0
_GUTTER = 236.0
"""Width of the names."""
_PLOT_START = _EDGE + _GUTTER + 18
_LEAST_PLOT, _GAP = 160.0, 20.0
"""Least width of the axis, and its distance from the numbers, in pixels."""
_BOLD = 600
_PAD = 6.0
"""Space above and below a row."""
_HEAD = 46.0
"""Least height of the head of a part."""
_BASELINE = 0.35 * SIZE
"""How far below the middle of a line its letters stand."""
_HEADER = ("part", "metric", "candidate", "difference", "low", "high", "unit", "outcome")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the picture: a name, and a comparison unless it is the heading of those below it."""

    name: str
    detail: str = ""
    comparison: Comparison | None = None
    is_indented: bool = False


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the axis ends, where differences end, and whether their intervals stand beside them or below."""

    plot_end: float
    difference: float
    is_one_line: bool


@dataclass(frozen=True, slots=True)
class _Part:
    title: str
    axis: PlotAxis
    lines: tuple[_Line, ...]


def differences_picture(table: DifferenceTable | Matrix) -> Picture | None:
    """Return the differences of one candidate, of a recipe, or of up to six candidates; None without any."""
    note = "Line: 95 % interval by itself. Colour and filled triangle: what can be claimed after correction."
    if isinstance(table, DifferenceTable):
        parts, title = _of_table(table), f"Differences: {table.subject} against {table.baseline}"
    else:
        shown = _readable(table)
        if len(shown.rows) < len(table.rows):
            note += f" Of {len(table.rows)} candidates only {shown.rows[0].subject} is shown."
        parts = _of_matrix(shown)
        names = shown.rows[0].subject if len(shown.rows) == 1 else f"{len(shown.rows)} candidates"
        title = f"Differences: {names} against {table.baseline}"
    parts = [part for part in parts if any(each.comparison for each in part.lines)]
    if not parts:
        return None
    elements, height = _drawn(parts)
    svg = picture_markup(_WIDTH, height, title, _in_words(parts), elements)
    return Picture("differences", title, svg, note, _HEADER, tuple(_data(parts)))


def _readable(matrix: Matrix) -> Matrix:
    return matrix if len(matrix.rows) <= MOST_CANDIDATES else replace(matrix, rows=matrix.rows[:1])


def _of_table(table: DifferenceTable) -> list[_Part]:
    return [_of_table_part(part) for part in table.parts]


def _of_table_part(part: DifferencePart) -> _Part:
    lines = tuple(_Line(row.name, row.detail, row.comparison) for row in part.rows if _has_value(row.comparison))
    return _Part(part.title, _axis(lines, part.unit, part.higher_is_better), lines)


def _of_matrix(matrix: Matrix) -> list[_Part]:
    """Return a part for each unit and direction, in which the candidates stand below each metric."""
    by_unit: dict[tuple[str, bool | None], list[_Line]] = {}
    for place, name in enumerate(matrix.metrics):
        compared = [
            (row, comparison)
            for row in matrix.rows
            if (comparison := row.cells[place].comparison) is not None and _has_value(comparison)
        ]
        if compared:
            first = compared[0][1]
            lines = by_unit.setdefault((cells(first).unit, first.metric.higher_is_better), [])
            if len(matrix.rows) == 1:
                lines.append(_Line(name, comparison=first))
            else:
                lines.append(_Line(name))
                lines += [_Line(_called(row), "", comparison, is_indented=True) for row, comparison in compared]
    return [
        _Part(_title(unit, higher_is_better), _axis(lines, unit, higher_is_better), tuple(lines))
        for (unit, higher_is_better), lines in by_unit.items()
    ]


def _title(unit: str, higher_is_better: bool | None) -> str:
    words = {"pp": "Percentage points", "%": "Percent"}.get(unit, unit)
    return words if higher_is_better is not None else f"{words} (neither direction is better)"


def _called(row: MatrixRow) -> str:
    return row.subject + (f", {row.n_seeds} seeds" if row.n_seeds > 1 else "") + (" \u2605" if row.is_chosen else "")


def _has_value(comparison: Comparison) -> bool:
    return comparison.difference is not None


def _axis(lines: Sequence[_Line], unit: str, higher_is_better: bool | None) -> PlotAxis:
    return shared_axis(
        [estimate(each.comparison, cells(each.comparison)) for each in lines if each.comparison], unit, higher_is_better
    )


def _drawn(parts: Sequence[_Part]) -> tuple[list[Element], float]:
    """Return the elements and the height of the picture."""
    elements: list[Element] = []
    compared = [each.comparison for part in parts for each in part.lines if each.comparison]
    is_one_line = any(each.is_indented for part in parts for each in part.lines)
    columns = _columns([cells(each) for each in compared], is_one_line=is_one_line)
    y = 4.0
    for part in parts:
        y = _draw_part(elements, part, columns, y) + 10
    used = legend_entries([estimate(each, cells(each)) for each in compared])
    elements += legend(used, _EDGE, y + SMALL + 4)
    return elements, y + 2 * SMALL + 6


def _columns(shown: Sequence[Cells], *, is_one_line: bool) -> _Columns:
    """Return where the axis ends and the numbers stand, so that the longest of them fit beside it."""
    right = _WIDTH - _EDGE
    difference = max(text_width(each.difference, SIZE, _BOLD) for each in shown)
    interval = max(text_width(each.interval, SMALL) for each in shown)
    if is_one_line and _PLOT_START + _LEAST_PLOT + _GAP + difference + interval + _GAP <= right:
        return _Columns(right - interval - difference - 2 * _GAP, right - interval - _GAP, is_one_line=True)
    return _Columns(max(right - max(difference, interval) - _GAP, _PLOT_START + _LEAST_PLOT), right, is_one_line=False)


def _draw_part(elements: list[Element], part: _Part, columns: _Columns, top: float) -> float:
    """Add a part below `top`, and return where it ends."""
    scale = part.axis.scale(_PLOT_START, columns.plot_end)
    title = wrapped(part.title, _GUTTER, size=SMALL, weight=_BOLD, most_lines=3)
    elements += [replace(each, weight=_BOLD) for each in text_lines(_EDGE, top + 16, title, "soft", SMALL)]
    elements += axis_elements(part.axis, scale, top + 16)
    start = y = top + max(_HEAD, 8 + block_height(title, SMALL))
    grid = len(elements)
    for each in part.lines:
        if not each.is_indented:
            elements.append(line((_EDGE, y), (_WIDTH - _EDGE, y), "line"))
        y = _draw_line(elements, each, scale, columns, y)
    zero = line((scale.place(0), start), (scale.place(0), y), "soft")
    ticks = [line((x, start), (x, y), "line") for x, words in part.axis.tick_labels(scale) if words != "0"]
    elements[grid:grid] = [*ticks, zero]
    return y


def _draw_line(elements: list[Element], each: _Line, scale: Scale, columns: _Columns, top: float) -> float:
    """Add a line below `top`, and return where it ends."""
    left = _EDGE + (12 if each.is_indented else 0)
    is_heading = each.comparison is None
    names = wrapped(each.name, _EDGE + _GUTTER - left, weight=_BOLD if is_heading else 400)
    detail = cut(each.detail, _GUTTER, size=SMALL) if each.detail else ""
    name_height = block_height(names) + (LINE_HEIGHT * SMALL if detail else 0)
    is_low = is_heading or (each.is_indented and columns.is_one_line)
    height = (name_height if is_low else max(name_height, block_height(("", "")))) + (_PAD if is_low else 2 * _PAD)
    first = top + (height - name_height) / 2 + ASCENT * SIZE
    words: tuple[Text, ...] = text_lines(left, first, names)
    if is_heading:
        words = tuple(replace(text, weight=_BOLD) for text in words)
    if detail:
        words = (*words, Text(left, words[-1].y + LINE_HEIGHT * SIZE, detail, "soft", SMALL))
    if each.comparison is None:
        elements += words
    else:
        shown = cells(each.comparison)
        middle = top + height / 2
        told = f"{each.name}: {shown.difference} {shown.interval}, {each.comparison.outcome}"
        drawn = estimate_marks(estimate(each.comparison, shown), scale, middle)
        elements.append(Group(told, (*words, *drawn, *_numbers(shown, columns, middle))))
    return top + height


def _numbers(shown: Cells, columns: _Columns, middle: float) -> tuple[Text, ...]:
    right = _WIDTH - _EDGE
    is_alone = shown.low is None
    rise = 0.0 if is_alone or columns.is_one_line else -SIZE / 2
    difference = Text(columns.difference, middle + _BASELINE + rise, shown.difference, "ink", SIZE, "end", _BOLD)
    if is_alone:
        return (difference,)
    fall = 0.0 if columns.is_one_line else SIZE / 2 + 2
    return difference, Text(right, middle + _BASELINE + fall, shown.interval, "soft", SMALL, "end")


def _in_words(parts: Sequence[_Part]) -> str:
    """Return what a screen reader says: every difference and its outcome."""
    rows = [(each.name, each.comparison) for part in parts for each in part.lines if each.comparison]
    return "; ".join(f"{name} {cells(comparison).difference}, {comparison.outcome}" for name, comparison in rows)


def _data(parts: Sequence[_Part]) -> Iterator[tuple[str | float | None, ...]]:
    for part in parts:
        metric = ""
        for each in part.lines:
            if each.comparison is None or not each.is_indented:
                metric = each.name
            if each.comparison is not None:
                shown = cells(each.comparison)
                yield (
                    part.title,
                    metric,
                    each.comparison.candidate,
                    shown.difference_number,
                    shown.low,
                    shown.high,
                    shown.unit,
                    each.comparison.outcome,
                )
