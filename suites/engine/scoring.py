"""Scores requests with a model: log-probability of every response token, from the cache or computed unit by unit."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any, Protocol

from suites.engine.cache.kept import KeptResults
from suites.engine.cache.score_cache import request_key
from suites.engine.causal_model import (
    attention_window,
    check_context,
    computes_exactly,
    evaluation_mode,
    fused_activations,
    max_positions,
    n_vocabulary,
    unwrapped,
)
from suites.engine.plan import HowScored, ScoringPlan, ScoringState
from suites.engine.response_logits import TokenScores
from suites.engine.self_check.check import UnitScores, check_path, is_slower
from suites.engine.self_check.risks import suspects, unit_risks
from suites.engine.self_check.thresholds import length_thresholds
from suites.engine.token_ids import check_token_ids
from suites.engine.units import Unit, UnitMaker, UnitTooLargeError, in_turn
from suites.inputs import Request, ResponseScore


class ScoreStore(Protocol):
    """Scores of earlier runs, each under everything that determines it."""

    def lookup(self, context: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        """Scores of those requests that were scored in this context."""
        ...

    def store(self, context: str, scores: Mapping[Request, ResponseScore]) -> None:
        """Stores scores under this context."""
        ...


class ModelScorer:
    """Scores requests with a causal language model of transformers, LoRA layers included.

    Equal requests are scored once. Which requests are computed together depends on the requests and the plan alone, so
    that all subjects see the same packs, and an evaluation that goes on after a kill gives the same bits. A path is
    used only after it agreed with one forward a request on the requests that could break it, and is checked again when
    a call brings what it was not checked on.
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_token_id: int,
        state: ScoringState,
        cache: ScoreStore | None = None,
        context: str = "",
        kept: KeptResults | None = None,
    ) -> None:
        """Takes the model as it is: device, dtype and active adapter are the caller's.

        Args:
            model: A causal language model; its `config` gives vocabulary, windows and number of positions.
            pad_token_id: Any token of the vocabulary; padding never reaches a score.
            state: Plan and checks of the run, shared by the scorers of all subjects (`ScoringState(plan_for(model),
                say)`).
            cache: Stores scores unit by unit; None scores everything anew.
            context: Names everything besides requests and path that determines a score: weights, adapter,
                quantisation, dtype, device, versions.
            kept: Keeps how each call was scored, so that a later run that finds its scores tells its checks again.
        """
        self.model = unwrapped(model)
        self._state = state
        self._cache = cache
        self._context = context
        self._kept = kept or KeptResults()
        self._has_computed = False
        self._is_exact = computes_exactly(self.model)
        # Below fp32 a score would depend on what was carried over; a sliding window's cache lacks earlier positions.
        carries = self._is_exact and attention_window(self.model.config) is None
        self._maker = UnitMaker(self.model, pad_token_id, carries, state.packs_of)
        self._thresholds = length_thresholds(self.model.config)
        self._n_vocabulary = n_vocabulary(self.model)
        self._alone: dict[Request, ResponseScore] = {}
        """Requests of the current call that checks have scored in a forward of their own."""

    def score(
        self, requests: Sequence[Request], progress: Callable[[int], object] | None = None
    ) -> list[ResponseScore]:
        """Returns scores in the order of the requests.

        Args:
            requests: Prompt and response token ids, neither empty.
            progress: Called after every unit with the number of distinct requests scored so far.

        Raises:
            ContextTooLongError: A request has more tokens than the model has positions.
            NotKeptError: Scores must be found, and are not there.
        """
        import torch

        distinct = list(dict.fromkeys(requests))
        self._alone.clear()
        for request in distinct:
            check_context(max_positions(self.model.config), request.n_inputs)
            check_token_ids(request.response_ids, self._n_vocabulary)
        scores: dict[Request, ResponseScore] = {}
        call = self._parts_of_call(distinct)
        how = HowScored.from_json(self._kept.find("checks", *call))
        if how is not None:
            self._state.tell_again(how, self._context, by_its_plan=not self._is_exact)
        self._has_computed = False
        with torch.inference_mode(), evaluation_mode(self.model), fused_activations(self.model):
            while len(scores) < len(distinct):
                plan = self._state.plan
                try:
                    self._score_missing(distinct, scores, plan, progress or _no_progress)
                except UnitTooLargeError as error:
                    if not self._state.halve(error.unit.path, error.unit.n_tokens):
                        raise error.__cause__ or error from None
                if self._state.plan != plan and not self._is_exact:
                    scores.clear()  # below fp32 a score belongs to the pack it was computed in
        if how is None or self._has_computed:
            how = self._state.as_scored(self._context, torch.get_num_threads())
            self._kept.keep(how.as_json(), "checks", *call)
        self._state.latest = how
        return [scores[request] for request in requests]

    def pending(self, requests: Sequence[Request]) -> list[Unit]:
        """Returns what `score` would compute of these requests now: units that lack a score in the cache."""
        distinct, plan = list(dict.fromkeys(requests)), self._state.plan
        return self._missing(distinct, {}, plan)

    def seconds_of(self, unit: Unit) -> float:
        """Computes one unit alone, keeps nothing of it, and returns the seconds that it took.

        Raises:
            UnitTooLargeError: Memory ran out.
        """
        import torch

        with torch.inference_mode(), evaluation_mode(self.model), fused_activations(self.model):
            started = perf_counter()
            unit.collect(unit.start())
            return perf_counter() - started

    def _score_missing(
        self,
        distinct: Sequence[Request],
        scores: dict[Request, ResponseScore],
        plan: ScoringPlan,
        progress: Callable[[int], object],
    ) -> None:
        """Fills `scores` unit by unit; returns early where a check moved the run to another plan.

        Units are made of all requests, and those are computed that lack a score. One unit stays in flight, so that a
        GPU does not wait while the scores of the unit before are stored.
        """
        missing = self._missing(distinct, scores, plan)
        self._kept.require(not missing, f"{len(distinct) - len(scores)} scores")
        checked = self._checked(missing, plan)
        if self._state.plan != plan:
            return
        for index, unit_scores in checked.items():
            self._add(missing[index], unit_scores, plan, scores)
        left = [unit for index, unit in enumerate(missing) if index not in checked]
        in_flight: list[tuple[Unit, TokenScores]] = []
        for unit, is_missing in in_turn(left):
            token_scores = unit.start()
            if not is_missing:
                continue
            in_flight.append((unit, token_scores))
            if len(in_flight) > 1:
                before, token_scores = in_flight.pop(0)
                self._add(before, before.collect(token_scores), plan, scores)
                progress(len(scores))
        for unit, token_scores in in_flight:
            self._add(unit, unit.collect(token_scores), plan, scores)
        progress(len(scores))

    def _missing(
        self, distinct: Sequence[Request], scores: dict[Request, ResponseScore], plan: ScoringPlan
    ) -> list[Unit]:
        """Units of all requests that lack a score, after those of the cache are added to `scores`."""
        if self._is_exact:
            scores |= self._cached(self._key(plan), [request for request in distinct if request not in scores])
            if len(scores) == len(distinct):
                return []  # without laying out what nobody computes
        units = self._maker.units(distinct, plan)
        if not self._is_exact:  # a score belongs to the pack it was computed in
            for unit in units:
                scores |= self._cached(self._key(plan, unit.requests), unit.requests)
        return [unit for unit in units if not all(request in scores for request in unit.requests)]

    def _checked(self, units: Sequence[Unit], plan: ScoringPlan) -> UnitScores:
        """Checks the plan's path on what it was not checked on before; returns the units that were computed for it.

        The state has another plan afterwards where the path does not hold.
        """
        if not units or plan.path == "single":
            return {}
        thresholds = self._thresholds
        risks = [unit_risks(unit, thresholds) for unit in units]
        longest = max(request.n_inputs for unit in units for request in unit.requests)
        unchecked, is_longer = self._state.unchecked(self._context, frozenset[str]().union(*risks), longest)
        if not unchecked and not is_longer:
            return {}
        chosen = suspects(units, risks, thresholds, unchecked=unchecked, longest=longest if is_longer else None)
        check, computed = check_path(self._maker, units, chosen, plan, self._alone, is_exact=self._is_exact)
        self._state.record(check, self._context, chosen.risks, longest)
        if check.passed and plan.path == "flex":
            others = self._maker.units([request for unit in units for request in unit.requests], plan.on_next_path())
            if is_slower(units, others):
                self._state.leave_path("path flex is slower than path tree here")
        return computed

    def _parts_of_call(self, distinct: Sequence[Request]) -> tuple[object, ...]:
        """What a call is known by: its requests, and below fp32 the plan that it begins by."""
        if self._kept.store is None:
            return ()
        asked = hashlib.blake2b(b"".join(map(request_key, distinct)), digest_size=16).hexdigest()
        return (asked,) if self._is_exact else (asked, asdict(self._state.plan))

    def _key(self, plan: ScoringPlan, unit: Iterable[Request] = ()) -> str:
        """Context of a score in the cache: below fp32 it includes the path and the unit it was computed in."""
        return _key_of(self._context, "" if self._is_exact else repr((plan.path, [*unit])))

    def _cached(self, key: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        return self._cache.lookup(key, requests) if self._cache is not None else {}

    def _add(
        self,
        unit: Unit,
        unit_scores: Mapping[Request, ResponseScore],
        plan: ScoringPlan,
        scores: dict[Request, ResponseScore],
    ) -> None:
        """Adds and stores the scores of a unit that are not there yet; those that are there stay."""
        new = {request: score for request, score in unit_scores.items() if request not in scores}
        self._has_computed = True
        if self._cache is not None:
            self._cache.store(self._key(plan) if self._is_exact else self._key(plan, unit.requests), new)
        scores |= new


def exact_key(context: str) -> str:
    """Context in the cache of the scores of a model in fp32, which depend on no plan."""
    return _key_of(context, "")


def _key_of(context: str, computed_in: str) -> str:
    return hashlib.sha256(f"{context}\n{computed_in}".encode()).hexdigest()


def _no_progress(_n_scored: int) -> None:
    """Shows nothing."""
