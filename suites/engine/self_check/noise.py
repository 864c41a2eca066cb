"""How far the plain path is from itself below fp32, where every order of a sum rounds otherwise."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from suites.engine.causal_model import attention_kernel, attention_kernel_name, jittered_embeddings
from suites.engine.plan import ScoringPlan
from suites.engine.self_check.risks import length_order
from suites.engine.units import UnitMaker
from suites.inputs import Request, ResponseScore

NOISE_SAMPLE = 64
"""Requests on which the spread is measured: the largest difference of fewer is luck. That it takes more forwards than a
check in fp32 is the price of a tolerance that is measured; batches keep it low."""
_JITTER = 2.0**-21
"""Share of itself by which an fp32 sum changes in another order of summation: a few units in the last place."""

Scores = Mapping[Request, ResponseScore]


@dataclass(frozen=True, slots=True)
class Noise:
    """Largest difference of the plain path from itself."""

    nats: float
    """Of a response."""
    n_greedy: int
    """Number of responses that only one of two runs calls greedy."""


def noise_sample(requests: Sequence[Request]) -> list[Request]:
    """Returns at most `NOISE_SAMPLE` of the requests, from the shortest to the longest."""
    ordered = sorted(requests, key=length_order)
    return ordered[:: max(1, -(-len(ordered) // NOISE_SAMPLE))]


def plain_noise(maker: UnitMaker, plan: ScoringPlan, alone: Scores) -> Noise:
    """Returns the spread of the plain path over batch sizes, attention kernels and last bits of its inputs.

    Batch sizes alone may show none, because a CPU's kernels treat every row alike. Where 4-bit layers round what was
    summed in fp32, another order of summation flips a rounding in one response of ten; the jitter does so in most of
    them, and so shows how much one flipped rounding can move. Kernels and jitter are compared in equal batches. What
    batches differ from forwards of one request counts at most twice as much, so that a family whose rows influence each
    other does not pass for noisy.

    Args:
        maker: Makes the units of a model.
        plan: Gives the budgets.
        alone: Scores of the requests, each in a forward of its own.
    """
    plain_plan, requests = replace(plan, path="plain"), [*alone]
    spreads = []
    batched = maker.scores(requests, plain_plan)
    with suppress(ValueError, AttributeError):  # a family may have one kernel only, or no attention at all
        other_kernel = "eager" if attention_kernel_name(maker.model) != "eager" else "sdpa"
        with attention_kernel(maker.model, other_kernel):
            spreads.append(difference(maker.scores(requests, plain_plan), batched))
    with jittered_embeddings(maker.model, _JITTER):
        spreads.append(difference(maker.scores(requests, plain_plan), batched))
    nats, n_greedy = max(one.nats for one in spreads), max(one.n_greedy for one in spreads)
    by_size = difference(batched, alone)
    return Noise(min(max(nats, by_size.nats), 2 * nats), min(max(n_greedy, by_size.n_greedy), 2 * n_greedy))


def difference(first: Scores, second: Scores) -> Noise:
    """Returns the largest difference of two sets of scores, NaN where one of them is NaN, and the flags that differ."""
    nats = [abs(score.log_probability - second[request].log_probability) for request, score in first.items()]
    flags = [score.is_greedy != second[request].is_greedy for request, score in first.items()]
    return Noise(float(np.max(nats)), sum(flags))
