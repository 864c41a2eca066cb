"""What is said of simulated differences, as arrays, whichever code says it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from populations import Differences, Floats

Bools = NDArray[np.bool_]
Signs = NDArray[np.int8]
"""1 where a difference is called a rise, -1 where a fall, else 0."""
MARGIN = 4.0
"""Margin of the equivalence test in true standard errors: wide enough that its other end never decides."""


class Judgements(Protocol):
    """What is said of each metric of each experiment, all of shape (n_experiments, n_metrics); computed when asked."""

    @property
    def alone(self) -> Signs:
        """Claim on a metric that is the only one."""
        ...

    @property
    def in_family(self) -> Signs:
        """Claim after correction over the metrics of an experiment."""
        ...

    @property
    def stops(self) -> Signs:
        """Direction of a loss for which a gate stops that allows none, one of as many gates as there are metrics."""
        ...

    @property
    def unchanged(self) -> Bools:
        """Whether it is called unchanged, the margin of each being `MARGIN` true standard errors."""
        ...

    @property
    def covered(self) -> Bools:
        """Whether the 95 % interval holds the true difference; False without an interval."""
        ...

    @property
    def has_interval(self) -> Bools:
        """Whether there is an interval, or else "cannot tell" is said."""
        ...


Judge = Callable[[Sequence[Differences]], Judgements]
"""Blocks of metrics of one family -> what is said of them; only coverage and margins know what is true."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Judgements that are all there."""

    alone: Signs
    in_family: Signs
    stops: Signs
    unchanged: Bools
    covered: Bools
    has_interval: Bools


def claims(low: Floats, high: Floats) -> Signs:
    """Returns the sign of each interval that excludes 0; NaN claims nothing."""
    return (low > 0).astype(np.int8) - (high < 0).astype(np.int8)
