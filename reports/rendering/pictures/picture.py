"""One picture, with the data it shows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """A static SVG, in real colours and with a CSS class on every part, so that a page can restyle it for the dark."""

    name: str
    """Stable name, such as "differences" or "margins": the file it is saved as, and where the page shows it."""
    title: str
    svg: str
    """A whole `<svg>` element with a viewBox, title and description."""
    note: str = ""
    """What the marks mean, in one or two sentences."""
    header: tuple[str, ...] = ()
    """Names of the columns of its data."""
    rows: tuple[tuple[str | float | None, ...], ...] = ()
    """Its data in full precision, for CSV."""
