"""The elements of a picture: lines, areas and texts as frozen values, and their markup as SVG.

Every element has its colour twice: as a real one, for whatever shows the file, and as a CSS class, for a page that
restyles it. All texts are escaped here, and nowhere else.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from reports.rendering.content.display import plain
from reports.rendering.pictures.drawing.lettering import (
    ASCENT,
    DESCENT,
    FONTS,
    LINE_HEIGHT,
    SIZE,
    text_width,
)
from reports.rendering.pictures.drawing.palette import LIGHT

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box", gap: float = 0.0) -> bool:
        """Whether two boxes have a point in common, or lie closer than a gap."""
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def holds(self, other: "Box") -> bool:
        """Whether the other box lies within this one."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A line or an area."""

    tag: Literal["line", "path", "circle", "rect"]
    colour: str
    """Name in the palette."""
    geometry: Mapping[str, float | str]
    stroke_width: float | None = None
    """Width of a line; None for an area."""
    dash: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text, which lies on y."""

    x: float
    y: float
    words: str
    colour: str = "ink"
    size: float = SIZE
    anchor: Anchor = "start"
    weight: int = 400

    @property
    def box(self) -> Box:
        """The space it takes, estimated for a wide font."""
        width = text_width(plain(self.words), self.size, self.weight)
        left = self.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] * width
        return Box(left, self.y - ASCENT * self.size, left + width, self.y + DESCENT * self.size)


@dataclass(frozen=True, slots=True)
class Group:
    """Elements that belong together, with what a pointer that rests on them, or a screen reader, is told."""

    title: str
    elements: "tuple[Element, ...]" = field(default=())


Element = Shape | Text | Group


def line(start: Point, end: Point, colour: str, width: float = 1.0, dash: str = "") -> Shape:
    """Return a straight line."""
    return Shape("line", colour, {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}, width, dash)


def polyline(points: Sequence[Point], colour: str, width: float = 1.5, dash: str = "") -> Shape:
    """Return a line through points."""
    return Shape("path", colour, {"d": _path(points)}, width, dash)


def polygon(points: Sequence[Point], colour: str) -> Shape:
    """Return an area within points."""
    return Shape("path", colour, {"d": f"{_path(points)}Z"})


def outline(points: Sequence[Point], colour: str, width: float = 1.5, dash: str = "") -> Shape:
    """Return a closed line through points."""
    return Shape("path", colour, {"d": f"{_path(points)}Z"}, width, dash)


def disc(centre: Point, radius: float, colour: str) -> Shape:
    """Return a filled circle."""
    return Shape("circle", colour, {"cx": centre[0], "cy": centre[1], "r": radius})


def ring(centre: Point, radius: float, colour: str, width: float = 2.0, dash: str = "") -> Shape:
    """Return a circle that is not filled."""
    return Shape("circle", colour, {"cx": centre[0], "cy": centre[1], "r": radius}, width, dash)


def rectangle(box: Box, colour: str) -> Shape:
    """Return a filled rectangle."""
    return Shape(
        "rect", colour, {"x": box.left, "y": box.top, "width": box.right - box.left, "height": box.bottom - box.top}
    )


def text_lines(x: float, y: float, lines: Sequence[str], colour: str = "ink", size: float = SIZE) -> tuple[Text, ...]:
    """Return lines below each other, the first of which lies on y."""
    return tuple(Text(x, y + place * LINE_HEIGHT * size, words, colour, size) for place, words in enumerate(lines))


def texts(elements: Iterable[Element]) -> Iterator[Text]:
    """Yield every text among the elements."""
    for element in elements:
        if isinstance(element, Text):
            yield element
        elif isinstance(element, Group):
            yield from texts(element.elements)


def picture_markup(width: float, height: float, title: str, description: str, elements: Iterable[Element]) -> str:
    """Return a whole `<svg>` on paper, with a title and a description for screen readers."""
    parts = [rectangle(Box(0, 0, width, height), "paper"), *elements]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {_number(width)} {_number(height)}" '
        f'role="img" font-family="{FONTS}" font-size="{_number(SIZE)}" font-variant-numeric="tabular-nums" '
        f'stroke-linecap="round" stroke-linejoin="round"><title>{_escaped(title)}</title>'
        f"<desc>{_escaped(description)}</desc>{''.join(map(_markup, parts))}</svg>"
    )


def plot_markup(width: float, height: float, title: str, elements: Iterable[Element]) -> str:
    """Return a small `<svg>` for use inside of a table, without paper; with an empty title it is decoration."""
    role = f'role="img"><title>{_escaped(title)}</title>' if title else 'aria-hidden="true">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {_number(width)} {_number(height)}" '
        f'font-family="{FONTS}" stroke-linecap="round" stroke-linejoin="round" {role}'
        f"{''.join(map(_markup, elements))}</svg>"
    )


def _markup(element: Element) -> str:
    if isinstance(element, Group):
        title = f"<title>{_escaped(element.title)}</title>" if element.title else ""
        return f'<g class="item">{title}{"".join(map(_markup, element.elements))}</g>'
    if isinstance(element, Text):
        anchor = "" if element.anchor == "start" else f' text-anchor="{element.anchor}"'
        weight = "" if element.weight == 400 else f' font-weight="{element.weight}"'  # noqa: PLR2004 - the usual weight
        return (
            f'<text class="{element.colour}" fill="{LIGHT[element.colour]}" x="{_number(element.x)}" '
            f'y="{_number(element.y)}" font-size="{_number(element.size)}"{anchor}{weight} unicode-bidi="plaintext">'
            f"{_escaped(element.words)}</text>"
        )
    geometry = "".join(
        f' {name}="{value if isinstance(value, str) else _number(value)}"' for name, value in element.geometry.items()
    )
    return f'<{element.tag} class="{element.colour}"{_paint(element)}{geometry}/>'


def _paint(shape: Shape) -> str:
    colour = LIGHT[shape.colour]
    if shape.stroke_width is None:
        return f' fill="{colour}"'
    fill = "" if shape.tag == "line" else ' fill="none"'
    dash = f' stroke-dasharray="{shape.dash}"' if shape.dash else ""
    return f'{fill} stroke="{colour}" stroke-width="{_number(shape.stroke_width)}"{dash}'


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _number(value: float) -> str:
    """Return a number of pixels with at most two decimals, which no screen shows more of."""
    assert math.isfinite(value)
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _escaped(words: str) -> str:
    """Return text without characters that XML has no place for, and with nothing that is markup."""
    return plain(words).translate(_ESCAPES)
