"""The units, digits and words of a table cell."""

import math
from dataclasses import dataclass, replace

from reports.comparing.compare import Comparison, Outcome
from reports.records import Display, Metric

MINUS = "\u2212"
NOTHING = "\u2013"
ARROWS = {True: "\u2191", False: "\u2193", None: NOTHING}
"""higher_is_better -> arrow in the direction that is better."""
OUTCOME_MARKS: dict[Outcome, str] = {
    "better": "\u25b2",
    "worse": "\u25bc",
    "higher": "\u2191",
    "lower": "\u2193",
    "no change seen": NOTHING,
    "cannot tell": "?",
    "not measured": "\u00b7",
}
"""The mark beside each outcome, so that colour is never the only sign."""
UNCORRECTED_MARKS = {True: "\u25b3", False: "\u25bd", None: "\u25c7"}
"""Whether it would be better -> the hollow mark of what is clear of zero only before correction."""
LARGEST_PLAIN = 1e6
"""Numbers from here on are shown in scientific notation."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The numbers of a comparison in the units that a reader wants, and as text with the digits the interval supports.

    - "percent": values in percent, the difference in percentage points.
    - "exp": values as exponentials, such as a perplexity; the difference as candidate / baseline - 1 in percent. That
      is exp(difference) - 1 and rises with the difference: the ends of its interval are exact images of those in nats.
    - "mean": everything in the metric's unit.
    """

    baseline: str
    candidate: str
    difference: str
    interval: str
    baseline_number: float | None
    candidate_number: float | None
    difference_number: float | None
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval."""
    unit: str
    """Unit of difference, low and high."""


def cells(comparison: Comparison) -> Cells:
    """Return the numbers of a table row."""
    display, interval = comparison.metric.display, comparison.interval or (None, None)
    baseline = _value(comparison.baseline_value, display)
    candidate = _value(comparison.candidate_value, display)
    difference = _difference(comparison.difference, display)
    low, high = (_difference(end, display) for end in interval)
    unit = {"percent": "pp", "exp": "%", "mean": comparison.metric.unit}[display]
    half_width = None if low is None or high is None else (high - low) / 2
    decimals = _decimals(half_width, candidate, display)
    value_decimals = decimals if display == "mean" else None
    interval_text = f"[{number(low, decimals, sign=True)}, {number(high, decimals, sign=True)}]"
    return Cells(
        baseline=_value_cell(baseline, display, value_decimals),
        candidate=_value_cell(candidate, display, value_decimals),
        difference=number(difference, decimals, sign=True)
        + (f" {unit}" if difference is not None and display != "mean" else ""),
        interval=NOTHING if half_width is None else interval_text,
        baseline_number=baseline,
        candidate_number=candidate,
        difference_number=difference,
        low=low,
        high=high,
        unit=unit,
    )


def table_cells(row: Comparison) -> Cells:
    """Return the numbers of a row of the first table, where chance is no value that was measured: "chance, 50 %"."""
    shown = cells(row)
    if row.against != "definition" or row.metric.display != "percent" or shown.baseline_number is None:
        return shown
    return replace(shown, baseline=f"chance, {shown.baseline_number:g} %")


def outcome_mark(row: Comparison | None, outcome: Outcome) -> str:
    """Return the mark of an outcome, hollow where the difference is clear of zero only before correction."""
    if row is None or not row.fails_correction or row.difference is None:
        return OUTCOME_MARKS[outcome]
    is_better = row.metric.higher_is_better
    return UNCORRECTED_MARKS[None if is_better is None else (row.difference > 0) == is_better]


def low_to_high(shown: Cells) -> str:
    """Return both ends of an interval in words, such as "+1.4 to +2.8"."""
    return shown.interval.strip("[]").replace(", ", " to ")


def spread(amount: float | None, metric: Metric) -> str:
    """Return a standard deviation or width, given in the metric's unit, with two digits; for logarithms its exp - 1."""
    shown_amount = _difference(amount, metric.display)
    unit = {"percent": " pp", "exp": " %", "mean": ""}[metric.display] if amount is not None else ""
    return number(shown_amount, _decimals(shown_amount, None, metric.display)) + unit


def number(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """Return a number with a real minus sign; one that rounds to zero has no sign."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}\u221e"
    if abs(value) >= LARGEST_PLAIN:
        text = f"{value:+.3e}" if sign else f"{value:.3e}"
    else:
        rounded = round(value, decimals) or 0.0  # no negative zero
        text = f"{rounded:+,.{decimals}f}" if sign and rounded else f"{rounded:,.{decimals}f}"
    return text.replace("-", MINUS)


def p_text(p_value: float | None) -> str:
    """Return a p-value with three decimals."""
    if p_value is None:
        return NOTHING
    return "< 0.001" if p_value < 0.001 else number(p_value, 3)  # noqa: PLR2004


def plain(text: str) -> str:
    """Return the text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _value(value: float | None, display: Display) -> float | None:
    if value is None or display == "mean":
        return value
    return 100 * value if display == "percent" else _exp(value)


def _difference(difference: float | None, display: Display) -> float | None:
    if difference is None or display == "mean":
        return difference
    return 100 * (difference if display == "percent" else _exp_minus_1(difference))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _exp_minus_1(value: float) -> float:
    try:
        return math.expm1(value)
    except OverflowError:
        return math.inf


def _decimals(half_width: float | None, value: float | None, display: Display) -> int:
    """Return the decimals that show two digits of the half width, at least one if the unit is a percentage."""
    fewest = 0 if display == "mean" else 1
    if half_width and math.isfinite(half_width):
        return min(6, max(fewest, 1 - math.floor(math.log10(half_width))))
    return fewest if display != "mean" else _four_digits(value)


def _four_digits(value: float | None) -> int:
    """Return the decimals that show four significant digits."""
    if not value or math.isinf(value):
        return 3
    return min(6, max(0, 3 - math.floor(math.log10(abs(value)))))


def _value_cell(value: float | None, display: Display, decimals: int | None) -> str:
    if display == "percent":
        return NOTHING if value is None else f"{number(value, 1)} %"
    return number(value, _four_digits(value) if decimals is None else decimals)
