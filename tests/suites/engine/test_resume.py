"""An evaluation that is killed goes on where it stopped; a repeated one computes nothing."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suites.engine import tree_path
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.packing import LONGEST_ROW, pack_requests
from suites.engine.plan import ScoringState, plan_within
from suites.engine.scoring import ModelScorer
from suites.inputs import Request

PACK_TOKENS = 64


def model() -> Any:
    """The same small Llama in every process."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def requests() -> list[Request]:
    """Four hundred prompts with three responses each."""
    rng = np.random.default_rng(0)

    def ids(n_tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, 96, n_tokens).tolist())

    prompts = [ids(20) for _ in range(400)]
    return [Request(prompt, ids(6)) for prompt in prompts for _ in range(3)]


def requests_of_one_tree() -> list[Request]:
    """Prompts of one task: forty tokens that all share, which packs take over from one another."""
    rng = np.random.default_rng(1)

    def ids(n_tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, 96, n_tokens).tolist())

    task = ids(40)
    return [Request(task + prompt, ids(5)) for prompt in (ids(6) for _ in range(60)) for _ in range(2)]


def score(cache_file: Path, asked: Sequence[Request] | None = None) -> list[float]:
    """All requests with the cache in that file, in small packs."""
    with ScoreCache.open(cache_file, print) as cache:
        plan = replace(plan_within("cpu", 2**40, hidden_size=32), max_pack_tokens=PACK_TOKENS)
        state = ScoringState(plan, print)
        scorer = ModelScorer(model(), pad_token_id=0, state=state, cache=cache, context="model")
        return [each.log_probability for each in scorer.score(asked or requests())]


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 only what is missing is scored, and the numbers are those of an undisturbed run."""
    cache_file = tmp_path / "scores.sqlite"
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nimport test_resume, pathlib\n"
    code += f"test_resume.score(pathlib.Path({str(cache_file)!r}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        deadline = time.monotonic() + 60
        while n_kept(cache_file) < 60:
            assert process.poll() is None, "the evaluation ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = n_kept(cache_file)
    assert 60 <= kept < len(requests())

    launched: list[int] = []
    launch = tree_path.launch_pack

    def counting(used: Any, pack: Any, limit: int, **options: Any) -> Any:
        launched.append(len(pack.requests))
        return launch(used, pack, limit, **options)

    monkeypatch.setattr(tree_path, "launch_pack", counting)
    resumed = score(cache_file)
    n_checked = 24  # in the few packs that the self-check at the start computes as well
    assert len(requests()) - kept <= sum(launched) <= len(requests()) - kept + n_checked

    launched.clear()
    np.testing.assert_array_equal(resumed, score(cache_file))
    assert launched == []
    np.testing.assert_array_equal(resumed, score(tmp_path / "other.sqlite"))


@pytest.mark.parametrize("lost", ["1", "rowid % 2", "rowid % 7 = 3", "rowid > 50", "rowid <= 50"])
@pytest.mark.parametrize("asked", [requests()[:300], requests_of_one_tree()], ids=["apart", "one tree"])
def test_scores_do_not_depend_on_which_of_them_were_kept(asked: list[Request], lost: str, tmp_path: Path) -> None:
    """Where any part of the cache is gone, what is scored anew has the same bits as in an undisturbed run."""
    cache_file = tmp_path / "scores.sqlite"
    undisturbed = score(cache_file, asked)
    with sqlite3.connect(cache_file) as connection:
        connection.execute(f"DELETE FROM scores WHERE {lost}")
    connection.close()

    np.testing.assert_array_equal(score(cache_file, asked), undisturbed)


def test_packs_that_take_over_tokens_are_what_the_test_above_is_about() -> None:
    """Its prompts are in many packs of several rows, most of which take over the tokens of the pack before."""
    packs = pack_requests(requests_of_one_tree(), max_tokens=PACK_TOKENS, carries=True)

    carried = [len(pack.carried_from) >= 40 for pack in packs]
    assert len(packs) > 3 * LONGEST_ROW
    assert [index for index, carries in enumerate(carried) if not carries] == [*range(0, len(packs), LONGEST_ROW)]


def n_kept(cache_file: Path) -> int:
    """Scores in a cache that another process may be writing."""
    if not cache_file.exists():
        return 0
    with ScoreCache.open(cache_file, print) as cache:
        return cache.info().n_scores
