"""How often the inference is wrong in simulated experiments, a small, seeded part of `nox -s simulate`."""

import numpy as np
import pytest
from paired_amounts import amounts


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _families(draw, n_experiments: int, n_groups: int, **changes) -> tuple[float, float]:
    """Shares of families of eight with a false claim, and with a false stop in the direction that errs more."""
    paired = amounts(draw((n_experiments, 8, n_groups)), **changes)
    tail = paired.tail(0.0)
    claims = (paired.p_value() <= 0.05 / 8).any(axis=1).mean()
    return float(claims), float(max((p <= 0.05 / 8).any(axis=1).mean() for p in tail))


@pytest.mark.parametrize("n_groups", [30, 60])
@pytest.mark.parametrize("distribution", ["normal", "t3", "exponential", "lognormal"])
def test_false_claims_and_stops_of_skewed_differences(distribution, n_groups):
    """In 1,000 families of eight without any effect, wrong in 6 % at most (and 2 standard errors of the simulation).

    Student's t alone is wrong in 12 to 37 % of the skewed ones.
    """
    if (distribution, n_groups) == ("lognormal", 30):
        pytest.skip("the bar holds from 60 groups")
    rng = _rng(8)
    draw = {
        "normal": rng.standard_normal,
        "t3": lambda shape: rng.standard_t(3, shape),
        "exponential": lambda shape: rng.standard_exponential(shape) - 1,
        "lognormal": lambda shape: np.exp(rng.standard_normal(shape)) - np.exp(0.5),
    }[distribution]
    claims, stops = _families(draw, 1_000, n_groups)

    assert claims <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 1_000)
    assert stops <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 1_000)


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 3.0])
def test_false_claims_of_a_recipe(spread):
    """Three adapters on the same 60 groups, seeds that lie 0 to 3 row errors apart: a family claims in 6 % at most.

    The interval over seeds alone claimed in 71 to 100 % of such families.
    """
    rng = _rng(9)
    rows = rng.standard_normal((400, 8, 1, 60))
    seeds = spread / np.sqrt(60) * rng.standard_normal((400, 8, 3, 1))
    low, high = amounts(rows + seeds, over_seeds=True).interval(1 - 0.05 / 8)
    claims = ((low > 0) | (high < 0)).any(axis=1).mean()

    assert claims <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 400)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_one_group_with_much_of_the_weight_makes_no_claims(share):
    """Intervals exclude no change in 5 % at most with a fifth of the weight in one group; with half there is none."""
    counts = np.ones(30)
    counts[0] = share / (1 - share) * 29
    paired = amounts(counts * _rng(10).standard_normal((2_000, 30)), np.broadcast_to(counts, (2_000, 30)))
    low, high = paired.interval()

    assert bool(paired.cannot_tell.all()) == (share >= 0.5)
    assert ((low > 0) | (high < 0)).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2_000)


@pytest.mark.parametrize("n_groups", [15, 30, 60])
@pytest.mark.parametrize("distribution", ["t3", "lognormal"])
def test_heavy_tails_are_covered(distribution, n_groups):
    """95 % intervals hold the truth in 94 % at least, where bootstrap-t intervals did in 92."""
    rng = _rng(11)
    shape = (4_000, n_groups)
    rows = rng.standard_t(3, shape) if distribution == "t3" else np.exp(rng.standard_normal(shape)) - np.exp(0.5)
    low, high = amounts(rows).interval()

    assert ((low <= 0) & (high >= 0)).mean() >= 0.94 - 2 * np.sqrt(0.05 * 0.95 / 4_000)


def test_ten_unequal_groups_give_the_same_answer_every_time():
    """Nothing is drawn: two calls agree to the last bit, where one more draw once moved an end to 0."""
    counts = np.arange(1.0, 21.0)
    make = [amounts(counts * _rng(12).normal(size=20), counts).interval() for _ in range(2)]

    assert make[0] == make[1]
