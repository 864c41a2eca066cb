"""The plan that all subjects are scored by (path and budgets), and what a run finds out about it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any, Literal, TypeVar, get_args

from suites.engine.causal_model import hidden_size
from suites.engine.packing import Pack, pack_requests
from suites.inputs import Request

Result = TypeVar("Result")

PathName = Literal["flex", "tree", "prefix", "plain"]
PATHS: tuple[PathName, ...] = get_args(PathName)
"""Fastest first. flex and tree: packs that hold shared prefixes once, with FlexAttention's block masks or with dense
masks; prefix: each prompt once, in the key-value cache; plain: each request alone."""
LOWEST_PACK_TOKENS = 32
_LARGEST_PACK_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Larger packs make matrix products no faster and attention over the pack slower."""
_LOGIT_ELEMENTS = {"cpu": 2**24, "cuda": 2**26}
"""Fewer rows at a time make the head's matrix product slower; more only take memory."""
_PLAIN_LOGIT_ELEMENTS = 2**26
_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """The path and the budgets of scoring: subjects are scored alike exactly when their plans are equal."""

    path: PathName
    max_pack_tokens: int
    """Tokens of a pack (paths flex and tree)."""
    max_batch_tokens: int
    """Tokens of a batch, padding or cached prompt included (paths prefix and plain)."""
    max_logit_elements: int
    """Rows x vocabulary of logits in fp32 at a time (4 bytes each)."""
    max_plain_logit_elements: int
    """The same on the plain path, which computes the whole model once more for what does not fit."""

    def bounded(self, *, max_pack_tokens: int | None, max_logit_mebibytes: int | None) -> "ScoringPlan":
        """This plan with packs and logits of at most these sizes; None bounds nothing."""
        plan = self
        if max_pack_tokens is not None:
            plan = replace(plan, max_pack_tokens=min(plan.max_pack_tokens, max_pack_tokens))
        if max_logit_mebibytes is not None:
            n_elements = max_logit_mebibytes * 2**20 // 4
            plan = replace(
                plan,
                max_logit_elements=min(plan.max_logit_elements, n_elements),
                max_plain_logit_elements=min(plan.max_plain_logit_elements, n_elements),
            )
        return plan

    def halved(self) -> "ScoringPlan":
        """This plan with half of every budget."""
        return ScoringPlan(
            self.path,
            self.max_pack_tokens // 2,
            self.max_batch_tokens // 2,
            self.max_logit_elements // 2,
            self.max_plain_logit_elements // 2,
        )

    def on_next_path(self) -> "ScoringPlan":
        """This plan with the next slower path."""
        return replace(self, path=PATHS[PATHS.index(self.path) + 1])


@dataclass(frozen=True, slots=True)
class PathCheck:
    """Difference between a faster path and the plain one on the requests that could break it."""

    path: PathName
    n_requests: int
    difference_nats: float | None
    """In fp32 that of the response closest to its tolerance, below fp32 the largest of all responses; None where the
    path could not score them."""
    tolerance_nats: float
    problem: str = ""
    """Why the path could not score them, in the library's words."""

    @property
    def passed(self) -> bool:
        """Whether the path may be used."""
        return self.difference_nats is not None and self.difference_nats <= self.tolerance_nats

    def __str__(self) -> str:
        if self.difference_nats is None:
            return f"path {self.path} cannot score this model ({self.problem})"
        verb = "agrees with" if self.passed else "differs from"
        return (
            f"path {self.path} {verb} the plain path: difference {self.difference_nats:.1e} nats a response, allowed "
            f"{self.tolerance_nats:.1e} ({self.n_requests} requests)"
        )


@dataclass(slots=True)
class ScoringState:
    """The current plan of a run and what was found out about it; the scorers of all subjects share one.

    A failed check or a lack of memory puts a more careful plan in place of the current one, never a bolder one.
    """

    plan: ScoringPlan
    say: Callable[[str], object]
    """Takes a line for the user when the plan changes."""
    checks: list[PathCheck] = field(default_factory=list)
    """Every check that was made, in order."""
    _packs: deque[tuple[list[Request], int, bool, list[Pack]]] = field(default_factory=lambda: deque(maxlen=4))
    """The latest calls of `packs_of` and their results: those of an evaluation and of its check."""
    _checked_length: dict[tuple[PathName, str], int] = field(default_factory=dict)
    """(path, context of the scores) -> length of the longest request it was checked on."""

    @property
    def summary(self) -> str:
        """Path, pack size and result of the checks, in a line."""
        passed = [check for check in self.checks if check.passed and check.difference_nats is not None]
        line = f"scored by path {self.plan.path} in packs of at most {self.plan.max_pack_tokens} tokens"
        if self.plan.path == "plain" or not passed:
            return line
        worst = max(passed, key=lambda check: (check.difference_nats or 0) / check.tolerance_nats)
        return (
            f"{line}; compared with the plain path {len(passed)} times: largest difference "
            f"{worst.difference_nats:.1e} nats a response, allowed {worst.tolerance_nats:.1e}"
        )

    def as_record(self) -> dict[str, object]:
        """Path, pack size and all checks, in types that JSON has."""
        return {
            "path": self.plan.path,
            "max_pack_tokens": self.plan.max_pack_tokens,
            "checks": [str(check) for check in self.checks],
        }

    def on_one_plan(self, score: Callable[[], Result]) -> Result:
        """Result of `score`, repeated until the plan stays the same from its start to its end.

        What `score` measures of several subjects in one call is thus measured alike.
        """
        while True:
            plan = self.plan
            result = score()
            if self.plan == plan:
                return result

    def packs_of(self, requests: list[Request], max_tokens: int, carries: bool) -> list[Pack]:
        """Packs of these requests, laid out once for all subjects (see `pack_requests`)."""
        for *key, packs in self._packs:
            if key == [requests, max_tokens, carries]:
                return packs
        packs = pack_requests(requests, max_tokens=max_tokens, carries=carries)
        self._packs.append((requests, max_tokens, carries, packs))
        return packs

    def needs_check(self, context: str, longest: int) -> bool:
        """Whether the path has to be checked before it scores requests of up to this length in this context."""
        path = self.plan.path
        return path != "plain" and self._checked_length.get((path, context), 0) < longest

    def record(self, check: PathCheck, context: str, longest: int) -> None:
        """Adds a check; a failed one moves all subjects to the next path."""
        self.checks.append(check)
        self._checked_length[check.path, context] = longest
        if not check.passed:
            self.leave_path(str(check))

    def leave_path(self, reason: str) -> None:
        """Moves all subjects to the next path."""
        self.plan = self.plan.on_next_path()
        self.say(f"{reason}; all subjects are scored by path {self.plan.path}")

    def halve_budgets(self) -> None:
        """Halves all budgets after the device ran out of memory."""
        self.plan = self.plan.halved()
        self._packs.clear()
        self.say(f"out of memory: scoring goes on in packs of at most {self.plan.max_pack_tokens} tokens")


def plan_for(model: Any) -> ScoringPlan:
    """Plan for a causal language model of transformers on its device, with the memory that is free there now."""
    device = model.device.type
    return plan_within(device, free_bytes(device), hidden_size(model))


def plan_within(device: str, free_bytes: int, hidden_size: int) -> ScoringPlan:
    """Plan whose packs take at most a quarter of the free memory.

    Args:
        device: "cpu", "cuda" or another one, which is treated like a CPU.
        free_bytes: Memory that is free on it.
        hidden_size: Length of the model's hidden states.
    """
    kind = device if device in _LARGEST_PACK_TOKENS else "cpu"
    # A pack of T tokens takes about 12 T^2 bytes for its mask and attention and 64 hidden_size T for its activations.
    linear, available = 64 * hidden_size, free_bytes / 4
    fitting = int((sqrt(linear**2 + 48 * available) - linear) / 24)
    return ScoringPlan(
        path="flex" if kind == "cuda" else "tree",
        max_pack_tokens=max(LOWEST_PACK_TOKENS, min(fitting, _LARGEST_PACK_TOKENS[kind])),
        max_batch_tokens=_BATCH_TOKENS,
        max_logit_elements=_LOGIT_ELEMENTS[kind],
        max_plain_logit_elements=_PLAIN_LOGIT_ELEMENTS,
    )


def free_bytes(device: str) -> int:
    """Memory in bytes that is free on a device now."""
    import psutil
    import torch

    return int(torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available)
