"""Rows and runs whose outcomes are chosen, for the tests of the headline."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from reports.comparing.compare import Comparison
from reports.records import Metric

REWARD = Metric("preferences", "reward_accuracy", "wins", True, "percent", primary=True, chance=0.5)
PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
ENDS = {
    "better": (0.01, 0.2),
    "worse": (-0.2, -0.01),
    "no change seen": (-0.1, 0.1),
    "cannot tell": None,
    "not measured": None,
    "not finite": None,
    "changed": (0.01, 0.2),
}
"""What a row shows -> interval of its difference, for a metric of which more is better."""


def row_of(metric: Metric, shows: str, against: str = "baseline", other: str = "base", **changes) -> Comparison:
    """A row that shows what is asked for."""
    if shows == "changed":
        metric = replace(metric, higher_is_better=None)
    ends = ENDS[shows]
    if ends is not None and metric.higher_is_better is False:
        ends = (-ends[1], -ends[0])
    is_missing = shows in ("not measured", "not finite")
    difference = None if is_missing else 0.1 if ends is None else sum(ends) / 2
    values = {
        "metric": metric,
        "candidate": "dpo",
        "against": against,
        "baseline": other,
        "baseline_value": 0.5,
        "candidate_value": None if difference is None else 0.5 + difference,
        "difference": difference,
        "n": 100,
        "n_groups": 100,
        "interval": ends,
        "p_adjusted": None if ends is None else (0.5 if shows == "no change seen" else 0.001),
        "is_finite": shows != "not finite",
    }
    return Comparison(**(values | changes))


def moved(rng: np.random.Generator, by: float, n: int = 60) -> np.ndarray:
    """Differences around `by`, small beside it, that are clear of zero unless it is 0."""
    noise = rng.normal(0, 0.02, n)
    return by + noise - noise.mean()


@pytest.fixture(scope="session")
def rows() -> SimpleNamespace:
    """What this file defines, by name."""
    return SimpleNamespace(**globals())
