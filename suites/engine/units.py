"""How a plan divides requests into units of work for a model, and what each unit gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from suites.engine.causal_model import n_vocabulary
from suites.engine.packing import Pack
from suites.engine.plain_path import launch_batch, plan_batches
from suites.engine.plan import ScoringPlan
from suites.engine.prefix_path import batch_by_prompt, launch_prompt_batch
from suites.engine.response_logits import TokenScores
from suites.engine.tree_path import launch_pack_with_flex, launches_in_turn
from suites.inputs import Request, ResponseScore


@dataclass(frozen=True, slots=True)
class Unit:
    """Requests that are computed, cached and resumed together."""

    requests: tuple[Request, ...]
    launch: Callable[[], TokenScores]
    """Starts the computation, without waiting for the device."""

    def collect(self, token_scores: TokenScores) -> dict[Request, ResponseScore]:
        """Waits for what `launch` started and returns the score of each request."""
        log_probabilities, is_greedy = (values.cpu().numpy() for values in token_scores)
        stops = np.cumsum([len(request.response_ids) for request in self.requests])
        return {
            request: ResponseScore(
                log_probabilities[stop - len(request.response_ids) : stop].copy(),
                bool(is_greedy[stop - len(request.response_ids) : stop].all()),
            )
            for request, stop in zip(self.requests, stops, strict=True)
        }


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
        """Units of all requests, which must be distinct, in the order in which they are to be launched."""
        if plan.path == "plain":
            return self._plain_units(requests, plan)
        budget = 0 if plan.path == "prefix" else plan.max_pack_tokens
        fitting = [request for request in requests if request.n_inputs <= budget]
        packs = self.packs_of(fitting, budget, self.carries)
        # The tree would compute the prompt of a longer request again for each response, the prefix path does so once.
        longer = batch_by_prompt(
            [request for request in requests if request.n_inputs > budget], max_tokens=plan.max_batch_tokens
        )
        limit = plan.max_logit_elements
        return [
            *(Unit(pack.requests, launch) for pack, launch in zip(packs, self._launches(packs, plan), strict=True)),
            *(
                Unit(batch, partial(launch_prompt_batch, self.model, batch, self.pad_token_id, limit))
                for batch in longer
            ),
        ]

    def log_probabilities(self, requests: Sequence[Request], plan: ScoringPlan) -> dict[Request, float]:
        """Log-probability of each response in nats, computed now; no cache is read or written."""
        return {
            request: score.log_probability
            for unit in self.units(requests, plan)
            for request, score in unit.collect(unit.launch()).items()
        }

    def _plain_units(self, requests: Sequence[Request], plan: ScoringPlan) -> list[Unit]:
        limit = plan.max_plain_logit_elements
        batches = plan_batches(
            requests,
            max_batch_tokens=plan.max_batch_tokens,
            max_logit_positions=limit // n_vocabulary(self.model),
        )
        return [
            Unit(tuple(batch), partial(launch_batch, self.model, batch, self.pad_token_id, limit)) for batch in batches
        ]

    def _launches(self, packs: Sequence[Pack], plan: ScoringPlan) -> list[Callable[[], TokenScores]]:
        """For each pack the call that starts it on the path flex or tree."""
        limit = plan.max_logit_elements
        if plan.path == "flex":
            n_tokens = plan.max_pack_tokens
            return [partial(launch_pack_with_flex, self.model, pack, limit, n_tokens=n_tokens) for pack in packs]
        return launches_in_turn(self.model, packs, limit, carries=self.carries)
