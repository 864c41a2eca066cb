"""Scales: round ticks, logarithms, and whatever numbers there are."""

import math

import pytest

from reports.rendering.pictures.drawing.scales import (
    Scale,
    is_spread,
    linear_scale,
    log_scale,
    nice_ticks,
    tick_texts,
)


def test_a_scale_maps_its_ends_and_holds_what_is_beyond():
    """Infinite numbers lie on an end; nothing leaves the picture."""
    scale = Scale(0.0, 10.0, 100.0, 200.0)
    assert [scale.place(each) for each in (0, 5, 10, 11, math.inf, -math.inf)] == [100, 150, 200, 200, 200, 100]
    assert scale.holds(10)
    assert not scale.holds(10.1)


def test_a_logarithmic_scale_has_equal_steps_for_equal_ratios():
    """1e-6, 1e-5 and 1e-4 are equally far apart."""
    scale = log_scale([1e-6, 1e-5, 1e-4], 0.0, 100.0)
    low, middle, high = (scale.place(each) for each in (1e-6, 1e-5, 1e-4))
    assert middle - low == pytest.approx(high - middle)
    assert 0 < low < high < 100


def test_values_are_spread_if_they_span_most_of_a_power_of_ten():
    """Not if one of them is 0 or below."""
    assert is_spread([5e-6, 1e-5, 5e-5])
    assert not is_spread([0.1, 0.2, 0.5])
    assert not is_spread([0.0, 1.0, 100.0])
    assert not is_spread([1.0])


@pytest.mark.parametrize("values", [[], [math.nan, math.inf], [3.0], [0.0, 0.0], [-1e300, 1e300], [1e-12, 2e-12]])
def test_any_values_have_a_scale(values):
    """One value, none, equal ones, and very large or small ones."""
    scale = linear_scale(values, 0.0, 100.0)
    assert scale.low < scale.high
    ticks = nice_ticks(scale, 5)
    assert 1 <= len(ticks) <= 6
    assert all(scale.low <= tick <= scale.high or tick == pytest.approx(scale.low, abs=1e-9) for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (-0.3, 9.6, ("0", "2", "4", "6", "8")),
        (0.0, 0.6, ("0.0", "0.2", "0.4", "0.6")),
        (-2.4, 2.4, ("\u22122", "\u22121", "0", "1", "2")),
        (-0.3, 10.2, ("0.0", "2.5", "5.0", "7.5", "10.0")),
        (0.0, 4e-9, ("0", "1e\u22129", "2e\u22129", "3e\u22129", "4e\u22129")),
        (0.0, 5e8, ("0", "1e8", "2e8", "3e8", "4e8", "5e8")),
        (1000.0, 5000.0, ("1,000", "2,000", "3,000", "4,000", "5,000")),
    ],
)
def test_ticks_are_round_and_their_texts_short(low, high, texts):
    """As few decimals as tell them apart, all with the same."""
    assert tick_texts(nice_ticks(Scale(low, high, 0, 100), 5)) == texts
