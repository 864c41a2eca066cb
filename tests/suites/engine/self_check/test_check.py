"""The self-check catches what depends on other rows, on a pack's length or on a branch, whenever it first occurs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from suites.engine.plan import PATHS, PathName, ScoringState, plan_within
from suites.engine.scoring import ModelScorer
from suites.engine.self_check.risks import LARGEST_SAMPLE
from suites.inputs import Request

N_VOCABULARY = 96
SIZES = {"vocab_size": N_VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0}
LLAMA = SIZES | {
    "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "initializer_range": 0.3,
}  # fmt: skip
BOUNDARY = 40
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "factor": 6.4, "original_max_position_embeddings": BOUNDARY,
    "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 6.0, 9.0],
}  # fmt: skip


def llama(**changes: Any) -> Any:
    """A Llama with random weights."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**LLAMA | changes)).eval()


def gpt_neo() -> Any:
    """A GPT-Neo whose second layer sees sixteen tokens, counted in the row and not by position."""
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "num_heads": 4, "window_size": 16, "attention_types": [[["global", "local"], 1]]}
    config = GPTNeoConfig(vocab_size=N_VOCABULARY, hidden_size=32, initializer_range=0.3, **sizes)
    return GPTNeoForCausalLM(config).eval()


def ids(n_tokens: int, seed: int) -> tuple[int, ...]:
    """Random token ids."""
    return tuple(np.random.default_rng(seed).integers(3, N_VOCABULARY, n_tokens).tolist())


def mixed_requests() -> list[Request]:
    """Short and long, in trees and apart."""
    preamble = ids(6, 0)
    prompts = [preamble + ids(n, n) for n in (2, 9, 20, 33, 34, 36, 60)]
    return [Request(prompt, ids(n, 100 + n)) for prompt in prompts for n in (1, 3, 9)] + [Request(ids(1, 7), ids(4, 8))]


def state_of(path: PathName = "tree", say: Callable[[str], object] = str, **changes: Any) -> ScoringState:
    """The state of a run that begins with this path."""
    return ScoringState(replace(plan_within("cpu", 2**40, 32), path=path, **changes), say)


def separate_sums(model: Any, requests: list[Request]) -> list[float]:
    """Log-probabilities in nats from one forward a request."""
    sums = []
    for request in requests:
        inputs = torch.tensor([(request.prompt_ids + request.response_ids)[:-1]])
        with torch.inference_mode():
            logits = model(input_ids=inputs).logits[0, len(request.prompt_ids) - 1 :].double()
        targets = torch.tensor(request.response_ids)
        sums.append(float(logits.log_softmax(-1)[torch.arange(len(targets)), targets].sum()))
    return sums


def assert_right(model: Any, state: ScoringState, *calls: list[Request]) -> None:
    """Each call gives what one forward a request gives."""
    scorer = ModelScorer(model, pad_token_id=0, state=state)
    for requests in calls:
        expected = separate_sums(model, requests)
        scores = [score.log_probability for score in scorer.score(requests)]
        np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=1e-6)


@pytest.mark.parametrize("path", [path for path in PATHS if path != "flex"])
@pytest.mark.parametrize("max_pack_tokens", [1024, 64, 24])
def test_longrope_is_right_on_every_path(path: PathName, max_pack_tokens: int) -> None:
    """Short requests keep the short factors beside long ones, and no path is left for it."""
    state = state_of(path, max_pack_tokens=max_pack_tokens)

    assert_right(llama(rope_parameters=LONGROPE), state, mixed_requests())
    assert state.plan.path == path


def test_a_window_by_index_is_caught() -> None:
    """Packs of GPT-Neo that exceed its window are wrong although no request does, and small packs are right."""
    prompt = ids(8, 1)
    small = [Request(prompt, ids(3, 2)), Request(prompt, ids(2, 3))]
    large = [Request(prompt, ids(4, seed)) for seed in range(10, 30)]
    state = state_of()

    assert_right(gpt_neo(), state, small, large)
    assert [check.passed for check in state.checks] == [True, False, True]
    assert state.plan.path == "prefix"


def ignore_mask(model: Any) -> Any:
    """Plants a family that silently replaces a mask of four dimensions by its own."""
    forward = model.model.forward

    def causal(*args: Any, attention_mask: Any = None, position_ids: Any = None, **options: Any) -> Any:
        own = attention_mask is not None and attention_mask.ndim == 4
        positions = torch.arange(position_ids.shape[1])[None] if own else position_ids
        return forward(*args, attention_mask=None if own else attention_mask, position_ids=positions, **options)

    model.model.forward = causal
    return model


def ignore_cache(model: Any) -> Any:
    """Plants a family that takes a cache and does not look into it."""
    forward = model.model.forward

    def forgetful(*args: Any, past_key_values: Any = None, attention_mask: Any = None, **options: Any) -> Any:
        mask = attention_mask if past_key_values is None else None
        return forward(*args, attention_mask=mask, **options)

    model.model.forward = forgetful
    return model


LINE = [Request(ids(40, 1)[:n], ids(40, 1)[n : n + 1]) for n in (20, 21, 22)]
TREE = [Request(ids(6, 4), ids(3, seed)) for seed in (5, 6)]
ONE_TOKEN = [Request(ids(30, 1), (token,)) for token in (5, 6, 7)]


@pytest.mark.parametrize(
    ("fault", "path", "first", "later"),
    [
        pytest.param(ignore_mask, "tree", LINE, TREE, id="a line, and later a branch"),
        pytest.param(ignore_mask, "tree", LINE[:1], TREE, id="one request, and later a branch"),
        pytest.param(ignore_cache, "prefix", ONE_TOKEN, TREE, id="one token, and later several"),
    ],
)
def test_what_a_later_call_brings_is_checked_then(
    fault: Callable[[Any], Any], path: PathName, first: list[Request], later: list[Request]
) -> None:
    """A check without a branch, or without a second token, settles nothing about shorter requests that have them."""
    state = state_of(path)

    scorer = ModelScorer(fault(llama()), pad_token_id=0, state=state)
    for requests in (first, later):
        scores = [score.log_probability for score in scorer.score(requests)]
        np.testing.assert_allclose(scores, separate_sums(llama(), requests), atol=1e-4, rtol=1e-6)
    assert [check.passed for check in state.checks[:2]] == [True, False]
    assert state.plan.path != path


def test_nothing_new_is_not_checked_again() -> None:
    """The same kind of requests in a second call takes no further forwards."""
    model, state = llama(), state_of()
    scorer = ModelScorer(model, pad_token_id=0, state=state)
    scorer.score(mixed_requests())
    scorer.score([Request(request.prompt_ids, request.response_ids[::-1]) for request in mixed_requests()])

    assert len(state.checks) == 1


def test_a_check_takes_at_most_sixteen_forwards_of_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the packs that it computes are those that are scored: nothing else is computed twice."""
    from suites.engine import tree_path, units

    alone, packs = [], []
    launch, launch_pack = units.launch_batch, tree_path.launch_pack
    monkeypatch.setattr(units, "launch_batch", lambda *a: alone.append(a[1]) or launch(*a))
    monkeypatch.setattr(tree_path, "launch_pack", lambda *a, **k: packs.append(a[1]) or launch_pack(*a, **k))
    requests = mixed_requests() * 3
    ModelScorer(llama(), pad_token_id=0, state=state_of(max_pack_tokens=128)).score(requests)

    assert 8 < len(alone) <= LARGEST_SAMPLE
    assert {len(batch) for batch in alone} == {1}
    assert len(packs) == len({id(pack) for pack in packs}) > 1


@pytest.mark.parametrize("n_prompts", [2, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_do_not_depend_on_whether_a_check_was_made(n_prompts: int, dtype: torch.dtype) -> None:
    """Bit for bit, in few packs and in many, though packs take keys and values from the one before."""
    prompts = [ids(20, 0) + ids(6, seed) for seed in range(n_prompts)]
    requests = [Request(prompt, ids(5, seed)) for prompt in prompts for seed in range(100, 106)]
    scorer = ModelScorer(llama().to(dtype), pad_token_id=0, state=(state := state_of(max_pack_tokens=64)))
    checked, unchecked = scorer.score(requests), scorer.score(requests)

    assert len(state.checks) == 1
    for first, second in zip(checked, unchecked, strict=True):
        np.testing.assert_array_equal(first.token_log_probabilities, second.token_log_probabilities)


def by_the_batch(model: Any) -> Any:
    """Plants a family whose rows depend on each other, as a mixture of experts with a capacity has them."""
    embed = model.model.embed_tokens.forward
    model.model.embed_tokens.forward = lambda ids: embed(ids) + 0.3 * embed(ids).mean(dim=(0, 1))
    return model


def by_the_length(model: Any) -> Any:
    """Plants a family whose forward depends on its length, as one with a temperature by length has it."""
    embed = model.model.embed_tokens.forward
    model.model.embed_tokens.forward = lambda ids: embed(ids) * (1 + ids.shape[1] / 50)
    return model


def by_the_rows(model: Any) -> Any:
    """Plants a family that is right for one row at a time."""
    embed = model.model.embed_tokens.forward
    model.model.embed_tokens.forward = lambda ids: embed(ids) * (1 if len(ids) == 1 else 1.5)
    return model


@pytest.mark.parametrize("fault", [by_the_batch, by_the_length, by_the_rows])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_forward_that_depends_on_its_batch_is_caught(fault: Callable[[Any], Any], dtype: torch.dtype) -> None:
    """Rows that influence each other are scored one a forward in the end, however the run begins."""
    model = fault(llama().to(dtype))
    state = state_of("plain")
    scores = ModelScorer(model, pad_token_id=0, state=state).score(mixed_requests())

    assert state.plan.path == "single"
    expected = separate_sums(model, mixed_requests())
    differences = [abs(score.log_probability - nats) for score, nats in zip(scores, expected, strict=True)]
    assert max(differences) <= (1e-4 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("length", [15, 53, *(pytest.param(each, marks=pytest.mark.slow) for each in (37, 71))])
@pytest.mark.parametrize("path", ["tree", "plain"])
def test_a_length_that_no_configuration_names_is_caught_where_a_unit_straddles_it(path: PathName, length: int) -> None:
    """Batches that lie wholly above such a length are right, and do not speak for the one with requests below it."""
    model = llama()
    embed = model.model.embed_tokens.forward
    model.model.embed_tokens.forward = lambda tokens: embed(tokens) * (1.6 if tokens.shape[1] > length else 1.0)
    requests = [Request(ids(4 + n % 80, n), ids(1 + n % 6, 500 + n)) for n in range(120)]
    state = state_of(path, max_batch_tokens=512)

    assert_right(model, state, requests)
    assert state.plan.path == "single"


@pytest.mark.parametrize("error", [AssertionError, ImportError, IndexError, NotImplementedError])
def test_whatever_a_path_raises_it_is_left(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that asserts or is not installed ends no run, and the line gives its words."""
    from suites.engine import tree_path

    def broken(*_: Any, **__: Any) -> Any:
        raise error("no such kernel")

    monkeypatch.setattr(tree_path, "launch_pack", broken)
    lines: list[str] = []
    state = state_of(say=lines.append)

    assert_right(llama(), state, mixed_requests())
    assert state.plan.path == "prefix"
    assert f"cannot score this model ({error.__name__}: no such kernel)" in lines[0]


def test_heads_that_call_an_inner_decoder_are_scored() -> None:
    """OPT's head asks the decoder inside its base model; packs are right there too."""
    torch.manual_seed(0)
    config = OPTConfig(
        **SIZES, ffn_dim=64, num_attention_heads=4, max_position_embeddings=256, word_embed_proj_dim=16, init_std=0.3
    )
    state = state_of()

    assert_right(OPTForCausalLM(config).eval(), state, mixed_requests())
    assert state.plan.path == "tree"


@pytest.mark.parametrize("path", [path for path in PATHS if path != "flex"])
def test_of_equal_logits_the_first_alone_is_greedy(path: PathName) -> None:
    """Two tokens tie for the most probable one; the first, which argmax names, is greedy on every path."""
    model, prompt = llama(), ids(9, 1)
    with torch.inference_mode():
        best = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
        first, second = (best - 1, best) if best % 2 else (best, best + 1)
        for twin in (first, second):
            model.lm_head.weight[twin] = model.lm_head.weight[best].clone()
    requests = [Request(prompt, (token,)) for token in (first, second)]
    scores = ModelScorer(model, pad_token_id=0, state=state_of(path)).score(requests)

    assert scores[0].log_probability == scores[1].log_probability
    assert [score.is_greedy for score in scores] == [True, False]


def test_flags_that_differ_fail_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with right sums and wrong greedy flags is left."""
    from suites.engine import tree_path

    launch = tree_path.launch_pack

    def flipped(*arguments: Any, **options: Any) -> Any:
        sums, flags = launch(*arguments, **options)
        return sums, ~flags

    monkeypatch.setattr(tree_path, "launch_pack", flipped)
    state = state_of()

    assert_right(llama(), state, [Request(ids(9, 1), (token,)) for token in range(3, 20)])
    assert state.plan.path == "prefix"
    assert state.checks[0].n_greedy_differences == 1


def test_missing_numbers_fail_no_path() -> None:
    """Where one forward a request gives NaN as well, the path is not to blame."""
    model = llama()
    with torch.inference_mode():
        model.lm_head.weight[0] = float("nan")
    state = state_of()
    scores = ModelScorer(model, pad_token_id=0, state=state).score(mixed_requests())

    assert state.plan.path == "tree"
    assert all(np.isnan(score.log_probability) for score in scores)


@pytest.mark.parametrize(("path", "unit"), [("prefix", "launch_prompt_batch"), ("plain", "launch_batch")])
def test_out_of_memory_halves_the_batches_of_every_path(
    path: PathName, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was launched is halved until it fits, also where packs are as small as they get."""
    from suites.engine import units

    launch, sizes = getattr(units, unit), []

    def narrow(model: Any, batch: Any, *rest: Any) -> Any:
        sizes.append(len(batch) * max(request.n_inputs for request in batch))
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return launch(model, batch, *rest)

    monkeypatch.setattr(units, unit, narrow)
    lines: list[str] = []
    state = state_of(path, say=lines.append, max_pack_tokens=32)
    requests = [Request(ids(20, 1), ids(3, seed)) for seed in range(30)]

    assert_right(llama(), state, requests)
    assert state.plan.path == path
    assert lines
    assert all("out of memory: scoring goes on in batches of at most" in line for line in lines)
    assert len(lines) <= 4


def test_a_lack_of_memory_that_nothing_mends_is_told_in_the_devices_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request that does not fit alone ends the evaluation, after its logits were made as small as they get."""
    from suites.engine import units

    def full(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(units, "launch_batch", full)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        ModelScorer(llama(), pad_token_id=0, state=state_of("single")).score(mixed_requests())
