"""Outcome of a run, and the comparison of two outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan

NEAR_NATS = 2e-4
"""Options closer than this may be chosen differently."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Log-probabilities by item (a row of a task, a pair, a batch of pairs), with choices and metrics."""

    sums: Mapping[str, tuple[float, ...]]
    """Item ("task, which row") -> log-probability of each of its responses, in nats."""
    options: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Item -> values of its options, in nats; the highest is chosen."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """"task metric" -> value."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Differences between two outcomes."""

    difference_nats: float
    n_responses: int
    n_outside: int
    """Number of responses that differ by more than 1e-4 nats and by more than 1e-6 of their sum."""
    wrong_choices: tuple[str, ...]
    """Items that were decided differently although their best two options are clearly apart."""
    near_choices: tuple[str, ...]
    """Items that were decided differently between options that are nearly equal."""
    metrics: Mapping[str, tuple[float, float]]
    """Name -> ours and theirs."""

    @property
    def metrics_agree(self) -> bool:
        """Whether metrics agree within 1e-4, except tasks with an item that was decided differently near a tie."""
        excused = {item.partition(",")[0] for item in self.near_choices}
        return all(
            abs(ours - theirs) <= 1e-4 or (isnan(ours) and isnan(theirs)) or name.partition(" ")[0] in excused
            for name, (ours, theirs) in self.metrics.items()
        )

    @property
    def holds(self) -> bool:
        """Whether everything is equal that has to be in fp32."""
        return self.n_outside == 0 and not self.wrong_choices and self.metrics_agree


def agreement(ours: Outcome, theirs: Outcome) -> Agreement:
    """Compares all items; both outcomes must have the same."""
    if ours.sums.keys() != theirs.sums.keys() or ours.metrics.keys() != theirs.metrics.keys():
        raise ValueError("the two sides did not measure the same items")
    pairs = [both for item in ours.sums for both in zip(ours.sums[item], theirs.sums[item], strict=True)]
    outside = [1 for mine, other in pairs if not abs(mine - other) <= max(1e-4, 1e-6 * abs(other))]  # NaN is outside
    differing = [item for item, values in ours.options.items() if _best(values) != _best(theirs.options[item])]
    near = [item for item in differing if _lead(theirs.options[item]) <= NEAR_NATS]
    return Agreement(
        difference_nats=max(abs(mine - other) for mine, other in pairs),
        n_responses=len(pairs),
        n_outside=len(outside),
        wrong_choices=tuple(item for item in differing if item not in near),
        near_choices=tuple(near),
        metrics={name: (value, theirs.metrics[name]) for name, value in ours.metrics.items()},
    )


def _best(options: tuple[float, ...]) -> int:
    return options.index(max(options))


def _lead(options: tuple[float, ...]) -> float:
    """Best option minus the second best, in nats."""
    first, second = sorted(options, reverse=True)[:2]
    return first - second
