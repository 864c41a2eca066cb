"""How a plan divides requests into units of work for a model, and what each unit gives back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from suites.engine.causal_model import n_vocabulary, rotary_boundary
from suites.engine.packing import Pack
from suites.engine.plain_path import launch_batch, plan_batches
from suites.engine.plan import PathName, ScoringPlan
from suites.engine.prefix_path import batch_by_prompt, launch_prompt_batch
from suites.engine.response_logits import TokenScores
from suites.engine.tree_path import launch_pack_with_flex, launches_in_turn
from suites.inputs import Request, ResponseScore

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch has no class of its own for it on a CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)


class UnitTooLargeError(Exception):
    """A unit did not fit into memory; the device's own error is the cause."""

    def __init__(self, unit: "Unit") -> None:
        super().__init__(f"{unit.n_tokens} tokens by path {unit.path} do not fit into memory")
        self.unit = unit


@dataclass(frozen=True, slots=True)
class Unit:
    """Requests that are computed, cached and resumed together."""

    requests: tuple[Request, ...]
    path: PathName
    """How they are computed: requests too long for a pack take another path than the plan's."""
    n_tokens: int
    """Number of tokens of the largest forward, padding and cached prompt included."""
    launch: Callable[[], TokenScores]
    """Starts the computation, without waiting for the device."""
    after: "Unit | None" = None
    """The unit whose keys and values it takes over, if that was launched last; None where it needs no other."""

    @property
    def row(self) -> tuple["Unit", ...]:
        """This unit behind all those that must be launched before it, so that its scores are the same to the bit."""
        return (self,) if self.after is None else (*self.after.row, self)

    def start(self) -> TokenScores:
        """Starts the computation, without waiting for the device.

        Raises:
            UnitTooLargeError: Memory ran out.
        """
        try:
            return self.launch()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UnitTooLargeError(self) from error

    def collect(self, token_scores: TokenScores) -> dict[Request, ResponseScore]:
        """Waits for what `start` started and returns the score of each request."""
        log_probabilities, is_greedy = (values.cpu().numpy() for values in token_scores)
        stops = np.cumsum([len(request.response_ids) for request in self.requests])
        return {
            request: ResponseScore(
                log_probabilities[stop - len(request.response_ids) : stop].copy(),
                bool(is_greedy[stop - len(request.response_ids) : stop].all()),
            )
            for request, stop in zip(self.requests, stops, strict=True)
        }


def in_turn(units: Iterable[Unit]) -> Iterator[tuple[Unit, bool]]:
    """Yields units in the order in which they are to be launched, and whether each was asked for.

    Those that were not are launched before a unit which takes over their keys and values. Computed here instead, these
    would differ in their last bits, and a score would depend on what was scored before.

    Args:
        units: In the order in which their maker made them.
    """
    last: Unit | None = None
    for unit in units:
        row = unit.row
        n_launched = next((index for index, each in enumerate(row, start=1) if each is last), 0)
        for each in row[n_launched:]:
            yield each, each is unit
        last = unit


@dataclass(frozen=True, slots=True)
class UnitMaker:
    """Divides requests into units for one model."""

    model: Any
    """A causal language model of transformers, without PEFT's wrapper."""
    pad_token_id: int
    carries: bool
    """Whether keys and values that a pack shares with the one before are carried over instead of computed again."""
    packs_of: Callable[[list[Request], int, bool], list[Pack]]
    """`ScoringState.packs_of` of the run."""

    def units(self, requests: Sequence[Request], plan: ScoringPlan) -> list[Unit]:
        """Units of all requests, which must be distinct, in the order in which they are to be launched.

        Where a rotary embedding changes at a length, no unit holds requests on both sides of it.
        """
        boundary = rotary_boundary(self.model.config)
        if boundary is None:
            return self._units_of_one_side(requests, plan, boundary)
        below = [request for request in requests if request.n_inputs <= boundary]
        above = [request for request in requests if request.n_inputs > boundary]
        return [
            *self._units_of_one_side(below, plan, boundary),
            *self._units_of_one_side(above, plan, boundary),
        ]

    def alone(self, request: Request, plan: ScoringPlan) -> ResponseScore:
        """Score of one request in a forward of its own, computed now: what every path has to agree with."""
        (unit,) = self._single_units([request], plan)
        return unit.collect(unit.start())[request]

    def scores(self, requests: Sequence[Request], plan: ScoringPlan) -> dict[Request, ResponseScore]:
        """Score of each request, computed now; no cache is read or written."""
        return {
            request: score
            for unit in self.units(requests, plan)
            for request, score in unit.collect(unit.start()).items()
        }

    def _units_of_one_side(self, requests: Sequence[Request], plan: ScoringPlan, boundary: int | None) -> list[Unit]:
        """Units of requests that may share a forward."""
        if plan.path == "single":
            return self._single_units(requests, plan)
        if plan.path == "plain":
            return self._plain_units(requests, plan)
        budget = 0 if plan.path == "prefix" else plan.max_pack_tokens
        fitting = [request for request in requests if request.n_inputs <= budget]
        longer = [request for request in requests if request.n_inputs > budget]
        # A prompt below the boundary would be cached with other frequencies than its response needs above.
        crossing = {each for each in longer if boundary and len(each.prompt_ids) <= boundary < each.n_inputs}
        # The tree would compute the prompt of a longer request again for each response, the prefix path does so once.
        return [
            *self._pack_units(fitting, plan),
            *self._prefix_units([request for request in longer if request not in crossing], plan),
            *self._plain_units([*crossing], plan),
        ]

    def _pack_units(self, requests: list[Request], plan: ScoringPlan) -> list[Unit]:
        limit, model = plan.max_logit_elements, self.model
        packs = self.packs_of(requests, plan.max_pack_tokens, self.carries)
        if plan.path == "flex":
            n_tokens = plan.max_pack_tokens
            flex = partial(launch_pack_with_flex, model)
            return [
                Unit(pack.requests, "flex", n_tokens, partial(flex, pack, limit, n_tokens=n_tokens)) for pack in packs
            ]
        launches = launches_in_turn(model, packs, limit, carries=self.carries)
        units: list[Unit] = []
        for pack, launch in zip(packs, launches, strict=True):
            after = units[-1] if len(pack.carried_from) else None
            units.append(Unit(pack.requests, "tree", pack.n_tokens, launch, after))
        return units

    def _prefix_units(self, requests: Sequence[Request], plan: ScoringPlan) -> list[Unit]:
        limit = plan.max_logit_elements
        return [
            Unit(
                batch,
                "prefix",
                len(batch) * max(request.n_inputs for request in batch),
                partial(launch_prompt_batch, self.model, batch, self.pad_token_id, limit),
            )
            for batch in batch_by_prompt(requests, max_tokens=plan.max_batch_tokens)
        ]

    def _plain_units(self, requests: Sequence[Request], plan: ScoringPlan) -> list[Unit]:
        limit = plan.max_plain_logit_elements
        batches = plan_batches(
            requests,
            max_batch_tokens=plan.max_batch_tokens,
            max_logit_positions=limit // n_vocabulary(self.model),
        )
        return [self._batch_unit(batch, "plain", limit) for batch in batches]

    def _single_units(self, requests: Sequence[Request], plan: ScoringPlan) -> list[Unit]:
        return [self._batch_unit([request], "single", plan.max_plain_logit_elements) for request in requests]

    def _batch_unit(self, batch: Sequence[Request], path: PathName, limit: int) -> Unit:
        launch = partial(launch_batch, self.model, batch, self.pad_token_id, limit)
        return Unit(tuple(batch), path, len(batch) * batch[0].n_inputs, launch)
