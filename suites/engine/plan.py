"""How requests are laid out for a model: path and budgets, the same for all subjects of a comparison."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt

from suites.engine.packing import Pack, pack_requests
from suites.inputs import Request

PATHS = ("flex", "tree", "prefix", "plain")
"""Fastest first: packs that hold shared prefixes once, with FlexAttention's block masks or with dense ones; each prompt
once, in the key-value cache; each request alone."""
LOWEST_PACK_TOKENS = 32
_LARGEST_PACK_TOKENS = {"cpu": 1024, "cuda": 8192}
"""More makes matrix products no faster, and attention over the pack dearer."""
_LOGIT_ELEMENTS = {"cpu": 2**24, "cuda": 2**26}
"""Fewer rows at a time make the head's matrix product slower, more cost memory alone."""


@dataclass(frozen=True, slots=True)
class PathCheck:
    """How far a faster path was from the plain one, on the requests that could break it."""

    path: str
    n_requests: int
    difference_nats: float | None
    """In fp32 of the response that came closest to its tolerance, below it the largest of all responses;
    None where the path could not score them."""
    tolerance_nats: float
    problem: str = ""
    """Why the path could not score, in the library's words."""

    @property
    def passed(self) -> bool:
        """Whether the path may be taken."""
        return self.difference_nats is not None and self.difference_nats <= self.tolerance_nats

    def __str__(self) -> str:
        if self.difference_nats is None:
            return f"path {self.path} does not fit this model ({self.problem})"
        verb = "agrees with" if self.passed else "differs from"
        return (
            f"path {self.path} {verb} the plain one: {self.difference_nats:.1e} nats a response, where "
            f"{self.tolerance_nats:.1e} are allowed ({self.n_requests} requests)"
        )


@dataclass(slots=True)
class Layout:
    """Shared by the scorers of all subjects; it only ever becomes more careful."""

    max_pack_tokens: int = _LARGEST_PACK_TOKENS["cpu"]
    max_logit_elements: int = _LOGIT_ELEMENTS["cpu"]
    """Rows x vocabulary of logits in fp32 at a time (4 bytes each)."""
    max_plain_logit_elements: int = 2**26
    """The same on the plain path, which computes the whole model once more for what does not fit."""
    path: str = "tree"
    checks: list[PathCheck] = field(default_factory=list)
    """Every check that was made, in order."""
    say: Callable[[str], object] = lambda _line: None
    _packed: deque[tuple[list[Request], int, list[Pack]]] = field(default_factory=lambda: deque(maxlen=4))
    """What was packed last: an evaluation, and what its check took of it."""
    _checked_length: dict[tuple[str, str], int] = field(default_factory=dict)
    """Path and what it was checked for -> length of the longest request it was checked on."""

    @property
    def state(self) -> tuple[str, int]:
        """Subjects were scored alike while this stayed the same."""
        return self.path, self.max_pack_tokens

    @property
    def summary(self) -> str:
        """Which path ran and how it was checked, in a line."""
        passed = [check for check in self.checks if check.passed and check.difference_nats is not None]
        line = f"scored by path {self.path}, packs of up to {self.max_pack_tokens} tokens"
        if self.path == "plain" or not passed:
            return line
        worst = max(passed, key=lambda check: (check.difference_nats or 0) / check.tolerance_nats)
        return (
            f"{line}; self-check against the plain path, {len(passed)} times: at most "
            f"{worst.difference_nats:.1e} nats a response, where {worst.tolerance_nats:.1e} are allowed"
        )

    def as_record(self) -> dict[str, object]:
        """What ran and every check, as JSON can hold it."""
        return {
            "path": self.path,
            "max_pack_tokens": self.max_pack_tokens,
            "checks": [str(check) for check in self.checks],
        }

    def packs_of(self, requests: list[Request], *, max_tokens: int, carries: bool) -> list[Pack]:
        """The packs of these requests, which are laid out once for all subjects."""
        for packed_requests, packed_tokens, packs in self._packed:
            if packed_tokens == max_tokens and packed_requests == requests:
                return packs
        packs = pack_requests(requests, max_tokens=max_tokens, carries=carries)
        self._packed.append((requests, max_tokens, packs))
        return packs

    def is_settled(self, context: str, longest: int) -> bool:
        """Whether the path needs no check for requests of that length: it is the plain one, or was checked before."""
        return self.path == "plain" or self._checked_length.get((self.path, context), 0) >= longest

    def record(self, check: PathCheck, context: str, longest: int) -> None:
        """Keeps a check; where it failed, everything moves to the next path."""
        self.checks.append(check)
        self._checked_length[check.path, context] = longest
        if not check.passed:
            self.leave(check.path, str(check))

    def leave(self, path: str, reason: str) -> None:
        """Moves everything to the path after this one."""
        self.path = PATHS[PATHS.index(path) + 1]
        self.say(f"{reason}; all subjects are scored by path {self.path}")

    def bound(self, *, max_pack_tokens: int | None, max_logit_mebibytes: int | None) -> None:
        """Keeps packs and logits below what is asked for; None leaves them as they are."""
        if max_pack_tokens is not None:
            self.max_pack_tokens = min(self.max_pack_tokens, max_pack_tokens)
        if max_logit_mebibytes is not None:
            n_elements = max_logit_mebibytes * 2**20 // 4
            self.max_logit_elements = min(self.max_logit_elements, n_elements)
            self.max_plain_logit_elements = min(self.max_plain_logit_elements, n_elements)

    def halve(self) -> None:
        """Halves the budgets after a pack ran out of memory."""
        self.max_pack_tokens //= 2
        self._packed.clear()
        self.max_logit_elements //= 2
        self.max_plain_logit_elements //= 2
        self.say(f"out of memory: going on with {self.max_pack_tokens} tokens a pack")


def layout_for(device: str, free_bytes: int, hidden_size: int, say: Callable[[str], object]) -> Layout:
    """A layout whose packs take at most a quarter of the free memory.

    Args:
        device: "cpu", "cuda" or another one, which is treated like a CPU.
        free_bytes: memory that is free on it.
        hidden_size: of the model.
        say: told of every fall-back.
    """
    kind = device if device in _LARGEST_PACK_TOKENS else "cpu"
    # A pack of T tokens takes about 12 T^2 bytes for its mask and attention, and 64 hidden_size T for what flows.
    linear, available = 64 * hidden_size, free_bytes / 4
    fitting = int((sqrt(linear**2 + 48 * available) - linear) / 24)
    max_pack_tokens = max(LOWEST_PACK_TOKENS, min(fitting, _LARGEST_PACK_TOKENS[kind]))
    path = "flex" if kind == "cuda" else "tree"
    return Layout(max_pack_tokens, max_logit_elements=_LOGIT_ELEMENTS[kind], path=path, say=say)
