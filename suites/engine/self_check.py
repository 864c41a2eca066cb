"""Checks a faster path against the plain one on the requests that could break it, before it scores anything."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from suites.engine.causal_model import attention_kernel, attention_kernel_name, attention_window, jittered_embeddings
from suites.engine.plan import PathCheck, PathName, ScoringPlan
from suites.engine.units import UnitMaker
from suites.inputs import Request

_NOISE_SAMPLE = 64
"""Requests on which the plain path's own spread is measured below fp32: the largest difference of fewer is luck."""
_JITTER = 2.0**-21
"""Share of itself by which an fp32 sum changes in another order of summation: a few units in the last place."""
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def check_path(maker: UnitMaker, requests: Sequence[Request], plan: ScoringPlan, *, is_exact: bool) -> PathCheck:
    """Compares the plan's path with the plain one.

    Args:
        maker: Makes the units of a model.
        requests: Distinct requests that are about to be scored; the check draws its sample from them.
        plan: The plan that is checked.
        is_exact: Whether the model computes in fp32. Below it the tolerance is the plain path's own spread.
    """
    sample = _riskiest(requests, [unit.requests for unit in maker.units(requests, plan)], maker.model.config)
    if not is_exact:
        sample = list(dict.fromkeys([*sample, *_spread_out(requests, _NOISE_SAMPLE)]))
    try:
        fast = [maker.log_probabilities(sample, plan)]
        if maker.carries and plan.path == "tree":
            # Again in several packs, so that each starts from what it carries over from the one before.
            longest = max(request.n_inputs for request in sample)
            fast.append(maker.log_probabilities(sample, replace(plan, max_pack_tokens=longest)))
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        problem = (str(error).strip().splitlines() or [""])[0]
        return PathCheck(plan.path, len(sample), None, 0.0, f"{type(error).__name__}: {problem}")
    plain = maker.log_probabilities(sample, replace(plan, path="plain"))
    if not is_exact:
        tolerance_nats = max(1e-4, 2 * _spread_of_plain_path(maker, plan, plain))
        return PathCheck(plan.path, len(sample), _largest_difference(fast[0], plain), tolerance_nats)
    tolerance = {request: max(1e-4, 1e-6 * abs(plain[request])) for request in sample}
    difference = {request: float(np.max([abs(sums[request] - plain[request]) for sums in fast])) for request in sample}
    worst = sample[int(np.argmax([difference[request] / tolerance[request] for request in sample]))]
    return PathCheck(plan.path, len(sample), difference[worst], tolerance[worst])


def is_slower(maker: UnitMaker, requests: Sequence[Request], plan: ScoringPlan, other: PathName) -> bool:
    """Whether the plan's path takes longer than another one for its fullest unit, both warmed up."""

    def seconds(candidate: ScoringPlan) -> float:
        fullest = max(maker.units(requests, candidate), key=lambda unit: len(unit.requests))
        fullest.collect(fullest.launch())
        started = perf_counter()
        fullest.collect(fullest.launch())
        return perf_counter() - started

    return seconds(plan) > seconds(replace(plan, path=other))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: torch has an error class for GPUs, a CPU's allocator has words."""
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _spread_of_plain_path(maker: UnitMaker, plan: ScoringPlan, plain: Mapping[Request, float]) -> float:
    """Largest difference of the plain path from itself below fp32, in nats a response.

    Taken over batch sizes, attention kernels and inputs that differ in their last bits. Batch sizes alone may show
    none, because a CPU's kernels treat every row alike. Where 4-bit layers round what was summed in fp32, another order
    of summation flips a rounding in one response of ten; the jitter does so in most of them, and so shows how much one
    flipped rounding can move.

    Args:
        maker: Makes the units of a model.
        plan: Gives the budgets.
        plain: Log-probabilities by the plain path.
    """
    plain_plan = replace(plan, path="plain")
    others = [{request: maker.log_probabilities([request], plain_plan)[request] for request in plain}]
    with suppress(ValueError, AttributeError):  # a family may have one kernel only, or no attention at all
        other_kernel = "eager" if attention_kernel_name(maker.model) != "eager" else "sdpa"
        with attention_kernel(maker.model, other_kernel):
            others.append(maker.log_probabilities([*plain], plain_plan))
    with jittered_embeddings(maker.model, _JITTER):
        others.append(maker.log_probabilities([*plain], plain_plan))
    return max(_largest_difference(other, plain) for other in others)


def _riskiest(requests: Sequence[Request], units: Sequence[Sequence[Request]], config: Any) -> list[Request]:
    """The longest request, neighbours in the fullest unit, and a request longer than the attention window."""
    fullest = max(units, key=len)
    middle = len(fullest) // 2
    window = attention_window(config)
    beyond = [request for request in requests if window is not None and request.n_inputs > window]
    longest = max(requests, key=_length_order)
    return list(
        dict.fromkeys([longest, *fullest[max(0, middle - 1) : middle + 1], *sorted(beyond, key=_length_order)[:1]])
    )


def _spread_out(requests: Sequence[Request], n: int) -> list[Request]:
    """At most n of the requests, from the shortest to the longest."""
    ordered = sorted(requests, key=_length_order)
    return ordered[:: max(1, -(-len(ordered) // n))]


def _length_order(request: Request) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Sort key by length that leaves no ties between different requests."""
    return request.n_inputs, request.prompt_ids, request.response_ids


def _largest_difference(first: Mapping[Request, float], second: Mapping[Request, float]) -> float:
    """Largest difference of two sets of log-probabilities, in nats a response; NaN where one of them is NaN."""
    return float(np.max([abs(first[request] - second[request]) for request in first]))
