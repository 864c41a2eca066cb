"""Colours: readable on their paper, and restyled by class without touching a picture."""

import pytest

from reports.rendering.pictures.drawing.palette import DARK, LIGHT, N_SERIES, contrast, series_dash, stylesheet


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
