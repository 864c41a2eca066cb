"""Packs hold each request once, within the budget, and no branch sees another."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suites.engine.packing import Pack, is_visible, pack_requests
from suites.inputs import Request

tokens = st.integers(min_value=0, max_value=2)
requests_strategy = st.lists(
    st.builds(
        Request,
        prompt_ids=st.lists(tokens, min_size=1, max_size=6).map(tuple),
        response_ids=st.lists(tokens, min_size=1, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=24,
    unique=True,
)


def visible_to(pack: Pack, row: int, window: int | None = None) -> np.ndarray:
    """Indices of the tokens that a token of the pack may see."""
    return np.flatnonzero(is_visible(row, np.arange(pack.n_tokens), pack.ends, pack.positions, window))


def seen_by(pack: Pack, row: int) -> tuple[int, ...]:
    """The token ids that a token of the pack may see, in order of their positions."""
    visible = visible_to(pack, row)
    assert list(pack.positions[visible]) == list(range(len(visible)))
    return tuple(int(token) for token in pack.token_ids[visible])


@given(requests=requests_strategy, max_tokens=st.integers(min_value=1, max_value=40))
def test_every_response_token_is_predicted_once_from_exactly_its_own_past(
    requests: list[Request], max_tokens: int
) -> None:
    """Each response token has one prediction, made by a token that sees its request's past and nothing else."""
    packs = pack_requests(requests, max_tokens=max_tokens)

    assert sorted(map(repr, requests)) == sorted(repr(request) for pack in packs for request in pack.requests)
    for pack in packs:
        target = 0
        for request in pack.requests:
            whole = request.prompt_ids + request.response_ids
            for n_past in range(len(request.prompt_ids), len(whole)):
                assert whole[:n_past] == seen_by(pack, int(pack.rows[pack.target_rows[target]]))
                target += 1
        assert target == len(pack.target_rows)


@given(requests=requests_strategy, max_tokens=st.integers(min_value=1, max_value=40))
def test_a_pack_exceeds_the_budget_only_with_a_single_request(requests: list[Request], max_tokens: int) -> None:
    """A pack of several requests stays within the budget."""
    for pack in pack_requests(requests, max_tokens=max_tokens):
        assert pack.n_tokens <= max_tokens or len(pack.requests) == 1


@given(requests=requests_strategy, seed=st.integers(min_value=0, max_value=99))
def test_packs_do_not_depend_on_the_order_of_requests(requests: list[Request], seed: int) -> None:
    """The same requests in another order give the same packs."""
    shuffled = [requests[index] for index in np.random.default_rng(seed).permutation(len(requests))]

    expected = [pack.token_ids.tolist() for pack in pack_requests(requests, max_tokens=12)]
    assert expected == [pack.token_ids.tolist() for pack in pack_requests(shuffled, max_tokens=12)]


@given(requests=requests_strategy)
def test_one_pack_without_a_budget_is_the_prefix_tree(requests: list[Request]) -> None:
    """A large budget computes each distinct prefix once."""
    inputs = [(request.prompt_ids + request.response_ids)[:-1] for request in requests]
    n_distinct_prefixes = len({whole[:n] for whole in inputs for n in range(1, len(whole) + 1)})
    # requests without a common first token share nothing, so several packs would cost the same: one is cheaper to start
    packs = pack_requests(requests, max_tokens=10_000)

    assert n_distinct_prefixes == sum(pack.n_tokens for pack in packs)


def brute_force_cost(lengths: list[tuple[int, ...]], max_tokens: int) -> int:
    """The fewest tokens over all ways to cut the sorted inputs into runs that fit."""
    n = len(lengths)
    best = None
    for cuts in range(2 ** (n - 1)):
        starts = [0] + [k for k in range(1, n) if cuts >> (k - 1) & 1]
        total = 0
        for start, stop in zip(starts, [*starts[1:], n], strict=True):
            run = lengths[start:stop]
            cost = len({whole[:k] for whole in run for k in range(1, len(whole) + 1)})
            if cost > max_tokens and stop - start > 1:
                break
            total += cost
        else:
            best = total if best is None else min(best, total)
    assert best is not None
    return best


@settings(max_examples=60)
@given(requests=requests_strategy.filter(lambda r: len(r) <= 9), max_tokens=st.integers(min_value=4, max_value=20))
def test_cuts_recompute_as_few_tokens_as_possible(requests: list[Request], max_tokens: int) -> None:
    """No other way to cut the sorted requests computes fewer tokens."""
    inputs = sorted((request.prompt_ids + request.response_ids)[:-1] for request in requests)
    packs = pack_requests(requests, max_tokens=max_tokens, tokens_per_pack=0)

    assert brute_force_cost(inputs, max_tokens) == sum(pack.n_tokens for pack in packs)


def test_a_window_counts_positions_of_the_request_not_of_the_pack() -> None:
    """With a window of 2 the second branch still sees the last prompt token, far away in the pack."""
    requests = [Request((1, 2), (3, 4, 5, 6)), Request((1, 2), (7, 8))]
    (pack,) = pack_requests(requests, max_tokens=100)

    row = pack.token_ids.tolist().index(7)
    assert pack.token_ids[visible_to(pack, row, window=2)].tolist() == [2, 7]


def test_a_request_without_response_is_refused() -> None:
    """An empty response has no log-probability."""
    with pytest.raises(ValueError, match="at least one"):
        pack_requests([Request((1,), ())], max_tokens=8)


@given(requests=requests_strategy, max_tokens=st.integers(min_value=1, max_value=40))
def test_carried_tokens_are_those_of_the_pack_before(requests: list[Request], max_tokens: int) -> None:
    """What a pack takes over saw the very same past in the pack before it, and predicts nothing any more."""
    packs = pack_requests(requests, max_tokens=max_tokens, carries=True)

    assert len(packs[0].carried_from) == 0
    for before, pack in pairwise(packs):
        n_carried = len(pack.carried_from)
        for place, source in enumerate(pack.carried_from):
            assert seen_by(pack, place) == seen_by(before, int(source))
        assert pack.rows.min() >= n_carried
        assert pack.n_computed == pack.n_tokens - n_carried
    whole = pack_requests(requests, max_tokens=max_tokens)
    assert [pack.token_ids.tolist() for pack in whole] == [pack.token_ids.tolist() for pack in packs]
