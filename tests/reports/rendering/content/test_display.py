"""Numbers as a reader sees them."""
# ruff: noqa: RUF001 - real minus signs and dashes are what is tested

import math

import pytest

from reports.comparing.compare import Comparison
from reports.records import Metric
from reports.rendering.content.display import NOTHING, cells, low_to_high, number, p_text


def _row(display, baseline, candidate, low, high, unit="nats"):
    metric = Metric("evaluation", "metric", unit, higher_is_better=True, display=display)
    difference = None if baseline is None or candidate is None else candidate - baseline
    interval = None if low is None else (low, high)
    return Comparison(metric, "dpo", "baseline", "base", baseline, candidate, difference, 20, 20, interval=interval)


def test_percent_becomes_percentage_points():
    """Fractions are stored, percent and percentage points are shown."""
    row = cells(_row("percent", 0.5, 0.7251, 0.145, 0.305))
    assert (row.baseline, row.candidate, row.difference, row.interval) == (
        "50.0 %",
        "72.5 %",
        "+22.5 pp",
        "[+14.5, +30.5]",
    )


def test_a_perplexity_difference_is_the_ratio_and_its_interval_the_exact_image():
    """From nats per token: exp for the values, exp - 1 in percent for difference and ends, order kept."""
    numbers = cells(_row("exp", 2.0, 2.1, 0.05, 0.15))
    assert (numbers.baseline_number, numbers.candidate_number) == pytest.approx((math.exp(2.0), math.exp(2.1)))
    assert numbers.difference_number == pytest.approx(100 * (numbers.candidate_number / numbers.baseline_number - 1))
    assert (numbers.low, numbers.high) == pytest.approx((100 * math.expm1(0.05), 100 * math.expm1(0.15)))
    assert numbers.unit == "%"
    assert cells(_row("exp", 2.0, 2.1, 0.05, 0.15)).interval == "[+5.1, +16.2]"


@pytest.mark.parametrize(
    ("low", "high", "difference", "interval"),
    [
        (-1.5, 0.5, "−0.5", "[−1.5, +0.5]"),
        (-30.0, 29.0, "0", "[−30, +29]"),
        (-0.502, -0.498, "−0.5000", "[−0.5020, −0.4980]"),
        (None, None, "−0.5000", "–"),
    ],
)
def test_the_interval_decides_the_digits(low, high, difference, interval):
    """Two digits of the half width, for the difference and both values; four digits where there is none."""
    row = cells(_row("mean", 1.0, 0.5 if difference != "0" else 1.0, low, high))
    assert (row.difference, row.interval) == (difference, interval)
    assert low_to_high(row) == interval.strip("[]").replace(", ", " to ")


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (-0.04, 1, "0.0"),
        (0.0, 2, "0.00"),
        (-1234.5, 1, "−1,234.5"),
        (2.0, 0, "+2"),
        (5.9e9, 1, "+5.900e+09"),
        (-math.inf, 1, "−∞"),
        (None, 1, "–"),
    ],
)
def test_signs_are_real_minus_signs_and_zero_has_none(value, decimals, expected):
    """One style for all numbers of a table."""
    assert number(value, decimals, sign=True) == expected


def test_missing_numbers_and_overflowing_perplexities_stay_readable():
    """None is a dash; a perplexity beyond floating point is infinite, not a crash."""
    assert cells(_row("percent", None, 0.5, None, None)).baseline == "–"
    assert cells(_row("percent", None, 0.5, None, None)).difference == "–"
    assert cells(_row("exp", 1.0, 2000.0, 1998.0, 2000.0)).candidate == "∞"
    assert cells(_row("exp", 1.0, 2000.0, 1998.0, 2000.0)).difference == "∞ %"
    assert cells(_row("mean", 0.0, 0.0, None, None)).candidate == "0.000"


@pytest.mark.parametrize(
    ("p_value", "text"), [(0.0, "< 0.001"), (0.0012, "0.001"), (0.0496, "0.050"), (1.0, "1.000"), (None, NOTHING)]
)
def test_p_values_have_three_decimals(p_value, text):
    """None is shown as 0."""
    assert p_text(p_value) == text
