"""A run that finds its scores says how they were scored and what was checked, as the run that computed them did."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from suites.engine import tree_path
from suites.engine.cache.kept import KeptResults, NotKeptError
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.plan import HowScored, ScoringState, plan_within
from suites.engine.scoring import ModelScorer
from suites.inputs import Request

SUBJECTS = ("base", "adapter")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """Two small Llamas of different weights."""

    def llama(seed: int) -> Any:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=256, initializer_range=0.3,
        )  # fmt: skip
        return LlamaForCausalLM(config).eval()

    return {name: llama(seed) for seed, name in enumerate(SUBJECTS)}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ScoreCache]:
    """The cache of a workspace."""
    with ScoreCache.open(tmp_path / "scores.sqlite", print) as opened:
        yield opened


def ids(n_tokens: int, seed: int) -> tuple[int, ...]:
    """Random token ids."""
    return tuple(np.random.default_rng(seed).integers(3, 96, n_tokens).tolist())


def requests(first: int) -> list[Request]:
    """Prompts with two responses each."""
    return [Request(ids(4 + n % 9, n), ids(1 + m, n + m)) for n in range(first, first + 12) for m in (1, 3)]


CALLS = (requests(0), requests(100), [Request(ids(60, 5), ids(4, 6)), Request(ids(60, 5), ids(9, 7))])
"""The evaluations of a suite; the last has longer requests than the others, and so a check of its own."""


def run_of(models: dict[str, Any], cache: ScoreCache, lines: list[str] | None = None, **plan: Any) -> ScoringState:
    """Scores every evaluation by both subjects, as a run does."""
    say: Callable[[str], object] = str if lines is None else lines.append
    state = ScoringState(replace(plan_within("cpu", 2**40, 32), max_pack_tokens=64, **plan), say)

    def score(asked: list[Request]) -> None:
        for name, model in models.items():
            ModelScorer(
                model, pad_token_id=0, state=state, cache=cache, context=name, kept=KeptResults(cache, name)
            ).score(asked)

    for asked in CALLS:
        state.on_one_plan(lambda asked=asked: score(asked))
    return state


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of requests of the packs that are computed."""
    launched: list[int] = []
    launch = tree_path.launch_pack

    def counting(used: Any, pack: Any, limit: int, **options: Any) -> Any:
        launched.append(len(pack.requests))
        return launch(used, pack, limit, **options)

    monkeypatch.setattr(tree_path, "launch_pack", counting)
    return launched


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_second_run_computes_nothing_and_tells_the_same(
    models: dict[str, Any], cache: ScoreCache, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Summary, path, packs and every check, in their order, in float32 and below."""
    models = {name: model.to(dtype) for name, model in models.items()}
    try:
        first = run_of(models, cache)
        launched = counted(monkeypatch)
        second = run_of(models, cache)
    finally:
        for model in models.values():
            model.to(torch.float32)

    assert launched == []
    assert len(first.checks) >= 4
    assert "compared with one forward a request" in first.summary
    assert (second.summary, second.as_record()) == (first.summary, first.as_record())


def test_a_path_that_was_left_is_left_again(
    models: dict[str, Any], cache: ScoreCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that failed is told again, with a line, and moves all subjects, without computing anything."""
    launch = tree_path.launch_pack

    def broken(used: Any, pack: Any, limit: int, **options: Any) -> Any:
        if used is models["adapter"]:
            raise RuntimeError("planted")
        return launch(used, pack, limit, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tree_path, "launch_pack", broken)
        first = run_of(models, cache)
    assert first.plan.path == "prefix"
    launched, lines = counted(monkeypatch), list[str]()
    second = run_of(models, cache, lines)

    assert launched == []
    assert (second.summary, second.as_record()) == (first.summary, first.as_record())
    assert lines == ["as in an earlier run, all subjects are scored by path prefix, in packs of at most 64 tokens"]


def test_less_memory_changes_nothing_of_what_is_told_of_scores_in_float32(
    models: dict[str, Any], cache: ScoreCache
) -> None:
    """They are found whatever packs would be computed now, and were scored in those of then."""
    first = run_of(models, cache)
    second = run_of(models, cache, max_batch_tokens=32, max_logit_elements=2**16)
    other = ScoringState(replace(plan_within("cpu", 2**40, 32), max_pack_tokens=32), str)
    kept = KeptResults(cache, "base")
    ModelScorer(models["base"], pad_token_id=0, state=other, cache=cache, context="base", kept=kept).score(CALLS[0])

    assert second.as_record() == first.as_record()
    assert other.as_record()["max_pack_tokens"] == 64
    assert other.plan.max_pack_tokens == 32


def test_what_is_missing_is_checked_although_a_check_is_told_again(models: dict[str, Any], cache: ScoreCache) -> None:
    """Nothing is computed by a path that this process did not check."""
    first = run_of(models, cache)
    cache._file.connection.execute("DELETE FROM scores WHERE rowid % 2")
    cache._file.connection.commit()
    second = run_of(models, cache)

    assert second.checks[: len(first.checks) // len(CALLS)] != []
    assert len(second.checks) > len(first.checks)


def test_what_a_later_release_keeps_is_not_taken() -> None:
    """Nor what is no record at all."""
    state = ScoringState(plan_within("cpu", 2**40, 32), str)
    how = state.as_scored("base", 1)
    assert HowScored.from_json(how.as_json()) == how
    sound = how.as_json()
    unknown_path = sound | {"plan": sound["plan"] | {"path": "loom"}}
    for value in (
        None,
        [],
        "x",
        {"plan": {}},
        sound | {"checks": [{"odd": 1}]},
        sound | {"n_threads": "x"},
        unknown_path,
    ):
        assert HowScored.from_json(value) is None


def test_an_evaluation_is_told_with_the_same_checks_whatever_was_scored_before(
    models: dict[str, Any], tmp_path: Path
) -> None:
    """What a process keeps of it is what another keeps that scores nothing else."""
    kept = []
    for calls in (CALLS, CALLS[-1:]):
        with ScoreCache.open(tmp_path / f"{len(calls)}.sqlite", print) as cache:
            state = ScoringState(replace(plan_within("cpu", 2**40, 32), max_pack_tokens=64), str)
            for asked in calls:
                state.begin_evaluation()
                scorer = ModelScorer(
                    models["base"],
                    pad_token_id=0,
                    state=state,
                    cache=cache,
                    context="base",
                    kept=KeptResults(cache, "base"),
                )
                scorer.score(asked)
            kept.append(state.latest)
            assert len(state.checks) >= len(calls)

    assert kept[0] is not None
    assert kept[0] == kept[1]


def test_what_must_be_found_is_computed_by_nobody(models: dict[str, Any], cache: ScoreCache) -> None:
    """It is an error with the name of the subject and how much is missing; what is there is found."""
    run_of(models, cache)
    state = ScoringState(replace(plan_within("cpu", 2**40, 32), max_pack_tokens=64), str)

    def required(scores: ScoreCache | None) -> ModelScorer:
        kept = KeptResults(cache, "base", required_of="adapter, seed 43")
        return ModelScorer(models["base"], pad_token_id=0, state=state, cache=scores, context="base", kept=kept)

    assert len(required(cache).score(CALLS[0])) == len(CALLS[0])
    with pytest.raises(NotKeptError, match=r"^adapter, seed 43: 24 scores$"):
        required(None).score(CALLS[0])
    with pytest.raises(NotKeptError, match=r"^adapter, seed 43: checks$"):
        required(cache).score(CALLS[0][:3])
