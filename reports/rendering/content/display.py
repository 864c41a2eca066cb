"""How a comparison looks: the units, digits and words of a table cell, and text that Markdown leaves alone."""

import math
import re
from dataclasses import dataclass

from reports.comparing.compare import Comparison
from reports.records import Display, Metric

MINUS = "\u2212"
NOTHING = "\u2013"
ARROWS = {True: "\u2191", False: "\u2193", None: NOTHING}
"""higher_is_better -> which way is better."""
LONGEST_TEXT = 600
"""Characters of an answer that are shown."""
LARGEST_PLAIN = 1e6
"""From here on numbers are shown in scientific notation."""

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@<!-- -->"}  # the comment keeps a forge from calling @somebody
    | {character: f"\\{character}" for character in "\\`*[]|~$"}
)
_LOOSE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_BLOCK_START = re.compile(r"^(\d*)([-+=#.)])")


@dataclass(frozen=True, slots=True)
class Shown:
    """The numbers of a comparison in the units a reader wants.

    - "percent": values in percent, the difference in percentage points.
    - "exp": values as exponentials, such as a perplexity; the difference as candidate / baseline - 1 in percent. That
      is exp(difference) - 1 and rises with the difference: the ends of its interval are exact images of those in nats.
    - "mean": everything in the metric's unit.
    """

    baseline: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    unit: str
    """Of difference, low and high."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The same as text, with as many digits as the interval supports."""

    baseline: str
    candidate: str
    difference: str
    interval: str


def shown(comparison: Comparison) -> Shown:
    """The comparison in the units of its metric's display."""
    display, interval = comparison.metric.display, comparison.interval
    return Shown(
        baseline=_value(comparison.baseline_value, display),
        candidate=_value(comparison.candidate_value, display),
        difference=_difference(comparison.difference, display),
        low=_difference(interval.low if interval else None, display),
        high=_difference(interval.high if interval else None, display),
        unit={"percent": "pp", "exp": "%", "mean": comparison.metric.unit}[display],
    )


def cells(comparison: Comparison) -> Cells:
    """The numbers of a table row."""
    numbers, display = shown(comparison), comparison.metric.display
    half_width = None if numbers.low is None or numbers.high is None else (numbers.high - numbers.low) / 2
    decimals = _decimals(half_width, numbers.candidate, display)
    value_decimals = decimals if display == "mean" else None
    difference = number(numbers.difference, decimals, sign=True)
    if numbers.difference is not None and display != "mean":
        difference += f" {numbers.unit}"
    interval = NOTHING
    if half_width is not None:
        interval = f"[{number(numbers.low, decimals, sign=True)}, {number(numbers.high, decimals, sign=True)}]"
    return Cells(
        baseline=_value_cell(numbers.baseline, display, value_decimals),
        candidate=_value_cell(numbers.candidate, display, value_decimals),
        difference=difference,
        interval=interval,
    )


def spread(amount: float | None, metric: Metric) -> str:
    """A standard deviation or a width, given in the metric's unit, with two digits; of logarithms, its exp - 1."""
    shown_amount = _difference(amount, metric.display)
    unit = {"percent": " pp", "exp": " %", "mean": ""}[metric.display] if amount is not None else ""
    return number(shown_amount, _decimals(shown_amount, None, metric.display)) + unit


def number(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """A number with a real minus sign; one that rounds to zero has no sign."""
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


def label(metric: Metric) -> str:
    """Evaluation and metric, and the unit where the numbers do not show it."""
    unit = f" ({metric.unit})" if metric.display == "mean" and metric.unit not in ("", metric.name) else ""
    return f"{metric.evaluation} \u00b7 {metric.name}{unit}"


def plain(text: str) -> str:
    """The text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def escape(text: str) -> str:
    """The text on one line, all of it literal: neither Markdown nor HTML nor a column of a table."""
    return _LOOSE_UNDERSCORE.sub(r"\\_", plain(text).translate(_ESCAPES))


def escape_line(text: str) -> str:
    """The same for a line of its own, which must not start a list or a heading either."""
    return _BLOCK_START.sub(r"\1\\\2", escape(text))


def quote(text: str, longest: int = LONGEST_TEXT) -> str:
    """A block quote that keeps the line breaks of the text and says how much of it is not shown."""
    lines = [_quoted_line(line) for line in text[:longest].strip("\n").splitlines()] or ["*(empty)*"]
    if len(text) > longest:
        lines.append(f"*\u2026 {len(text) - longest:,} more characters*")
    last = len(lines) - 1
    breaks = ["  " if line and position < last else "" for position, line in enumerate(lines)]
    return "\n".join(
        f"> {line}{line_break}".rstrip(" ") + line_break for line, line_break in zip(lines, breaks, strict=True)
    )


def _quoted_line(line: str) -> str:
    text = line.lstrip(" \t")
    return "&nbsp;" * (len(line) - len(text)) + escape_line(text)


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
    """Decimals that show two digits of the half width, at least one where the unit is a percentage."""
    fewest = 0 if display == "mean" else 1
    if half_width and math.isfinite(half_width):
        return min(6, max(fewest, 1 - math.floor(math.log10(half_width))))
    return fewest if display != "mean" else _four_digits(value)


def _four_digits(value: float | None) -> int:
    """Decimals that show four significant digits."""
    if not value or math.isinf(value):
        return 3
    return min(6, max(0, 3 - math.floor(math.log10(abs(value)))))


def _value_cell(value: float | None, display: Display, decimals: int | None) -> str:
    if display == "percent":
        return NOTHING if value is None else f"{number(value, 1)} %"
    return number(value, _four_digits(value) if decimals is None else decimals)
