"""The colours of pictures, by the name that is also their CSS class, for a light page and for a dark one.

Pictures hold the light colours in their attributes, so that Markdown, print and PDF show them; a page restyles the same
elements for the dark by `stylesheet`. Texts and thin lines have a contrast of at least 4.5 with the paper (WCAG AA).
"""

from collections.abc import Mapping

N_SERIES = 8
"""Number of colours for candidates; with more candidates, the others are grey."""

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "soft": "#5b6570",
    "line": "#dde2e7",
    "better": "#0b62c4",
    "worse": "#b8400a",
    "none": "#66717d",
    "series-0": "#6a48c7",
    "series-1": "#00776a",
    "series-2": "#b3246f",
    "series-3": "#756300",
    "series-4": "#2b3f80",
    "series-5": "#7a3e12",
    "series-6": "#3b7a1e",
    "series-7": "#97309f",
}
DARK: Mapping[str, str] = {
    "paper": "#14171b",
    "ink": "#e8ebee",
    "soft": "#9aa5b1",
    "line": "#30363d",
    "better": "#6fb1ff",
    "worse": "#ff9a62",
    "none": "#8f9aa6",
    "series-0": "#ab90f5",
    "series-1": "#45c9ba",
    "series-2": "#f07db5",
    "series-3": "#d9c04a",
    "series-4": "#93a9e8",
    "series-5": "#d09a6b",
    "series-6": "#8fce6a",
    "series-7": "#dd9dea",
}
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "12 4", "4 2", "1.5 3.5", "6 2 2 2 2 2")


def stylesheet(selector: str, colours: Mapping[str, str]) -> str:
    """Return CSS that gives the elements of pictures inside of a selector other colours.

    An element has either a line or an area in the colour of its class: an area has no `stroke`. CSS wins over colours
    in attributes, so that no picture is written twice.

    Args:
        selector: CSS selector of what holds the pictures, such as ".picture".
        colours: Class -> CSS colour, which may be a variable such as "var(--better)".
    """
    return "\n".join(
        f"{selector} .{name}:not([stroke]){{fill:{colour}}}{selector} .{name}[stroke]{{stroke:{colour}}}"
        for name, colour in colours.items()
    )


def series_dash(colour: str) -> str:
    """Return the dashes of a candidate's line, so that colour is not the only thing that tells lines apart."""
    _, is_series, place = colour.partition("series-")
    return _DASHES[int(place) % len(_DASHES)] if is_series else ""
