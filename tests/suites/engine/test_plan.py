"""The plan of a run: its budgets, how it becomes more careful, and that subjects are scored by one plan."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from suites.engine.plan import LOWEST_PACK_TOKENS, PATHS, PathCheck, PathName, ScoringPlan, ScoringState, plan_within
from suites.inputs import Request

PLAN = ScoringPlan("tree", 512, 4096, 2**24, 2**26)


def test_packs_are_as_large_as_a_quarter_of_the_memory_allows() -> None:
    """Little memory means small packs; much means no more than what is fast on the device."""
    tokens = [
        plan_within(device, free, 768).max_pack_tokens
        for device, free in (("cpu", 2**36), ("cuda", 2**36), ("cuda", 2**28), ("cpu", 0))
    ]

    assert tokens[:2] == [1024, 8192]
    assert 64 < tokens[2] < 2048
    assert tokens[3] == LOWEST_PACK_TOKENS == 32


def test_bounds_lower_what_the_memory_would_allow_and_never_raise_it() -> None:
    """Packs and logits stay below what is asked for; asking for nothing or for more changes nothing."""
    bounded = PLAN.bounded(max_pack_tokens=64, max_logit_mebibytes=1)

    assert bounded == replace(PLAN, max_pack_tokens=64, max_logit_elements=2**18, max_plain_logit_elements=2**18)
    assert bounded.bounded(max_pack_tokens=4096, max_logit_mebibytes=None) == bounded


@pytest.mark.parametrize("path", [path for path in PATHS if path != "single"])
def test_what_was_launched_is_halved_when_memory_runs_out(path: PathName) -> None:
    """Not the budget, which may have been far larger: the next launch is half as large, and a line names its size."""
    lines: list[str] = []
    state = ScoringState(PLAN, lines.append)

    assert state.halve(path, n_tokens=300)

    packs, batches = (150, 4096) if path in ("flex", "tree") else (512, 150)
    assert state.plan == ScoringPlan("tree", packs, batches, 2**23, 2**25)
    assert len(lines) == 1
    assert "150 tokens" in lines[0]


@pytest.mark.parametrize("path", PATHS)
def test_halving_ends_where_nothing_can_become_smaller(path: PathName) -> None:
    """After some steps, of which the last ones halve the logits alone; budgets that were smaller still stay."""
    lines: list[str] = []
    state = ScoringState(PLAN, lines.append)
    while state.halve(path, n_tokens=1):
        assert len(lines) < 12

    assert state.plan.max_logit_elements == 2**16
    assert "MiB of logits" in lines[-1]
    assert min(state.plan.max_pack_tokens, state.plan.max_batch_tokens) == 32
    least = replace(PLAN, max_pack_tokens=8, max_logit_elements=2**10, max_plain_logit_elements=2**10)
    assert least.halved("tree", n_tokens=8) == least


def test_packs_are_shared_only_where_both_models_carry_keys_and_values() -> None:
    """A model that carries gets packs of its own beside one that does not, and each finds its packs again."""
    state = ScoringState(PLAN, print)
    requests = [Request((1, 2, 3, 4, n), (5, n)) for n in range(6, 12)]

    def n_carried(*, carries: bool) -> int:
        return sum(len(pack.carried_from) for pack in state.packs_of(requests, max_tokens=12, carries=carries))

    assert n_carried(carries=False) == 0 < n_carried(carries=True)
    packs = [state.packs_of(list(requests), max_tokens=12, carries=carries) for carries in (True, False, True)]
    assert packs[0] is packs[2]


def test_subjects_are_scored_again_where_one_of_them_changed_the_plan() -> None:
    """The results of all subjects belong to the plan that the last one ended on."""
    state = ScoringState(PLAN, print)
    subjects: Sequence[str] = ("baseline", "candidate")

    def score() -> dict[str, ScoringPlan]:
        plans = {}
        for subject in subjects:
            if subject == "candidate" and state.plan.path == "tree":
                state.leave_path("the tree does not fit the candidate")
            plans[subject] = state.plan
        return plans

    assert state.on_one_plan(score) == dict.fromkeys(subjects, replace(PLAN, path="prefix"))


def test_a_check_says_what_it_found() -> None:
    """The three outcomes of a check read as sentences."""
    assert "agrees with" in str(PathCheck("tree", 3, 1e-6, 1e-4))
    assert "differs from" in str(PathCheck("tree", 3, 1.0, 1e-4))
    assert "1 greedy flags differ" in str(PathCheck("tree", 3, 0.0, 1e-4, n_greedy_differences=1))
    assert "cannot score this model (ValueError: no mask)" in str(
        PathCheck("tree", 3, None, 0.0, "ValueError: no mask")
    )
