"""Requests in, the log-probability of every response token out: `ModelScorer(model, pad_token_id=0).score(rows)`."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from suites.engine.causal_model import (
    attention_kernel,
    attention_kernel_name,
    attention_window,
    check_context,
    computes_exactly,
    evaluation_mode,
    fused_activations,
    jittered_embeddings,
    max_positions,
    n_vocabulary,
    unwrapped,
)
from suites.engine.packing import Pack
from suites.engine.plain_path import launch_batch, plan_batches
from suites.engine.plan import LOWEST_PACK_TOKENS, Layout, PathCheck
from suites.engine.prefix_path import batch_by_prompt, launch_prompt_batch
from suites.engine.response_logits import Launched
from suites.engine.tree_path import PackChain, launch_pack_with_flex
from suites.inputs import Request, ResponseScore

_LONGEST_BATCH_TOKENS = 4096
"""Of the plain path and the prefix path: padded tokens, or cached and new ones, of all rows together."""
_NOISE_SAMPLE = 64
"""Requests that the spread of the plain path is measured on below fp32: with fewer the largest difference is luck."""
_JITTER = 2.0**-21
"""Share of itself that a number in fp32 moves by when it is summed in another order: a few units in the last place."""
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class ScoreStore(Protocol):
    """What has been scored already, under everything that determines the number."""

    def lookup(self, context: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        """Those of the requests that were scored in that context."""
        ...

    def store(self, context: str, scores: Mapping[Request, ResponseScore]) -> None:
        """Keeps scores of that context."""
        ...


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is computed, kept and resumed together."""

    requests: tuple[Request, ...]
    launch: Callable[[], Launched]


class ModelScorer:
    """Scores requests with a causal language model of transformers, LoRA layers included.

    Equal requests are scored once. What is computed together depends on the requests and the layout alone, so that all
    subjects see the same packs. A path faster than the plain one is taken only after it agreed with it on the requests
    that could break it.
    """

    def __init__(
        self,
        model: Any,
        *,
        pad_token_id: int,
        layout: Layout | None = None,
        cache: ScoreStore | None = None,
        context: str = "",
    ) -> None:
        """Takes the model as it is: device, dtype and active adapter are the caller's.

        Args:
            model: A causal language model; its `config` gives vocabulary, windows and number of positions.
            pad_token_id: Any token of the vocabulary; what is padded is never seen by what is scored.
            layout: Shared by the scorers of all subjects; one of its own where there is none.
            cache: Where scores are kept, unit by unit, and found again.
            context: Everything besides requests and layout that determines a score: weights, adapter, quantisation,
                dtype, device, versions.
        """
        self.layout = layout or Layout()
        self.model = unwrapped(model)
        self._pad_token_id = pad_token_id
        self._cache = cache
        self._context = context
        self._is_exact = computes_exactly(self.model)
        # Below fp32 a score would depend on what was carried, and a window's cache holds but the last positions.
        self._carries = self._is_exact and attention_window(self.model.config) is None

    def score(
        self, requests: Sequence[Request], progress: Callable[[int], object] | None = None
    ) -> list[ResponseScore]:
        """Scores in the order of the requests.

        Args:
            requests: Prompt and response token ids, neither empty.
            progress: Called after every unit with the number of different requests that are done so far.

        Raises:
            ContextTooLongError: A request has more tokens than the model has positions.
        """
        import torch

        distinct = list(dict.fromkeys(requests))
        for request in distinct:
            check_context(max_positions(self.model.config), request.n_inputs)
        scores: dict[Request, ResponseScore] = {}
        with torch.inference_mode(), evaluation_mode(self.model), fused_activations(self.model):
            while len(scores) < len(distinct):
                state = self.layout.state
                try:
                    self._score_missing(distinct, scores, progress or _nobody)
                except RuntimeError as error:
                    if not _is_out_of_memory(error) or self.layout.max_pack_tokens <= LOWEST_PACK_TOKENS:
                        raise
                    self.layout.halve()
                if self.layout.state != state and not self._is_exact:
                    scores.clear()  # below fp32 a score belongs to the pack it was computed in
        return [scores[request] for request in requests]

    def _score_missing(
        self, distinct: Sequence[Request], scores: dict[Request, ResponseScore], progress: Callable[[int], object]
    ) -> None:
        """Fills `scores` up, unit by unit; returns early where the layout moved to another path.

        One unit stays in flight, so that a GPU does not wait for what is kept of the one before.
        """
        if self._is_exact:
            scores.update(self._found(self._key(), distinct))
        # What is there already may shape the units of the others only where a score does not depend on its unit.
        todo = [request for request in distinct if request not in scores] if self._is_exact else list(distinct)
        units = self._units(todo)
        if not self._is_exact:
            for unit in units:
                scores.update(self._found(self._key(unit.requests), unit.requests))
            units = [unit for unit in units if not all(request in scores for request in unit.requests)]
        if units and not self._path_agrees(todo):
            return
        in_flight: list[tuple[_Unit, Launched]] = []
        for unit in units:
            in_flight.append((unit, unit.launch()))
            if len(in_flight) > 1:
                scores.update(self._collected(*in_flight.pop(0)))
                progress(len(scores))
        for unit, launched in in_flight:
            scores.update(self._collected(unit, launched))
        progress(len(scores))

    def _units(
        self, requests: Sequence[Request], path: str | None = None, max_pack_tokens: int | None = None
    ) -> list[_Unit]:
        """How a path divides the work: path and budget are the layout's own unless others are named."""
        model, pad, limit = self.model, self._pad_token_id, self.layout.max_logit_elements
        path = path or self.layout.path
        if path == "plain":
            limit = self.layout.max_plain_logit_elements
            positions = limit // n_vocabulary(model)
            batches = plan_batches(requests, max_batch_tokens=_LONGEST_BATCH_TOKENS, max_logit_positions=positions)
            return [_Unit(tuple(batch), partial(launch_batch, model, batch, pad, limit)) for batch in batches]
        budget = 0 if path == "prefix" else max_pack_tokens or self.layout.max_pack_tokens
        fitting = [each for each in requests if each.n_inputs <= budget]
        packs = self.layout.packs_of(fitting, max_tokens=budget, carries=self._carries)
        # What is longer than a pack goes by its prompt: the tree would compute that prompt for each of its responses.
        longer = batch_by_prompt(
            [each for each in requests if each.n_inputs > budget], max_tokens=_LONGEST_BATCH_TOKENS
        )
        return [
            *(_Unit(pack.requests, launch) for pack, launch in zip(packs, self._launches(packs, path), strict=True)),
            *(_Unit(each, partial(launch_prompt_batch, model, each, pad, limit)) for each in longer),
        ]

    def _launches(self, packs: Sequence[Pack], path: str) -> list[Callable[[], Launched]]:
        """How each pack is started by the path flex or tree."""
        limit = self.layout.max_logit_elements
        if path == "flex":
            budget = self.layout.max_pack_tokens
            return [partial(launch_pack_with_flex, self.model, pack, limit, n_tokens=budget) for pack in packs]
        chain = PackChain(self.model, carries=self._carries)
        return [partial(chain.launch, pack, before, limit) for before, pack in zip([None, *packs], packs, strict=False)]

    def _path_agrees(self, requests: Sequence[Request]) -> bool:
        """Whether the layout's path may be taken, by a check unless it was checked on as long a request before."""
        longest = max(request.n_inputs for request in requests)
        if self.layout.is_settled(self._context, longest):
            return True
        check = self._check(requests)
        self.layout.record(check, self._context, longest)
        if check.passed and check.path == "flex" and self._is_slower("flex", "tree", requests):
            self.layout.leave("flex", "path flex: its packs take longer than with a dense mask")
            return False
        return check.passed

    def _is_slower(self, path: str, other: str, requests: Sequence[Request]) -> bool:
        """Whether the fullest unit takes a path longer than another one, both warmed up."""

        def seconds(name: str) -> float:
            fullest = max(self._units(requests, name), key=lambda unit: len(unit.requests))
            fullest.launch().collect()
            started = perf_counter()
            fullest.launch().collect()
            return perf_counter() - started

        return seconds(path) > seconds(other)

    def _check(self, requests: Sequence[Request]) -> PathCheck:
        """The layout's path against the plain one on the requests that could break it."""
        path = self.layout.path
        sample = _riskiest(requests, [unit.requests for unit in self._units(requests)], self.model.config)
        if not self._is_exact:
            sample = list(dict.fromkeys([*sample, *_spread_out(requests, _NOISE_SAMPLE)]))
        longest = max(request.n_inputs for request in sample)
        try:
            fast = self._sums(sample, path)
            # The same in several packs, each with what it takes over from the one before.
            chained = self._sums(sample, path, max_pack_tokens=longest) if self._carries else fast
        except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and _is_out_of_memory(error):
                raise
            problem = (str(error).strip().splitlines() or [""])[0]
            return PathCheck(path, len(sample), None, 0.0, f"{type(error).__name__}: {problem}")
        plain = self._sums(sample, "plain")
        if not self._is_exact:
            tolerance_nats = max(1e-4, 2 * self._noise(sample, plain))
            return PathCheck(path, len(sample), _largest_difference(fast, plain), tolerance_nats)
        tolerance = {request: max(1e-4, 1e-6 * abs(plain[request])) for request in sample}
        difference = {
            request: max(abs(sums[request] - plain[request]) for sums in (fast, chained)) for request in sample
        }
        worst = max(sample, key=lambda request: difference[request] / tolerance[request])
        return PathCheck(path, len(sample), difference[worst], tolerance[worst])

    def _noise(self, sample: Sequence[Request], plain: Mapping[Request, float]) -> float:
        """How far the plain path is from itself below fp32, in nats a response.

        The largest difference over batch sizes, over attention kernels and over inputs that differ in their last bits.
        Batches alone may show none, because a CPU's kernels treat every row alike. Where 4-bit layers round what was
        summed up in fp32, another order of the sum tips a rounding over in one response of ten: the jitter does so in
        most of them, and thus shows how much one rounding can move.
        """
        others = [{request: self._sums([request], "plain")[request] for request in sample}]
        with suppress(ValueError, AttributeError):  # a family may have one kernel only, or no attention at all
            other_kernel = "eager" if attention_kernel_name(self.model) != "eager" else "sdpa"
            with attention_kernel(self.model, other_kernel):
                others.append(self._sums(sample, "plain"))
        with jittered_embeddings(self.model, _JITTER):
            others.append(self._sums(sample, "plain"))
        return max(_largest_difference(other, plain) for other in others)

    def _sums(self, requests: Sequence[Request], path: str, max_pack_tokens: int | None = None) -> dict[Request, float]:
        """Log-probability of each response by a path, in nats; nothing is cached."""
        return {
            request: score.log_probability
            for unit in self._units(requests, path, max_pack_tokens)
            for request, score in unit.launch().collect().items()
        }

    def _key(self, unit: Iterable[Request] = ()) -> str:
        """Context of a score in the cache: below fp32 it belongs to its path and to the unit it was computed in."""
        layout = "" if self._is_exact else repr((self.layout.path, [*unit]))
        return hashlib.sha256(f"{self._context}\n{layout}".encode()).hexdigest()

    def _found(self, key: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        return self._cache.lookup(key, requests) if self._cache is not None else {}

    def _collected(self, unit: _Unit, launched: Launched) -> dict[Request, ResponseScore]:
        scores = launched.collect()
        if self._cache is not None:
            self._cache.store(self._key() if self._is_exact else self._key(unit.requests), scores)
        return scores


def _riskiest(requests: Sequence[Request], units: Sequence[Sequence[Request]], config: Any) -> list[Request]:
    """The longest request, neighbours in the fullest unit, and one that is longer than the attention window."""
    fullest = max(units, key=len)
    middle = len(fullest) // 2
    window = attention_window(config)
    beyond = [request for request in requests if window is not None and request.n_inputs > window]
    longest = max(requests, key=lambda request: (request.n_inputs, request.prompt_ids, request.response_ids))
    shortest_beyond = sorted(beyond, key=lambda request: (request.n_inputs, request.prompt_ids, request.response_ids))
    return list(dict.fromkeys([longest, *fullest[max(0, middle - 1) : middle + 1], *shortest_beyond[:1]]))


def _largest_difference(first: Mapping[Request, float], second: Mapping[Request, float]) -> float:
    """In nats a response."""
    return max(abs(first[request] - second[request]) for request in first)


def _spread_out(requests: Sequence[Request], n: int) -> list[Request]:
    """At most n of the requests, from the shortest to the longest."""
    ordered = sorted(requests, key=lambda request: (request.n_inputs, request.prompt_ids, request.response_ids))
    return ordered[:: max(1, -(-len(ordered) // n))]


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Torch has a class for GPUs alone; a CPU's allocator only says so."""
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _nobody(_n_done: int) -> None:
    """Nobody is told."""
