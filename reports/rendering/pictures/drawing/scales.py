"""Scales that map numbers to pixels, with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from reports.rendering.content.display import LARGEST_PLAIN, MINUS, number

_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Steps of ticks, times a power of ten."""
_SMALLEST_PLAIN, _MOST_DECIMALS = 1e-5, 5
"""Smallest step that is written without a power of ten, and the decimals that takes."""
_EQUAL = 1e-6
_LOG_SPREAD = 8.0
"""Positive values whose largest is at least this many times the smallest lie on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A mapping of the numbers from `low` to `high` to the pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    @property
    def direction(self) -> int:
        """1 if larger numbers lie further right, or down, and -1 if they lie the other way."""
        return 1 if self.end >= self.start else -1

    def place(self, value: float) -> float:
        """Return the pixel of a number; one beyond an end, or infinite, lies on that end."""
        inside = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether the number lies on the scale."""
        return self.low <= value <= self.high


def linear_scale(values: Sequence[float], start: float, end: float, pad: float = 0.05) -> Scale:
    """Return a scale that holds the finite values, with some room at both ends; -1 to 1 without any."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (-1.0, 1.0)
    room = pad * (high - low) or 0.5 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def log_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a logarithmic scale of positive values, with the room of a third of a step between two of them."""
    low, high = min(values), max(values)
    room = (high / low) ** (1 / (3 * max(1, len(set(values)) - 1)))
    return Scale(low / room, high * room, start, end, is_log=True)


def is_spread(values: Sequence[float]) -> bool:
    """Whether the values are positive and spread so far that they belong on a logarithmic axis."""
    return len(values) > 1 and min(values) > 0 and max(values) / min(values) >= _LOG_SPREAD


def nice_step(length: float, most: int) -> float:
    """Return the smallest round step of which at most so many fit into a length."""
    least = max(length, 1e-300) / most
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * step for step in _ROUND if power * step >= least * (1 - _EQUAL))


def nice_ticks(scale: Scale, most: int = 5) -> tuple[float, ...]:
    """Return round numbers on a linear scale, at most about so many."""
    step = nice_step(scale.high - scale.low, most)
    first, last = math.ceil(scale.low / step - _EQUAL), math.floor(scale.high / step + _EQUAL)
    return tuple(place * step for place in range(first, last + 1))


def tick_texts(ticks: Sequence[float], *, sign: bool = False) -> tuple[str, ...]:
    """Return ticks with the fewest decimals that tell them apart, very large and very small ones as powers of ten."""
    step = min((b - a for a, b in pairwise(ticks)), default=abs(ticks[0]) if ticks else 1.0) or 1.0
    if step < _SMALLEST_PLAIN or max(map(abs, ticks), default=0.0) >= LARGEST_PLAIN:
        return tuple(_as_power(tick, sign=sign) for tick in ticks)
    decimals = next((n for n in range(_MOST_DECIMALS) if abs(round(step, n) - step) < _EQUAL * step), _MOST_DECIMALS)
    return tuple(number(tick, decimals, sign=sign) for tick in ticks)


def _as_power(tick: float, *, sign: bool) -> str:
    """Return "2.5e9" for 2,500,000,000."""
    mantissa, _, power = f"{tick:+.3g}".partition("e")
    text = f"{mantissa}e{int(power)}" if power else mantissa
    return (text if sign and tick else text.removeprefix("+")).replace("-", MINUS)
