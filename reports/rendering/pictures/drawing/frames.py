"""The frame of a plot: ticks, their texts and lines of a grid, around a place for data."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.rendering.pictures.drawing.elements import Box, Element, Text, line
from reports.rendering.pictures.drawing.lettering import ASCENT, DESCENT, SMALL
from reports.rendering.pictures.drawing.scales import Scale

Ticks = Sequence[tuple[float, str]]
"""Number and text of each tick."""
_GAP = 8.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A place for data, with what maps numbers to it."""

    box: Box
    x: Scale
    y: Scale

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixels of a pair of numbers."""
        return self.x.place(x), self.y.place(y)


def frame_elements(frame: Frame, x_ticks: Ticks, y_ticks: Ticks) -> list[Element]:
    """Return grid and texts of both axes; texts of the horizontal one that would overlap are left out."""
    box = frame.box
    elements: list[Element] = []
    for value, words in y_ticks:
        y = frame.y.place(value)
        elements.append(line((box.left, y), (box.right, y), "line"))
        elements.append(Text(box.left - 6, y + 0.35 * SMALL, words, "soft", SMALL, "end"))
    elements.append(line((box.left, box.bottom), (box.right, box.bottom), "soft"))
    below = box.bottom + 5 + ASCENT * SMALL
    right = -1e9
    for value, words in x_ticks:
        x = frame.x.place(value)
        text = Text(x, below, words, "soft", SMALL, "middle")
        elements.append(line((x, box.bottom), (x, box.bottom + 4), "soft"))
        if text.box.left > right + _GAP:
            elements.append(text)
            right = text.box.right
    return elements


def below_frame(frame: Frame) -> float:
    """Return how far down the texts of the horizontal axis reach."""
    return frame.box.bottom + 5 + (ASCENT + DESCENT) * SMALL
