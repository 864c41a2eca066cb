"""Populations of differences with a known truth, from which the simulated experiments are drawn.

Each population draws sums by group for any number of experiments at once. Its true difference is 0 plus `effect` true
standard errors; a positive effect points towards a skewed population's long tail.
"""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = tuple[int, ...]
Sizes = Literal["equal", "lognormal sizes", "1-5 rows"] | float
"""How large groups are; a number is the largest group's share of all, the others being equal."""

POOLS_FILE = Path(__file__).parent / "pools.csv"
MOST_ROWS = 5
TOKENS_OF_A_ROW = (5, 40)


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Sums by group of both sides, shape (*experiments, n_groups), and what is true of them."""

    candidate_totals: Floats
    baseline_totals: Floats
    counts: Floats
    """Counts of either side."""
    truth: Floats
    """True difference, shape experiments; `effect` true standard errors, or as near as a share can come."""
    true_error: Floats
    """True standard error of the difference, given the counts; shape experiments."""
    by_definition: bool = False
    is_outcomes: bool = False

    @property
    def is_recipe(self) -> bool:
        """Whether the sums have an axis of training seeds before that of groups."""
        return self.counts.ndim == self.true_error.ndim + 2


class Population(Protocol):
    """Where differences are drawn from."""

    @property
    def n_groups(self) -> int:
        """Number of groups of an experiment."""
        ...

    def draw(self, rng: np.random.Generator, shape: Shape, effect: float) -> Differences:
        """Draws experiments, as many as the shape holds, whose true difference is `effect` true standard errors."""
        ...


def _t3(rng: np.random.Generator, shape: Shape) -> Floats:
    return rng.standard_t(3, shape) / math.sqrt(3)


def _lognormal(rng: np.random.Generator, shape: Shape) -> Floats:
    """Skewness 6.2."""
    return (np.exp(rng.standard_normal(shape)) - math.exp(0.5)) / math.sqrt(math.e * (math.e - 1))


DISTRIBUTIONS: Mapping[str, Callable[[np.random.Generator, Shape], Floats]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t3": _t3,
    "exponential": lambda rng, shape: rng.standard_exponential(shape) - 1,
    "lognormal": _lognormal,
}
"""Name -> draws with mean 0 and variance 1."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Amounts such as nats: a group's difference per count is drawn from a distribution, whatever the group's size.

    A group of 1-5 rows has half of its variance in common; its rows have 5 to 39 tokens each.
    """

    distribution: str
    n_groups: int
    sizes: Sizes = "equal"

    def draw(self, rng: np.random.Generator, shape: Shape, effect: float) -> Differences:
        """Draws x_g = w_g (e_g + difference)."""
        of_groups = DISTRIBUTIONS[self.distribution](rng, (*shape, self.n_groups))
        if self.sizes == "1-5 rows":
            tokens = _tokens_of_rows(rng, (*shape, self.n_groups))
            of_rows = DISTRIBUTIONS[self.distribution](rng, tokens.shape)
            counts = tokens.sum(axis=-1)
            totals = math.sqrt(0.5) * (counts * of_groups + (tokens * of_rows).sum(axis=-1))
            variances = 0.5 * (counts**2 + (tokens**2).sum(axis=-1))
        else:
            counts = _counts(rng, (*shape, self.n_groups), self.sizes)
            totals, variances = counts * of_groups, counts**2
        true_error = np.sqrt(variances.sum(axis=-1)) / counts.sum(axis=-1)
        truth = effect * true_error
        shifted = totals + truth[..., None] * counts
        return Differences(shifted, np.zeros_like(shifted), counts, truth, true_error)


def _counts(rng: np.random.Generator, shape: Shape, sizes: Sizes) -> Floats:
    counts = np.ones(shape)
    if sizes == "lognormal sizes":
        return np.exp(rng.standard_normal(shape))
    if isinstance(sizes, float):
        counts[..., 0] = sizes / (1 - sizes) * (shape[-1] - 1)
    return counts


def _tokens_of_rows(rng: np.random.Generator, shape: Shape) -> Floats:
    there = np.arange(MOST_ROWS) < rng.integers(1, MOST_ROWS + 1, (*shape, 1))
    return (rng.integers(*TOKENS_OF_A_ROW, there.shape) * there).astype(np.float64)


@dataclass(frozen=True, slots=True)
class PairedShares:
    """Outcomes of 0 or 1 on both sides; a share of the rows is right on one side alone, as often on either.

    In groups of 1-5 rows the rows of a group are alike in 7 of 10 cases.
    """

    discordant: float
    n_groups: int
    sizes: Sizes = "equal"

    def draw(self, rng: np.random.Generator, shape: Shape, effect: float) -> Differences:
        """Draws rows that the candidate wins, loses, or neither."""
        counts, drawn = _uniform_rows(rng, (*shape, self.n_groups), self.sizes)
        n_alike = _effective_rows(counts, self.sizes)
        true_error = np.sqrt(self.discordant * n_alike) / counts.sum(axis=(-1, -2))
        truth = np.clip(effect * true_error, -1.0, 1.0)
        discordant = np.maximum(self.discordant, np.abs(truth))  # a large difference takes more discordant rows
        won, differ = ((discordant + truth) / 2)[..., None, None], discordant[..., None, None]
        both = drawn > 0.5 + differ / 2
        candidate = (counts * ((drawn < won) | both)).sum(axis=-1)
        baseline = (counts * (((drawn >= won) & (drawn < differ)) | both)).sum(axis=-1)
        return Differences(candidate, baseline, counts.sum(axis=-1), truth, true_error, is_outcomes=True)


@dataclass(frozen=True, slots=True)
class SharesOfWins:
    """Outcomes of 0 or 1 against a share that is known by definition."""

    known: float
    n_groups: int
    sizes: Sizes = "equal"

    def draw(self, rng: np.random.Generator, shape: Shape, effect: float) -> Differences:
        """Draws rows that are won or lost."""
        counts, drawn = _uniform_rows(rng, (*shape, self.n_groups), self.sizes)
        n_alike = _effective_rows(counts, self.sizes)
        true_error = np.sqrt(self.known * (1 - self.known) * n_alike) / counts.sum(axis=(-1, -2))
        share = np.clip(self.known + effect * true_error, 0.0, 1.0)
        won = (counts * (drawn < share[..., None, None])).sum(axis=-1)
        counts = counts.sum(axis=-1)
        sides = won, self.known * counts
        return Differences(*sides, counts, share - self.known, true_error, by_definition=True, is_outcomes=True)


ALIKE = 0.7
"""Share of rows that take their group's outcome."""


def _uniform_rows(rng: np.random.Generator, shape: Shape, sizes: Sizes) -> tuple[Floats, Floats]:
    """Returns counts of 0 or 1 and uniform numbers, alike within groups for the most part, shape (*shape, rows)."""
    if sizes == "equal":
        return np.ones((*shape, 1)), rng.random((*shape, 1))
    counts = (np.arange(MOST_ROWS) < rng.integers(1, MOST_ROWS + 1, (*shape, 1))).astype(np.float64)
    own, common = rng.random(counts.shape), rng.random((*shape, 1))
    return counts, np.where(rng.random(counts.shape) < ALIKE, common, own)


def _effective_rows(counts: Floats, sizes: Sizes) -> Floats:
    """Returns the variance of a sum of wins and losses over that of one row: sum over groups of m + m (m - 1) .7^2."""
    rows = counts.sum(axis=-1)
    return (rows if sizes == "equal" else rows + rows * (rows - 1) * ALIKE**2).sum(axis=-1)


@dataclass(frozen=True, slots=True)
class Pool:
    """Real differences of a metric by group, resampled; centred at no effect.

    Amounts are centred by their own ratio, and mirrored where their long tail points down; outcomes are centred by
    swapping the two sides of a group at random.
    """

    name: str
    n_groups: int

    def draw(self, rng: np.random.Generator, shape: Shape, effect: float) -> Differences:
        """Draws groups with replacement."""
        pool = pools()[self.name]
        drawn = rng.integers(len(pool.totals), size=(*shape, self.n_groups))
        counts, mean_count = pool.counts[drawn], float(pool.counts.mean())
        centred = pool.totals if pool.is_outcomes else pool.centred
        true_error = np.full(shape, math.sqrt(float(np.square(centred).mean()) / self.n_groups) / mean_count)
        truth = effect * true_error
        if not pool.is_outcomes:
            totals = centred[drawn] + truth[..., None] * counts
            sides = totals, np.zeros_like(totals)
            return Differences(*sides, counts, truth, true_error, by_definition=pool.by_definition)
        most = float(np.abs(pool.totals).mean()) / mean_count
        truth = np.clip(truth, -most, most)
        is_rise = rng.random(drawn.shape) < 0.5 + truth[..., None] / most / 2
        totals = np.abs(pool.totals)[drawn] * np.where(is_rise, 1.0, -1.0)
        sides = (counts + totals) / 2, (counts - totals) / 2
        if pool.by_definition:
            sides = counts / 2 + totals, counts / 2
        return Differences(*sides, counts, truth, true_error, by_definition=pool.by_definition, is_outcomes=True)


@dataclass(frozen=True, slots=True, eq=False)
class PoolSums:
    """Real sums of a metric's differences by group, shape (n_groups,)."""

    totals: Floats
    counts: Floats
    is_outcomes: bool
    by_definition: bool

    @property
    def centred(self) -> Floats:
        """Totals around the difference of the metric over all groups, the long tail up."""
        around = self.totals - self.totals.sum() / self.counts.sum() * self.counts
        return around if (around**3).sum() > 0 else -around


@cache
def pools() -> Mapping[str, PoolSums]:
    """Returns the pools of pools.csv by the name of their metric."""
    rows: dict[str, list[dict[str, str]]] = {}
    with POOLS_FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["metric"], []).append(row)
    return {
        metric: PoolSums(
            totals=np.array([float(row["total"]) for row in own]),
            counts=np.array([float(row["count"]) for row in own]),
            is_outcomes=own[0]["kind"].startswith("outcomes"),
            by_definition=own[0]["kind"].endswith("by definition"),
        )
        for metric, own in rows.items()
    }


@dataclass(frozen=True, slots=True)
class Recipe:
    """Adapters of one recipe on the same rows: each seed adds a normal shift of its own, alike on all rows."""

    rows: Amounts
    n_seeds: int
    spread: float
    """Standard deviation over seeds, in true standard errors of the rows."""

    @property
    def n_groups(self) -> int:
        """Number of groups of an experiment."""
        return self.rows.n_groups

    def draw(self, rng: np.random.Generator, shape: Shape, effect: float) -> Differences:
        """Draws sums of shape (*shape, n_seeds, n_groups)."""
        drawn = self.rows.draw(rng, shape, 0.0)
        true_error = drawn.true_error * math.sqrt(1 + self.spread**2 / self.n_seeds)
        seeds = self.spread * drawn.true_error[..., None] * rng.standard_normal((*shape, self.n_seeds))
        truth = effect * true_error
        shifts = seeds + truth[..., None]
        counts = np.repeat(drawn.counts[..., None, :], self.n_seeds, axis=-2)
        totals = drawn.candidate_totals[..., None, :] + shifts[..., None] * counts
        return Differences(totals, np.zeros_like(totals), counts, truth, true_error)
