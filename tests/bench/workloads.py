"""The workloads: the engine and its peers on the same rows, each as a call without arguments."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outcomes import Outcome
from peers import (
    Run,
    dpo_peers,
    exact_pair_peer,
    exact_task_peer,
    hflm_pair_peers,
    hflm_task_peers,
    reward_outcome,
    run_lm_eval,
)
from rows import arc_easy, encoded_pairs, hh_rlhf_pairs, truthfulqa, ultrafeedback_pairs, winogrande
from subjects import Subject, with_adapter

from suites.engine.cache.score_cache import ScoreCache
from suites.engine.memory import free_bytes
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.evaluations.plan import EvaluationPlan
from suites.evaluations.reward import measure
from suites.inputs import Pair, Request, ResponseScore, Scorer
from suites.lm_eval.loading import TaskSet
from suites.lm_eval.model import ScorerLM, compiled_once

NAMES = ("truthfulqa", "arc_easy", "winogrande", "hh_rlhf", "ultrafeedback", "reward")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Number of rows of each workload."""

    truthfulqa: int
    arc_easy: int
    winogrande: int
    hh_rlhf: int
    ultrafeedback: int
    reward: int


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload with everything needed to run and count it."""

    title: str
    at_least: float | None
    """Ratio that has to be reached with the GPT-2 shape in fp32."""
    ours: Callable[[], Outcome]
    peers: Mapping[str, Callable[[int], Outcome]]
    """Name -> call that measures every n-th item."""
    part_requests: int | None
    """Number of requests on which the best peer is chosen; None for all."""
    switch: "Switch"
    requests: Sequence[Request]
    """Requests that are scored; filled by `ours`."""
    model: Any
    peer_model: Any
    n_passes: int = 1
    """Number of times that every request is scored."""
    exact: Run | None = None
    """The peer that numbers are compared with, which is not timed; None compares with one that is."""


@dataclass(slots=True)
class Switch:
    """A score cache with a switch, so that one scorer runs with and without it."""

    cache: ScoreCache
    on: bool = False

    def lookup(self, context: str, requests: Sequence[Request]) -> dict[Request, ResponseScore]:
        """Finds nothing while the switch is off."""
        return self.cache.lookup(context, requests) if self.on else {}

    def store(self, context: str, scores: Mapping[Request, ResponseScore]) -> None:
        """Stores nothing while the switch is off."""
        if self.on:
            self.cache.store(context, scores)


@dataclass(frozen=True, slots=True)
class Bench:
    """Makes workloads for one model."""

    subject: Subject
    data_root: Path
    sizes: Sizes
    folder: Path
    """Folder for scratch files and score caches."""
    batches: Sequence[int] = (1, 8, 32)
    dpo_batches: Sequence[int] = (1, 8)
    say: Callable[[str], object] = field(default=lambda _line: None)

    def workload(self, name: str) -> Workload:
        """Makes one of `NAMES`, ready to run."""
        makers: dict[str, Callable[[], Workload]] = {
            "truthfulqa": lambda: self._tasks(
                "TruthfulQA mc1 + mc2", truthfulqa(self.data_root, self.sizes.truthfulqa), at_least=18
            ),
            "arc_easy": lambda: self._tasks(
                "ARC-easy", arc_easy(self.data_root, self.sizes.arc_easy, self.folder), at_least=3.5
            ),
            "winogrande": lambda: self._tasks(
                "Winogrande", winogrande(self.data_root, self.sizes.winogrande), at_least=1.8
            ),
            "hh_rlhf": lambda: self._pairs(
                "hh-rlhf pairs", hh_rlhf_pairs(self.data_root, self.sizes.hh_rlhf), at_least=1.9
            ),
            "ultrafeedback": lambda: self._pairs(
                "UltraFeedback pairs", ultrafeedback_pairs(self.data_root, self.sizes.ultrafeedback), at_least=None
            ),
            "reward": self._reward,
        }
        return makers[name]()

    def _tasks(self, title: str, loaded: TaskSet, *, at_least: float) -> Workload:
        switch, requests = self._switch(title), list[Request]()
        score = recorded(self._scorer(self.subject.model, switch, "base").score, requests)
        lm = ScorerLM(self.subject.model, self.subject.tokenizer, score)
        peers = hflm_task_peers(self.subject, loaded, self.batches)
        title = f"{title}, {max(map(len, loaded.sampled.values()))} rows"
        model = self.subject.model

        def ours() -> Outcome:
            with compiled_once():
                return run_lm_eval(lm, loaded)

        exact = exact_task_peer(self.subject, loaded)
        return Workload(title, at_least, ours, peers, self._part, switch, requests, model, model, exact=exact)

    def _pairs(self, title: str, pairs: list[Any], *, at_least: float | None) -> Workload:
        plan = encoded_pairs(pairs, self.subject.tokenizer)
        model, switch = self.subject.model, self._switch(title)
        score = self._scorer(model, switch, "base").score

        def ours() -> Outcome:
            sums = dict(zip(plan.requests, (one.log_probability for one in score(plan.requests)), strict=True))
            return Outcome({pair_id: (sums[chosen], sums[rejected]) for pair_id, chosen, rejected in sides(plan)})

        longest = max(request.n_inputs for request in plan.requests)
        peers = hflm_pair_peers(self.subject, sides(plan), self._fitting(longest))
        title = f"{title}, {len(plan.rows)} pairs"
        exact = exact_pair_peer(self.subject, sides(plan))
        return Workload(title, at_least, ours, peers, self._part, switch, plan.requests, model, model, exact=exact)

    def _reward(self) -> Workload:
        plan = encoded_pairs(hh_rlhf_pairs(self.data_root, self.sizes.reward), self.subject.tokenizer)
        adapted = with_adapter(self.subject.model)
        base, switch = adapted.get_base_model(), self._switch("reward")
        state = self._state()
        policy, reference = (self._scorer(base, switch, name, state) for name in ("policy", "reference"))

        def ours() -> Outcome:
            with_it = policy.score(plan.requests)
            with adapted.disable_adapter():
                without = reference.score(plan.requests)
            accuracy = measure(plan, with_it, without, beta=1.0, evaluation="reward", subject="policy")[0]
            sums = [
                dict(zip(plan.requests, (one.log_probability for one in scores), strict=True))
                for scores in (with_it, without)
            ]
            rows = {
                pair_id: tuple(side[request] for side in sums for request in (chosen, rejected))
                for pair_id, chosen, rejected in sides(plan)
            }
            return reward_outcome(rows, sum(one.total for one in accuracy.scores) / len(accuracy.scores))

        copied = copy.deepcopy(self.subject.model)
        peers = dpo_peers(copied, self.subject, adapted, sides(plan), self.dpo_batches)
        title = f"reward accuracy, hh-rlhf, {len(plan.rows)} pairs, policy and reference"
        return Workload(title, 2.3, ours, peers, None, switch, plan.requests, base, copied, n_passes=2)

    @property
    def _part(self) -> int:
        """Requests of two of the largest batches."""
        return 2 * max(self.batches)

    def _fitting(self, longest: int) -> list[int]:
        """Batch sizes whose logits fit twice (the logits and their log-softmax) into the free memory."""
        fitting = [
            batch
            for batch in self.batches
            if 2 * 4 * batch * longest * self.subject.shape.vocabulary
            < 0.8 * free_bytes(self.subject.model.device.type)
        ]
        if len(fitting) < len(self.batches):
            left_out = ", ".join(str(batch) for batch in self.batches if batch not in fitting)
            self.say(f"HFLM at batch {left_out} is left out: its logits, twice, do not fit into the free memory")
        return fitting

    def _switch(self, title: str) -> Switch:
        name = "".join(letter for letter in title if letter.isalnum())
        return Switch(ScoreCache.open(self.folder / f"{name}.sqlite", self.say))

    def _state(self) -> ScoringState:
        return ScoringState(plan_for(self.subject.model), self.say)

    def _scorer(self, model: Any, switch: Switch, context: str, state: ScoringState | None = None) -> ModelScorer:
        pad = self.subject.pad_token_id
        return ModelScorer(model, pad_token_id=pad, state=state or self._state(), cache=switch, context=context)


def sides(plan: EvaluationPlan[Pair]) -> list[tuple[str, Request, Request]]:
    """Returns id, chosen request and rejected request of every pair."""
    return [
        (pair.example_id, chosen.request, rejected.request)
        for pair, (chosen, rejected) in zip(plan.rows, plan.responses, strict=True)
    ]


def recorded(score: Scorer, seen: list[Request]) -> Scorer:
    """Returns the scorer, which now also appends its requests to `seen`."""

    def scoring(requests: Sequence[Request]) -> list[ResponseScore]:
        seen.extend(requests)
        return score(requests)

    return scoring
