"""The plan that all subjects are scored by (path and budgets), and what a run finds out about it."""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from math import sqrt
from typing import Any, Literal, TypeVar, get_args

from suites.engine.causal_model import gpus_of, hidden_size
from suites.engine.memory import free_bytes
from suites.engine.packing import Pack, pack_requests
from suites.inputs import Request

Result = TypeVar("Result")

PathName = Literal["flex", "tree", "prefix", "plain", "single"]
PATHS: tuple[PathName, ...] = get_args(PathName)
"""Fastest first. flex and tree: packs that hold shared prefixes once, with FlexAttention's block masks or with dense
masks; prefix: each prompt once, in the key-value cache; plain: padded batches of requests that share nothing; single:
one request a forward, which all others are checked against."""
LOWEST_PACK_TOKENS = 32
_LARGEST_PACK_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Larger packs make matrix products no faster and attention over the pack slower."""
_LOGIT_ELEMENTS = {"cpu": 2**24, "cuda": 2**26}
"""Fewer rows at a time make the head's matrix product slower; more only take memory."""
_PLAIN_LOGIT_ELEMENTS = 2**26
_BATCH_TOKENS = 4096
_LOWEST_BATCH_TOKENS = 32
_LOWEST_LOGIT_ELEMENTS = 2**16
"""Less than a row of many vocabularies: where that does not fit, nothing does."""


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

    def halved(self, path: PathName, n_tokens: int) -> "ScoringPlan":
        """This plan with half of what did not fit into memory.

        Args:
            path: Path of the unit that was launched, which is not the plan's where a request exceeds a pack.
            n_tokens: Number of its tokens: the budget may have been larger.

        Returns:
            This very plan where nothing can become smaller.
        """
        half = n_tokens // 2
        plan = replace(
            self,
            max_logit_elements=_half(self.max_logit_elements, _LOWEST_LOGIT_ELEMENTS),
            max_plain_logit_elements=_half(self.max_plain_logit_elements, _LOWEST_LOGIT_ELEMENTS),
        )
        if path in ("flex", "tree"):
            return replace(plan, max_pack_tokens=min(self.max_pack_tokens, max(LOWEST_PACK_TOKENS, half)))
        return replace(plan, max_batch_tokens=min(self.max_batch_tokens, max(_LOWEST_BATCH_TOKENS, half)))

    def on_next_path(self) -> "ScoringPlan":
        """This plan with the next slower path."""
        return replace(self, path=PATHS[PATHS.index(self.path) + 1])


@dataclass(frozen=True, slots=True)
class PathCheck:
    """Difference between a faster path and one forward a request, on the requests that could break it."""

    path: PathName
    n_requests: int
    difference_nats: float | None
    """In fp32 that of the response closest to its tolerance, below fp32 the largest of all responses; None where the
    path could not score them."""
    tolerance_nats: float
    problem: str = ""
    """Why the path could not score them, in the library's words."""
    n_greedy_differences: int = 0
    """Number of responses that only one of both calls greedy."""
    n_greedy_differences_allowed: int = 0
    """Below fp32 the most probable token is often decided by rounding."""

    @property
    def passed(self) -> bool:
        """Whether the path may be used."""
        return (
            self.difference_nats is not None
            and self.difference_nats <= self.tolerance_nats
            and self.n_greedy_differences <= self.n_greedy_differences_allowed
        )

    def __str__(self) -> str:
        if self.difference_nats is None:
            return f"path {self.path} cannot score this model ({self.problem})"
        verb = "agrees with" if self.passed else "differs from"
        greedy = f", {self.n_greedy_differences} greedy flags differ" if self.n_greedy_differences else ""
        return (
            f"path {self.path} {verb} one forward a request: difference {self.difference_nats:.1e} nats a response, "
            f"allowed {self.tolerance_nats:.1e}{greedy} ({self.n_requests} requests)"
        )


@dataclass(frozen=True, slots=True)
class HowScored:
    """How the requests of one call were scored; it is kept beside their scores, and told again where they are found."""

    plan: ScoringPlan
    """The plan at the end of the call."""
    n_threads: int
    """Threads that torch computed with."""
    checks: tuple[PathCheck, ...]
    """All checks of this subject until then, in order."""

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "HowScored | None":
        """What `as_json` returned; None where it is something else, as a later release may keep."""
        try:
            plan, checks = ScoringPlan(**value["plan"]), tuple(PathCheck(**check) for check in value["checks"])
            return cls(plan, int(value["n_threads"]), checks) if plan.path in PATHS else None
        except (TypeError, KeyError, ValueError):
            return None


@dataclass(slots=True)
class ScoringState:
    """The current plan of a run and what was found out about it; the scorers of all subjects share one.

    A failed check or a lack of memory puts a more careful plan in place of the current one, never a bolder one.
    """

    plan: ScoringPlan
    say: Callable[[str], object]
    """Takes a line for the user when the plan changes."""
    checks: list[PathCheck] = field(default_factory=list)
    """Every check that was made, in order; those of an earlier run too, where its scores are found."""
    latest: HowScored | None = None
    """How the latest call was scored, in this run or in an earlier one; None before the first."""
    _own_checks: dict[str, list[PathCheck]] = field(default_factory=dict)
    """Context of the scores -> those of the checks that were made in it."""
    _packs: deque[tuple[list[Request], int, bool, list[Pack]]] = field(default_factory=lambda: deque(maxlen=8))
    """The latest calls of `packs_of` and their results: those of an evaluation and of its check."""
    _checked: dict[tuple[PathName, str], tuple[frozenset[str], int]] = field(default_factory=dict)
    """(path, context of the scores) -> risks it was checked on, and length of the longest request among them."""

    @property
    def summary(self) -> str:
        """Path, pack size and result of the checks, in a line."""
        passed = [check for check in self.checks if check.passed and check.difference_nats is not None]
        plan = self.plan if self.latest is None else self.latest.plan
        line = f"scored by path {plan.path} in packs of at most {plan.max_pack_tokens} tokens"
        if plan.path == "single" or not passed:
            return line
        worst = max(passed, key=lambda check: (check.difference_nats or 0) / check.tolerance_nats)
        return (
            f"{line}; compared with one forward a request {len(passed)} times: largest difference "
            f"{worst.difference_nats:.1e} nats a response, allowed {worst.tolerance_nats:.1e}"
        )

    def as_record(self) -> dict[str, object]:
        """Path, pack size, threads and all checks, in types that JSON has."""
        plan = self.plan if self.latest is None else self.latest.plan
        return {
            "path": plan.path,
            "max_pack_tokens": plan.max_pack_tokens,
            "n_threads": None if self.latest is None else self.latest.n_threads,
            "checks": [str(check) for check in self.checks],
        }

    def begin_evaluation(self) -> None:
        """Checks paths anew from here on: what one evaluation was checked on vouches for no other.

        The checks of an evaluation are thus the same whatever the process scored before, and wherever it runs.
        """
        self._checked.clear()
        self._own_checks.clear()

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

    def forget_packs(self) -> None:
        """Gives the memory of the latest packs back, where the same requests are not scored again soon."""
        self._packs.clear()

    def unchecked(self, context: str, risks: frozenset[str], longest: int) -> tuple[frozenset[str], bool]:
        """What the current path was not checked on in this context: risks, and whether no request was as long."""
        if self.plan.path == "single":
            return frozenset(), False
        checked, length = self._checked.get((self.plan.path, context), (frozenset(), 0))
        return risks - checked, longest > length

    def record(self, check: PathCheck, context: str, risks: frozenset[str], longest: int) -> None:
        """Adds a check on these risks; a failed one moves all subjects to the next path."""
        self.checks.append(check)
        self._own_checks.setdefault(context, []).append(check)
        checked, length = self._checked.get((check.path, context), (frozenset(), 0))
        self._checked[check.path, context] = checked | risks, max(length, longest)
        if not check.passed:
            self.leave_path(str(check))

    def as_scored(self, context: str, n_threads: int) -> HowScored:
        """How a call was scored that ends now."""
        return HowScored(self.plan, n_threads, tuple(self._own_checks.get(context, ())))

    def tell_again(self, how: HowScored, context: str, *, by_its_plan: bool) -> None:
        """Adds the checks that an earlier run made of scores that it stored, and leaves the paths that it left.

        They exempt nothing that is computed now from a check of its own.

        Args:
            how: How they were scored.
            context: Everything but path and tokens that determines them.
            by_its_plan: Whether they are found by no other plan than the one they were scored by, as below fp32.
        """
        own = self._own_checks.setdefault(context, [])
        there, added = [repr(check) for check in own], list[PathCheck]()  # as texts, because no NaN equals another
        for check in how.checks:
            if repr(check) in there:
                there.remove(repr(check))
            else:
                added.append(check)
        own += added
        self.checks += added
        is_left = PATHS.index(how.plan.path) > PATHS.index(self.plan.path)
        plan = how.plan if by_its_plan else replace(self.plan, path=how.plan.path) if is_left else self.plan
        if plan != self.plan:
            self.plan = plan
            self.say(
                f"as in an earlier run, all subjects are scored by path {plan.path}, in packs of at most "
                f"{plan.max_pack_tokens} tokens"
            )

    def leave_path(self, reason: str) -> None:
        """Moves all subjects to the next path."""
        self.plan = self.plan.on_next_path()
        self.say(f"{reason}; all subjects are scored by path {self.plan.path}")

    def halve(self, path: PathName, n_tokens: int) -> bool:
        """Halves what did not fit into memory (see `ScoringPlan.halved`); False where nothing can become smaller."""
        smaller = self.plan.halved(path, n_tokens)
        if smaller == self.plan:
            return False
        if smaller.max_pack_tokens < self.plan.max_pack_tokens:
            what = f"packs of at most {smaller.max_pack_tokens} tokens"
        elif smaller.max_batch_tokens < self.plan.max_batch_tokens:
            what = f"batches of at most {smaller.max_batch_tokens} tokens"
        else:
            what = f"parts of at most {smaller.max_plain_logit_elements * 4 / 2**20:.2g} MiB of logits"
        self.plan = smaller
        self._packs.clear()
        self.say(f"out of memory: scoring goes on in {what}")
        return True


def plan_for(model: Any) -> ScoringPlan:
    """Plan for a causal language model of transformers on its device, with the memory that is free there now.

    Where it is spread over several GPUs, each computes the packs in turn: the one with the least free memory counts.
    """
    device, gpus = model.device.type, gpus_of(model)
    free = min((free_bytes(device, [gpu]) for gpu in gpus), default=0) if gpus else free_bytes(device)
    return plan_within(device, free, hidden_size(model), is_spread=bool(gpus))


def plan_within(device: str, free_bytes: int, hidden_size: int, *, is_spread: bool = False) -> ScoringPlan:
    """Plan whose packs take at most a quarter of the free memory.

    Args:
        device: "cpu", "cuda" or another one, which is treated like a CPU.
        free_bytes: Memory that is free on it.
        hidden_size: Length of the model's hidden states.
        is_spread: Whether the model lies on several devices, between which FlexAttention's masks cannot be moved.
    """
    kind = device if device in _LARGEST_PACK_TOKENS else "cpu"
    # The largest T for which `pack_bytes` of T tokens are available.
    linear, available = 64 * hidden_size, free_bytes / 4
    fitting = int((sqrt(linear**2 + 48 * available) - linear) / 24)
    return ScoringPlan(
        path="flex" if kind == "cuda" and not is_spread else "tree",
        max_pack_tokens=max(LOWEST_PACK_TOKENS, min(fitting, _LARGEST_PACK_TOKENS[kind])),
        max_batch_tokens=_BATCH_TOKENS,
        max_logit_elements=_LOGIT_ELEMENTS[kind],
        max_plain_logit_elements=_PLAIN_LOGIT_ELEMENTS,
    )


def pack_bytes(n_tokens: int, hidden_size: int) -> int:
    """Bytes that a pack takes beside the model, roughly: its mask and attention, and its activations."""
    return 12 * n_tokens**2 + 64 * hidden_size * n_tokens


def _half(budget: int, lowest: int) -> int:
    """Half of a budget, unless that is below what is of use."""
    return min(budget, max(lowest, budget // 2))
