"""One inference on a paired difference, from which p-value, interval, gate and equivalence all follow.

It is one function, `PairedDifference.tail(limit)`: how probable data as low, and as high, as these are if the true
difference is at the limit. Nothing is drawn at random. All arrays may have leading batch axes, so that a simulation
calls the very code of a report. docs/statistics.md argues for each choice and prints how often it is wrong.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.comparing import tails
from reports.comparing.statistics import CONFIDENCE, POWER, Floats

FEWEST_GROUPS = 10
"""Effective groups below which nothing is claimed; a group with most of the weight leaves fewer than four."""
SKEWNESS_NOT_SEEN = 5 / 3
"""How many times the skewness of a sample is taken where it speaks against a claim.

The samples that mislead are those in which the rare large values are missing, and these also look less skewed than
their population. Less than 1.6 is not enough for lognormal amounts in 60 groups; more than 1.75 costs heavy-tailed ones
more power than it has to (simulated).
"""
SHARE_OF_WEIGHTS = 0.8
"""Part taken of the skewness that unequal weights give a sum; more costs power where one group has a fifth of all."""
WHOLE_GROUPS = 1.0
"""Groups lost as a whole that are added to a design effect, which few lost rows cannot tell."""

Method = Literal["t and skewness", "mid-p and score", "mid-p and Wilson", "seeds and groups"]


class Tail(NamedTuple):
    """How probable such data are if the true difference is at a limit."""

    below: Floats
    """Chance of data as low as these: where it is small, the difference lies below the limit."""
    above: Floats
    """Chance of data as high as these: where it is small, the difference lies above the limit."""


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """The difference of two ratios sum(total)/sum(count) over the same groups, and what can be said of it.

    The sums by group have the shape (*batch, n_groups); over the seeds of a recipe (*batch, n_seeds, n_groups). A
    baseline that is known by definition has the candidate's counts, and its value times these counts as totals.
    Everything that is returned has the shape of the batch.
    """

    candidate_totals: Floats
    candidate_counts: Floats
    baseline_totals: Floats
    baseline_counts: Floats
    by_definition: bool = False
    """Whether the baseline is known by definition instead of measured."""
    is_outcomes: bool = False
    """Whether every example is one outcome of 0, 0.5 or 1."""
    over_seeds: bool = False
    """Whether there is an axis of seeds: adapters of one recipe, all measured on the same rows."""
    lowest: float = -np.inf
    """Smallest difference that the metric can have; no interval ends below it."""
    highest: float = np.inf
    """Largest difference that the metric can have."""

    @property
    def method(self) -> Method:
        """What tail values are computed by."""
        if self.over_seeds:
            return "seeds and groups"
        if not self.is_outcomes:
            return "t and skewness"
        return "mid-p and Wilson" if self.by_definition else "mid-p and score"

    @cached_property
    def difference(self) -> Floats:
        """Candidate minus baseline; for a recipe the mean over its seeds."""
        differences = self._ratio("candidate") - self._ratio("baseline")
        return differences.mean(axis=-1) if self.over_seeds else differences

    @cached_property
    def effective_groups(self) -> Floats:
        """Number of equal groups that would weigh as these do: 1 / sum of squared shares of the counts (Kish 1965)."""
        shares = (_shares(self.candidate_counts) + _shares(self.baseline_counts)) / 2
        shares = shares.mean(axis=-2) if self.over_seeds else shares
        return np.asarray(1 / np.square(shares).sum(axis=-1))

    @cached_property
    def standard_error(self) -> Floats:
        """Standard error: leaving out one group at a time; for a recipe with the spread of the seeds added to it."""
        return np.sqrt(self._variance_of_groups + self._variance_of_seeds)

    @cached_property
    def is_identical(self) -> NDArray[np.bool_]:
        """Whether both sides, both measured, have the same amounts in every group, which is no change at all."""
        same = (self.candidate_totals == self.baseline_totals) & (self.candidate_counts == self.baseline_counts)
        axes = (-1, -2) if self.over_seeds else -1
        is_amounts = not (self.is_outcomes or self.by_definition)
        return np.asarray(same.all(axis=axes)) & is_amounts

    @cached_property
    def has_spread(self) -> NDArray[np.bool_]:
        """Whether the groups differ by more than the rounding of numbers as large as these."""
        sizes = np.abs(self._ratio("candidate")) + np.abs(self._ratio("baseline"))
        sizes = sizes.mean(axis=-1) if self.over_seeds else sizes
        return np.asarray(np.sqrt(self._variance_of_groups) > 1e-12 * np.maximum(sizes, 1e-300))

    @cached_property
    def cannot_tell(self) -> NDArray[np.bool_]:
        """Whether nothing can be said: too few effective groups, or amounts without a spread to judge them by."""
        no_spread = ~self.has_spread & (not self.is_outcomes or self.over_seeds)
        return np.asarray(~self.has_enough_groups | no_spread)

    @property
    def has_enough_groups(self) -> NDArray[np.bool_]:
        """Whether the groups count as enough equal ones; ten equal groups are ten, whatever the rounding."""
        return np.asarray(self.effective_groups >= FEWEST_GROUPS * (1 - 1e-9))

    @property
    def reason(self) -> str | None:
        """Why nothing can be said of a single difference, and what would help; None if something can."""
        if not self.cannot_tell:
            return None
        if self.is_identical:
            return "identical scores"
        n_groups = self.candidate_totals.shape[-1]
        if n_groups < FEWEST_GROUPS:
            return f"{n_groups} group{'s' if n_groups != 1 else ''}; an interval needs {FEWEST_GROUPS}"
        if not self.has_enough_groups:
            largest = float(_shares(self.candidate_counts + self.baseline_counts).max())
            return (
                f"{n_groups} groups of so unequal weight (the largest has {largest:.0%}) that they count as "
                f"{self.effective_groups:.1f}; an interval needs {FEWEST_GROUPS}: more groups help, or shorter ones"
            )
        return "the difference is the same in every group, so its spread cannot be estimated"

    @property
    def long_tail(self) -> Literal["above", "below"] | None:
        """On which side a single difference has a long tail that its groups do not carry, or None.

        Where n < 25 g^2, for n groups of skewness g, an average is not yet nearly normal (Cochran, Sampling Techniques,
        3rd ed. 1977, section 2.15).
        """
        skewness = self._skewness[0]  # g/sqrt(n)
        if self.method not in ("t and skewness", "seeds and groups") or 25 * skewness**2 <= 1:
            return None
        return "above" if skewness > 0 else "below"

    def tail(self, limit: Floats | float) -> Tail:
        """Return the chance of data as low, and as high, as these if the true difference is at the limit.

        Both are 1 where nothing can be said, and 0 where the difference would have to lie beyond what is possible.
        """
        limit = np.asarray(limit, dtype=np.float64)
        below, above = (
            np.where(self.cannot_tell, 1.0, self._p(sign, sign * limit))  # a fall is a rise of the mirrored data
            for sign in (-1, 1)
        )
        is_above, is_below = (limit > self.highest) | (limit == np.inf), (limit < self.lowest) | (limit == -np.inf)
        return Tail(
            below=np.where(is_above & ~self.cannot_tell, 0.0, below),
            above=np.where(is_below & ~self.cannot_tell, 0.0, above),
        )

    def p_value(self, limit: Floats | float = 0.0) -> Floats:
        """Return the two-sided p-value of a true difference at the limit: twice the smaller tail."""
        tail = self.tail(limit)
        return np.asarray(np.minimum(2 * np.minimum(tail.below, tail.above), 1.0))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
        """Return both ends of the limits whose p-value is above 1 - confidence; NaN where nothing can be said.

        Each end is a one-sided bound at half the error: those of the 90 % interval are one-sided 95 % bounds.
        """
        if confidence == CONFIDENCE:
            return self._reported_interval
        return self._interval(confidence)

    @cached_property
    def _reported_interval(self) -> tuple[Floats, Floats]:
        """The interval that is shown, which the smallest detectable difference takes as well: once, as it is slow."""
        return self._interval(CONFIDENCE)

    def _interval(self, confidence: float) -> tuple[Floats, Floats]:
        level = (1 - confidence) / 2
        low = np.maximum(self._limit(1, level), self.lowest)
        high = np.minimum(-self._limit(-1, level), self.highest)
        return np.where(self.cannot_tell, np.nan, low), np.where(self.cannot_tell, np.nan, high)

    def equivalence_p(self, margin: Floats | float) -> Floats:
        """Return the p-value of two one-sided tests that the true difference lies beyond the margin on either side.

        Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987. It is within 5 % exactly if the 90 %
        interval lies within the margin.
        """
        return np.maximum(self.tail(margin).below, self.tail(-np.asarray(margin)).above)

    @cached_property
    def smallest_detectable(self) -> Floats:
        """True difference that a test at 5 % finds with a probability of 80 %, in the direction where it is harder.

        It is the interval's longer arm plus t(0.8) standard errors: (t(0.975) + t(0.8)) x SE without skewness (Bloom,
        Evaluation Review 19, 1995).
        """
        from scipy.special import stdtrit

        low, high = self.interval()
        arm = np.maximum(self.difference - low, high - self.difference)
        return np.asarray(arm + stdtrit(self._freedom, POWER) * self.standard_error)

    def against(self, value: float) -> "PairedDifference":
        """Return the candidate compared with a value by definition."""
        is_share = np.isfinite(self.highest)
        return PairedDifference(
            *(self.candidate_totals, self.candidate_counts),
            *(value * self.candidate_counts, self.candidate_counts),
            by_definition=True,
            is_outcomes=self.is_outcomes,
            lowest=-value if is_share else -np.inf,
            highest=1 - value if is_share else np.inf,
        )

    def _ratio(self, side: Literal["candidate", "baseline"]) -> Floats:
        """Return sum(total)/sum(count) of a side, of each seed if there are several."""
        totals, counts = self._sums(side)
        return np.asarray(totals.sum(axis=-1) / counts.sum(axis=-1))

    def _sums(self, side: Literal["candidate", "baseline"]) -> tuple[Floats, Floats]:
        if side == "candidate":
            return self.candidate_totals, self.candidate_counts
        return self.baseline_totals, self.baseline_counts

    @property
    def _influences(self) -> Floats:
        """How far the difference falls where a group is left out, shape (*batch, n_groups)."""
        without = []
        for side in ("candidate", "baseline"):
            totals, counts = self._sums(side)
            rest = counts.sum(axis=-1, keepdims=True) - counts
            left = totals.sum(axis=-1, keepdims=True) - totals
            without.append(np.divide(left, rest, out=np.full_like(rest, np.nan), where=rest != 0))
        differences = without[0] - without[1]
        differences = differences.mean(axis=-2) if self.over_seeds else differences
        return np.asarray(self.difference[..., None] - differences)

    @cached_property
    def _variance_of_groups(self) -> Floats:
        """(G-1)/G x sum of squared influences: CV3 of MacKinnon, Nielsen and Webb (J. Econometrics 232, 2023)."""
        influences = self._influences
        n_groups = influences.shape[-1]
        return np.asarray((n_groups - 1) / n_groups * np.square(influences).sum(axis=-1))

    @cached_property
    def _variance_of_seeds(self) -> Floats:
        """Variance of the mean over seeds; 0 of a single adapter, of which nothing is said beyond itself."""
        if not self.over_seeds:
            return np.zeros_like(self.difference)
        differences = self._ratio("candidate") - self._ratio("baseline")
        return np.asarray(differences.var(axis=-1, ddof=1) / differences.shape[-1])

    @cached_property
    def _skewness(self) -> tuple[Floats, Floats, Floats]:
        """Skewness of the estimate in three ways, all of them g/sqrt(n) for n equal groups of skewness g.

        - g/sqrt(n) for n effective groups, g being the skewness of the influences per count, u/w, weighted with w;
        - g sum w^3 / (sum w^2)^1.5, the skewness that a sum of alike distributions with these weights has;
        - sum u^3 / (sum u^2)^1.5, that of the influences as they are.
        """
        influences, shares = (
            np.asarray(each.mean(axis=-2) if self.over_seeds else each) for each in self._linear_influences
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            influences = influences / np.abs(influences).max(axis=-1, keepdims=True)
            as_they_are = (influences**3).sum(axis=-1) / np.square(influences).sum(axis=-1) ** 1.5
            squares, cubes = influences**2 / shares, influences**3 / shares**2
            squares, cubes = (np.where(shares > 0, each, 0.0).sum(axis=-1) for each in (squares, cubes))
            per_count = cubes / squares**1.5
            by_weights = per_count * (shares**3).sum(axis=-1) / np.square(shares).sum(axis=-1) ** 1.5
            found = per_count / np.sqrt(self.effective_groups), by_weights, as_they_are
        plain, weighted, own = (np.where(self.has_spread, each, 0.0) for each in found)
        return plain, weighted, own

    @property
    def _linear_influences(self) -> tuple[Floats, Floats]:
        """Linearised influences of the groups on the difference, which sum to 0, and their shares of the counts."""
        residuals, shares = [], []
        for side in ("candidate", "baseline"):
            totals, counts = self._sums(side)
            residuals.append((totals - self._ratio(side)[..., None] * counts) / _total(counts))
            shares.append(_shares(counts))
        return residuals[0] - residuals[1], (shares[0] + shares[1]) / 2

    def _skewness_against(self, sign: int) -> Floats:
        """Return the skewness that makes a rise (or a fall) look better than it is: the largest, or 0.

        That of the influences as they are counts as far as no single group decides it.
        """
        plain, weighted, own = (sign * each for each in self._skewness)
        readings = SKEWNESS_NOT_SEEN * plain, SHARE_OF_WEIGHTS * weighted, SKEWNESS_NOT_SEEN * self._evenness * own
        return np.asarray(np.minimum(np.minimum.reduce(readings), 0.0))

    @cached_property
    def _evenness(self) -> Floats:
        """1 less the largest group's share of the squared shares of the counts: 0 where it decides alone."""
        shares = self._linear_influences[1]
        squares = np.square(shares.mean(axis=-2) if self.over_seeds else shares)
        return np.asarray(1 - squares.max(axis=-1) / squares.sum(axis=-1))

    @cached_property
    def _freedom(self) -> Floats:
        """Effective groups - 1 (Carter, Schnepel and Steigerwald, Review of Economics and Statistics 99, 2017)."""
        return np.maximum(self.effective_groups - 1, 1.0)

    def _p(self, sign: int, limit: Floats) -> Floats:
        """Return the largest p of the parts that apply, for a rise (1) or a fall (-1) beyond sign x limit."""
        p_values = [np.where(applies, part.p(limit), 0.0) for part, applies in self._parts(sign)]
        return np.asarray(np.maximum.reduce(p_values))

    def _limit(self, sign: int, level: float) -> Floats:
        """Return the limit at which `_p` reaches the level: the lowest one of the parts that apply."""
        limits = [np.where(applies, part.limit(level), np.inf) for part, applies in self._parts(sign)]
        return np.asarray(np.minimum.reduce(limits))

    def _parts(self, sign: int) -> list[tuple[tails.Part, NDArray[np.bool_]]]:
        """Return the parts that judge a rise, or a fall as a rise of the mirrored data, and where each applies.

        Those that apply nowhere are left out: their limits would take long to find.
        """
        return [(part, applies) for part, applies in self._all_parts(sign) if applies.any()]

    def _all_parts(self, sign: int) -> list[tuple[tails.Part, NDArray[np.bool_]]]:
        everywhere = np.ones_like(self.cannot_tell)
        if self.by_definition and self.is_outcomes and not self.over_seeds:
            return [(self._share(sign), everywhere)]
        won, lost, squares, n = self._won_and_lost(sign)
        signs = tails.signs(won, lost, squares, n)
        difference, skewness = sign * self.difference, self._skewness_against(sign)
        if self.over_seeds:
            variance = np.asarray(self.standard_error**2)
            of_seeds = np.divide(self._variance_of_seeds, variance, out=np.zeros_like(variance), where=self.has_spread)
            n_seeds = self.candidate_totals.shape[-2]
            estimate = difference, self.standard_error
            both = tails.seeds_and_groups(estimate, of_seeds, n_seeds, skewness, self._freedom)
            return [(both, everywhere), (signs, self._is_sparse)]
        amounts = tails.amounts(difference, self.standard_error, skewness, self._freedom)
        if not self.is_outcomes:
            return [(amounts, everywhere), (signs, self._is_sparse)]
        with np.errstate(divide="ignore", invalid="ignore"):
            n_effective = np.where(squares > 0, (won + lost) * n / squares, self.effective_groups)
        score = tails.score(n_effective * won / n, n_effective * lost / n, n_effective)
        is_clustered = (self.candidate_counts != 1).any(axis=-1) & self.has_spread
        return [(score, everywhere), (signs, squares > 0), (amounts, is_clustered)]

    def _share(self, sign: int) -> tails.Part:
        """Return the part of a share against a known one; of a fall, that of the outcomes that are not won.

        The effective number of outcomes is n over the design effect, which is the variance by group over that of
        independent rows. With `WHOLE_GROUPS` whole groups lost on top, it is the mean size of a group where every
        group is won, instead of unknown, and near that where few are lost.
        """
        share, known = self._ratio("candidate"), self._ratio("baseline")
        counts = self.candidate_counts
        n = counts.sum(axis=-1)
        squares = np.square(self.candidate_totals - share[..., None] * counts).sum(axis=-1)
        size = n / self.effective_groups
        design_effect = (squares + WHOLE_GROUPS * size**2) / (n * share * (1 - share) + WHOLE_GROUPS * size)
        n_effective = n / np.maximum(design_effect, 1.0)
        value, against = (share, known) if sign > 0 else (1 - share, 1 - known)
        return tails.share(value, against, n_effective, self._freedom)

    def _won_and_lost(self, sign: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Return the sums of the groups' differences above and below 0, of their squares, and of the counts."""
        apart, counts = sign * (self.candidate_totals - self.baseline_totals), self.candidate_counts
        if self.over_seeds:
            apart, counts = apart.mean(axis=-2), counts.mean(axis=-2)
        won, lost = np.maximum(apart, 0.0).sum(axis=-1), np.maximum(-apart, 0.0).sum(axis=-1)
        return won, lost, np.square(apart).sum(axis=-1), counts.sum(axis=-1)

    @cached_property
    def _is_sparse(self) -> NDArray[np.bool_]:
        """Whether more than half of the groups do not differ at all, so that few of them decide."""
        alike = self.candidate_totals == self.baseline_totals
        alike = alike.all(axis=-2) if self.over_seeds else alike
        return np.asarray(2 * alike.sum(axis=-1) > alike.shape[-1])


def _shares(counts: Floats) -> Floats:
    return np.asarray(counts / _total(counts))


def _total(counts: Floats) -> Floats:
    return np.asarray(counts.sum(axis=-1, keepdims=True))
