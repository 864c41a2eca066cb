"""Lays requests out in packs with shared prefixes once, by arithmetic on token ids; no model, no torch.

The inputs of all requests are sorted, and each shares its longest common prefix with its predecessor. A pack is a
stretch of neighbours in that order and costs the sum of (length - shared). Its tokens are laid out in preorder of the
prefix tree: token i may see token j exactly when j <= i < ends[j], where ends[j] closes the subtree of j. That one
array is the whole mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suites.inputs import Request

Integers = NDArray[np.int64]
LONGEST_ROW = 8
"""Packs that may follow one another with carried tokens: what is computed again where one of them alone is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One row of tokens that holds many requests, shared prefixes once."""

    token_ids: Integers
    """Shape (n_tokens,)."""
    positions: Integers
    """Shape (n_tokens,): depth in the prefix tree, which is the token's position in every request that contains it."""
    ends: Integers
    """Shape (n_tokens,): end of each token's subtree, exclusive."""
    rows: Integers
    """Shape (n_rows,): ascending indices of the tokens that predict a response token; only they need logits."""
    target_rows: Integers
    """Shape (n_targets,): for each response token the index into `rows` of the token that predicts it, request after
    request."""
    requests: tuple[Request, ...]
    """Requests of the pack, in the order of `target_rows`."""
    carried_from: Integers
    """Shape (n_carried,): indices of this pack's first tokens in the pack before, which has computed them."""

    @property
    def n_tokens(self) -> int:
        """Number of tokens, carried ones included."""
        return len(self.token_ids)

    @property
    def n_computed(self) -> int:
        """Number of tokens to compute where the pack before was computed just now."""
        return len(self.token_ids) - len(self.carried_from)


def is_visible(row: Any, column: Any, ends: Any, positions: Any, window: int | None) -> Any:
    """Whether the token at `row` of a pack may see the one at `column`, by elements of NumPy arrays or torch tensors.

    Args:
        row: Indices of tokens.
        column: Indices of tokens, of a shape that fits that of `row`.
        ends: Ends of the pack's tokens (`Pack.ends`).
        positions: Positions of the pack's tokens (`Pack.positions`).
        window: Positions that a sliding-window layer sees, the token's own included; None for all.
    """
    seen = (column <= row) & (row < ends[column])
    return seen if window is None else seen & (positions[row] - positions[column] < window)


def pack_requests(
    requests: Sequence[Request], *, max_tokens: int, tokens_per_pack: int = 16, carries: bool = False
) -> list[Pack]:
    """Lays all requests out in packs of at most `max_tokens` so that the fewest tokens are computed.

    Packs and their order depend on the requests alone, so that every subject is scored on the same packs. The last
    token of a response is predicted but never an input.

    Args:
        requests: Distinct requests; one that is longer than the budget gets a pack of its own.
        max_tokens: Budget of a pack.
        tokens_per_pack: Cost of starting a pack, in tokens.
        carries: Whether tokens that a pack shares with the one before are carried over instead of computed again, in
            rows of at most `LONGEST_ROW` packs.

    Raises:
        ValueError: A request has an empty prompt or response.
    """
    if any(not request.prompt_ids or not request.response_ids for request in requests):
        raise ValueError("a request needs at least one prompt token and one response token")
    ordered = sorted(requests, key=lambda request: (_inputs(request), len(request.prompt_ids), request.response_ids))
    inputs = [_inputs(request) for request in ordered]
    shared = [0, *(_n_shared(first, second) for first, second in pairwise(inputs))]
    starts = _best_starts([len(ids) for ids in inputs], shared, max_tokens, tokens_per_pack)
    packs: list[Pack] = []
    path: list[int] = []
    for number, (start, stop) in enumerate(pairwise([*starts, len(ordered)])):
        # Carried tokens have no logits any more: the one that predicts a request's first response token is computed.
        n_free = min(len(request.prompt_ids) for request in ordered[start:stop]) - 1
        carried = path[: min(shared[start], n_free)] if carries and number % LONGEST_ROW else []
        pack, path = _lay_out(ordered[start:stop], inputs[start:stop], shared[start:stop], carried)
        packs.append(pack)
    return packs


def _inputs(request: Request) -> tuple[int, ...]:
    """Input tokens of a request."""
    return (request.prompt_ids + request.response_ids)[:-1]


def _n_shared(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Length of the longest common prefix."""
    limit = min(len(first), len(second))
    if first[:limit] == second[:limit]:
        return limit
    low, high = 0, limit  # first[:low] is shared, first[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle)
    return low


def _best_starts(lengths: Sequence[int], shared: Sequence[int], max_tokens: int, tokens_per_pack: int) -> list[int]:
    """Returns the starts of the packs with the fewest tokens computed twice (the shared ones at each start).

    Dynamic programme over the sorted inputs: a pack i..j costs lengths[i] + sum(lengths[k] - shared[k], i < k <= j), so
    all divisions differ only by sum(shared[i]) over the starts.
    """
    own = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64) - np.asarray(shared, dtype=np.int64))])
    cost = [0] * (len(lengths) + 1)
    start_of = [0] * (len(lengths) + 1)
    earliest = 0
    for stop in range(1, len(lengths) + 1):
        while earliest < stop - 1 and own[stop] - own[earliest] + shared[earliest] > max_tokens:
            earliest += 1
        start_of[stop] = min(range(earliest, stop), key=lambda start: cost[start] + shared[start])
        cost[stop] = cost[start_of[stop]] + shared[start_of[stop]] + tokens_per_pack
    starts: list[int] = []
    stop = len(lengths)
    while stop:
        stop = start_of[stop]
        starts.append(stop)
    return starts[::-1]


def _lay_out(
    requests: Sequence[Request], inputs: Sequence[tuple[int, ...]], shared: Sequence[int], carried: Sequence[int]
) -> tuple[Pack, list[int]]:
    """Lays neighbouring inputs out in preorder of their prefix tree; also returns where the last input's tokens are."""
    token_ids: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    path: list[int] = []  # index in the pack of each token of the current input
    predicting: list[int] = []
    for request, ids, n_shared in zip(requests, inputs, [0, *shared[1:]], strict=True):
        for index in path[n_shared:]:
            ends[index] = len(token_ids)
        new = ids[n_shared:]
        path = path[:n_shared] + list(range(len(token_ids), len(token_ids) + len(new)))
        token_ids.extend(new)
        positions.extend(range(n_shared, len(ids)))
        ends.extend([0] * len(new))  # set when their subtree closes
        predicting.extend(path[len(request.prompt_ids) - 1 :])
    for index in path:
        ends[index] = len(token_ids)
    rows, target_rows = np.unique(np.asarray(predicting, dtype=np.int64), return_inverse=True)
    pack = Pack(
        token_ids=np.asarray(token_ids, dtype=np.int64),
        positions=np.asarray(positions, dtype=np.int64),
        ends=np.asarray(ends, dtype=np.int64),
        rows=rows,
        target_rows=target_rows.astype(np.int64),
        requests=tuple(requests),
        carried_from=np.asarray(carried, dtype=np.int64),
    )
    return pack, path
