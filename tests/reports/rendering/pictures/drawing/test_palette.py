"""Colours: readable on their paper, and restyled by class without touching a picture."""

import pytest

from reports.rendering.pictures.drawing.palette import DARK, LIGHT, N_SERIES, series_dash, stylesheet


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours such as "#5b6570", from 1 to 21 (WCAG 2.2, relative luminance)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_that_of_the_standard():
    """Black on white is 21, a colour on itself 1, and #767676 the lightest grey that passes on white."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#5b6570", "#5b6570") == 1
    assert contrast("#767676", "#ffffff") >= 4.5 > contrast("#777777", "#ffffff")


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_lines_have_enough_contrast(colours):
    """AA for every colour that texts and lines are drawn in; the grid alone may be fainter."""
    for name, colour in colours.items():
        if name not in ("paper", "line"):
            assert contrast(colour, colours["paper"]) >= 4.5, name


def test_both_papers_have_the_same_classes():
    """So that nothing keeps its light colour on a dark page."""
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_a_page_restyles_lines_and_areas_by_class():
    """One rule each, so that a line is not filled and an area has no line."""
    assert stylesheet("figure", {"better": "var(--better)"}) == (
        "figure .better:not([stroke]){fill:var(--better)}figure .better[stroke]{stroke:var(--better)}"
    )


def test_candidates_are_told_apart_without_colour():
    """Each line of a candidate has dashes of its own."""
    assert len({series_dash(f"series-{place}") for place in range(N_SERIES)}) == N_SERIES
    assert series_dash("none") == ""
