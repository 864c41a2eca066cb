"""Every family by every path against separate forwards; a family that is silently wrong is caught by the check."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import (
    WINDOW,
    assert_equal,
    build,
    forget_window,
    ignore_mask,
    ignore_positions,
    separate_sums,
    state_of,
    tree_requests,
    with_lora,
)

from suites.engine.causal_model import attention_window
from suites.engine.packing import pack_requests
from suites.engine.plan import plan_within
from suites.engine.scoring import ModelScorer
from suites.engine.tree_path import launch_pack
from suites.inputs import Request


@pytest.mark.parametrize(
    "family",
    ["GPT2", "Llama", "Qwen2", "Qwen3", "Mistral", "Gemma2", "Gemma3Text", "GPTNeoX", "Cohere"],
)
def test_packs_equal_separate_forwards(family: str) -> None:
    """With LoRA, in fp32, small packs and one large pack give what separate forwards give, by the tree path."""
    model = with_lora(build(family))
    requests = tree_requests()
    expected = separate_sums(model, requests)

    for max_pack_tokens in (1024, 64):
        state = state_of(max_pack_tokens=max_pack_tokens)
        assert_equal(expected, ModelScorer(model, pad_token_id=0, state=state), requests)
        assert state.plan.path == "tree"
        assert state.checks[0].passed


@pytest.mark.parametrize(
    ("family", "path"), [("Bloom", "prefix"), ("Mamba", "plain"), ("Llama", "prefix"), ("Gemma2", "prefix")]
)
def test_fallbacks_equal_separate_forwards(family: str, path: str) -> None:
    """ALiBi is scored by the prefix path, a state-space model by the plain path, and the line says so."""
    model = with_lora(build(family)) if family != "Mamba" else build(family)
    requests = tree_requests()
    lines: list[str] = []
    state = state_of(path="prefix" if family in ("Llama", "Gemma2") else "tree", say=lines.append)

    assert_equal(separate_sums(model, requests), ModelScorer(model, pad_token_id=0, state=state), requests)
    assert state.plan.path == path
    assert len(lines) == sum(not check.passed for check in state.checks)
    if lines:
        assert f"all subjects are scored by path {path}" in lines[-1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="FlexAttention is compiled, which takes a C++ compiler here")
@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Mistral"])
def test_flex_attention_equals_separate_forwards(family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Block masks give the same numbers as dense ones, windows included; where they do not compile, the tree does."""
    # torch keeps compiled kernels under a key without the instruction set: another one's give wrong numbers.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiles = torch.backends.cpu.get_cpu_capability() != "DEFAULT"  # torch's compiler takes AVX2 at least for it
    sizes = {"head_dim": 16, "hidden_size": 64} if family == "Gemma2" else {"hidden_size": 64}
    model = build(family, **sizes)
    requests = tree_requests()
    from suites.engine import scoring

    state = state_of(path="flex", max_pack_tokens=128)
    monkeypatch.setattr(scoring, "is_slower", lambda *_: False)

    assert_equal(separate_sums(model, requests), ModelScorer(model, pad_token_id=0, state=state), requests)
    assert state.plan.path == ("flex" if compiles else "tree"), state.as_record()


def test_flex_attention_is_left_where_the_dense_mask_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is right but slow is not taken, with a line that says so."""
    from suites.engine import tree_path, units

    launch = tree_path.launch_pack

    def slow(*arguments: Any, n_tokens: int) -> Any:  # noqa: ARG001
        time.sleep(0.2)
        return launch(*arguments)

    monkeypatch.setattr(units, "launch_pack_with_flex", slow)
    lines: list[str] = []
    state = state_of(path="flex", say=lines.append)
    model = build("Llama")

    assert_equal(
        separate_sums(model, tree_requests()), ModelScorer(model, pad_token_id=0, state=state), tree_requests()
    )
    assert state.plan.path == "tree"
    assert lines == ["path flex is slower than path tree here; all subjects are scored by path tree"]


def test_a_request_longer_than_a_pack_shares_its_prompt_through_the_cache() -> None:
    """Long prompts with several responses are scored right beside packs, in one call."""
    model = build("Llama")
    requests = tree_requests()
    scorer = ModelScorer(model, pad_token_id=0, state=state_of(max_pack_tokens=20))

    assert_equal(separate_sums(model, requests), scorer, requests)


short_ids = st.lists(st.integers(3, 5), min_size=1, max_size=5).map(tuple)


@pytest.fixture(scope="module")
def small_llama() -> Any:
    """One model for all examples of a property."""
    return build("Llama")


@settings(max_examples=30)
@given(
    requests=st.lists(st.builds(Request, prompt_ids=short_ids, response_ids=short_ids), min_size=1, max_size=20),
    budget=st.integers(min_value=1, max_value=60),
    seed=st.integers(min_value=0, max_value=9),
)
def test_any_requests_in_any_order_under_any_budget(
    requests: list[Request], budget: int, seed: int, small_llama: Any
) -> None:
    """Whatever is asked, each response gets the score of the plain path, in the order of the requests."""
    shuffled = [requests[index] for index in np.random.default_rng(seed).permutation(len(requests))]
    plain = ModelScorer(small_llama, pad_token_id=0, state=state_of(path="plain")).score(shuffled)
    scores = ModelScorer(small_llama, pad_token_id=0, state=state_of(max_pack_tokens=budget)).score(shuffled)

    for expected, score in zip(plain, scores, strict=True):
        np.testing.assert_allclose(score.token_log_probabilities, expected.token_log_probabilities, atol=1e-4)


def test_all_subjects_share_one_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second subject is scored on the packs of the first, which are not laid out again."""
    from suites.engine import plan as plan_module

    calls = []
    pack_requests = plan_module.pack_requests
    monkeypatch.setattr(plan_module, "pack_requests", lambda *a, **k: calls.append(1) or pack_requests(*a, **k))
    state = state_of()
    for subject in ("baseline", "candidate"):
        ModelScorer(build("Llama"), pad_token_id=0, state=state, context=subject).score(tree_requests())

    assert len(calls) == 1  # the check computes packs of this layout, at their full size


@pytest.mark.parametrize("fault", [ignore_positions, ignore_mask])
def test_a_silently_wrong_family_is_caught(fault: Callable[[Any], Any]) -> None:
    """A model that gives wrong numbers for packs, without an error, is scored by another path, and rightly."""
    requests = tree_requests()
    expected = separate_sums(build("Llama"), requests)
    state = state_of()

    assert_equal(expected, ModelScorer(fault(build("Llama")), pad_token_id=0, state=state), requests)
    assert not state.checks[0].passed
    assert state.checks[0].difference_nats is not None
    assert state.plan.path != "tree"


def test_a_window_that_the_mask_forgets_is_caught() -> None:
    """A Mistral whose window is not where the configuration says it is fails the check."""
    model = build("Mistral")
    requests = tree_requests()
    expected = separate_sums(model, requests)
    forget_window(model)
    state = state_of()
    assert_equal(expected, ModelScorer(model, pad_token_id=0, state=state), requests)
    assert state.plan.path != "tree"


def test_out_of_memory_halves_the_budget_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that does not fit into memory is computed in smaller ones, with a line; the numbers stay."""
    from suites.engine import tree_path

    model = build("Llama")
    requests = tree_requests()
    launch = tree_path.launch_pack

    def narrow(model: Any, pack: Any, limit: int, **options: Any) -> Any:
        if pack.n_tokens > 70:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")
        return launch(model, pack, limit, **options)

    monkeypatch.setattr(tree_path, "launch_pack", narrow)
    lines: list[str] = []
    state = state_of(max_pack_tokens=256, say=lines.append)

    assert_equal(separate_sums(model, requests), ModelScorer(model, pad_token_id=0, state=state), requests)
    (n_tokens,) = {pack.n_tokens for pack in pack_requests([*dict.fromkeys(requests)], max_tokens=256)}
    assert lines == [f"out of memory: scoring goes on in packs of at most {n_tokens // 2} tokens"]


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the program ends the evaluation."""
    from suites.engine import units

    def broken(*_: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(units, "launch_batch", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        ModelScorer(build("Llama"), pad_token_id=0, state=state_of(path="plain")).score(tree_requests())


def test_windows_by_family() -> None:
    """The window is what a layer really uses, not what stands unused in the configuration."""
    windows = {
        family: attention_window(build(family).config) for family in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma2")
    }

    assert windows == {"Llama": None, "Mistral": WINDOW, "Qwen2": WINDOW, "Qwen3": None, "Gemma2": WINDOW}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process can be reset on Linux alone")
def test_a_pack_with_a_large_vocabulary_stays_within_its_memory() -> None:
    """4,096 tokens that all predict, with a vocabulary of 150,000, take less than 1 GiB above model and states."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_paths; print(test_paths.peak_bytes_of_a_large_pack())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    # A process of its own: the peak of this one may lie in another test.
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    peak_bytes = int(done.stdout.split()[-1])

    assert 2**24 * 4 < peak_bytes < 2**30


def peak_bytes_of_a_large_pack() -> int:
    """What the peak memory of this process grew by while one pack was scored."""

    def kibibytes(name: str) -> int:
        return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    sizes = {"vocab_size": 150_000, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    model = build("Llama", **sizes, max_position_embeddings=8192, num_attention_heads=1, num_key_value_heads=1)
    rng = np.random.default_rng(0)
    prompt = tuple(rng.integers(3, 150_000, 4).tolist())
    requests = [Request(prompt, tuple(rng.integers(3, 150_000, 256).tolist())) for _ in range(16)]
    (pack,) = pack_requests(requests, max_tokens=4096)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = kibibytes("VmRSS")
    with torch.inference_mode():
        launch_pack(model, pack, plan_within("cpu", 2**40, 64).max_logit_elements)
    return (kibibytes("VmHWM") - before) * 1024
