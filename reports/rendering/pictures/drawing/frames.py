"""The frame of a plot: ticks, their texts and lines of a grid, around a place for data."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.rendering.pictures.drawing.elements import Box, Element, Text, line
from reports.rendering.pictures.drawing.lettering import ASCENT, DESCENT, SMALL, cut, text_width
from reports.rendering.pictures.drawing.scales import Scale

Ticks = Sequence[tuple[float, str]]
"""Number and text of each tick."""
_GAP, _TICK = 8.0, 8.0
"""Distance between texts beside each other, and of texts from the axis above them, in pixels."""
_BEYOND_LEFT, _BEYOND_RIGHT = 20.0, 10.0
"""How far the text of a tick may reach beyond the plot."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A place for data, with what maps numbers to it."""

    box: Box
    x: Scale
    y: Scale

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixels of a pair of numbers."""
        return self.x.place(x), self.y.place(y)


def frame_elements(frame: Frame, x_ticks: Ticks, y_ticks: Ticks, size: float = SMALL) -> list[Element]:
    """Return grid and texts of both axes; texts of the horizontal one that would overlap are left out."""
    box = frame.box
    elements: list[Element] = []
    for value, words in y_ticks:
        y = frame.y.place(value)
        elements.append(line((box.left, y), (box.right, y), "line"))
        elements.append(Text(box.left - 6, y + 0.35 * size, words, "soft", size, "end"))
    elements.append(line((box.left, box.bottom), (box.right, box.bottom), "soft"))
    below = box.bottom + _TICK + ASCENT * size
    right = -1e9
    for value, words in x_ticks:
        x = frame.x.place(value)
        elements.append(line((x, box.bottom), (x, box.bottom + 4), "soft"))
        text = _below(frame, x, below, words, size)
        if text.box.left > right + _GAP:
            elements.append(text)
            right = text.box.right
    return elements


def _below(frame: Frame, x: float, y: float, words: str, size: float) -> Text:
    """Return the text of a tick, cut to half the plot, and moved inwards where it would leave it by much."""
    shown = cut(words, (frame.box.right - frame.box.left) / 2, size=size)
    half = text_width(shown, size) / 2
    middle = min(max(x, frame.box.left - _BEYOND_LEFT + half), frame.box.right + _BEYOND_RIGHT - half)
    return Text(middle, y, shown, "soft", size, "middle")


def below_frame(frame: Frame, size: float = SMALL) -> float:
    """Return how far down the texts of the horizontal axis reach."""
    return frame.box.bottom + _TICK + (ASCENT + DESCENT) * size
