"""Every family by every path against separate forwards; a family that is silently wrong is caught by the check."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suites.engine.causal_model import attention_window
from suites.engine.packing import pack_requests
from suites.engine.plan import ScoringState, plan_within
from suites.engine.scoring import ModelScorer
from suites.engine.tree_path import launch_pack
from suites.inputs import Request

N_VOCABULARY = 96
WINDOW = 8
SIZES = {
    "vocab_size": N_VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MIXED_LAYERS = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}


def state_of(say: Callable[[str], object] = str, **changes: Any) -> ScoringState:
    """The state of a run that has a CPU with plenty of memory, its plan changed as asked for."""
    return ScoringState(replace(plan_within("cpu", 2**40, hidden_size=64), **changes), say)


def build(family: str, **changes: Any) -> Any:
    """A model of a family with random weights."""
    import transformers

    special = {
        "GPT2": {
            "vocab_size": N_VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256,
            "initializer_range": 0.3,
        },
        "Bloom": {"vocab_size": N_VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
        "Mamba": {"vocab_size": N_VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3},
        "GPTNeoX": {key: value for key, value in SIZES.items() if key != "num_key_value_heads"},
        "Mistral": SIZES | {"sliding_window": WINDOW},
        "Qwen2": SIZES | {"use_sliding_window": True} | MIXED_LAYERS,
        "Qwen3": SIZES | {"head_dim": 8},
        "Gemma2": SIZES | {"head_dim": 8, "final_logit_softcapping": 3.0} | MIXED_LAYERS,
        "Gemma3Text": SIZES | {"head_dim": 8} | MIXED_LAYERS,
        "Cohere": SIZES | {"logit_scale": 0.0625},
    }  # fmt: skip
    torch.manual_seed(0)
    settings = special.get(family, SIZES) | changes
    model_name = {"Gemma3Text": "Gemma3ForCausalLM"}.get(family, f"{family}ForCausalLM")
    model_name = {"GPT2": "GPT2LMHeadModel"}.get(family, model_name)
    config = getattr(transformers, f"{family}Config")(**settings)
    return getattr(transformers, model_name)(config).eval()


def with_lora(model: Any) -> Any:
    """The model with a random, not an empty, adapter on every projection."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    return get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    ).eval()


def tree_requests() -> list[Request]:
    """A preamble shared by all, questions by their choices, choices by their beginnings; longer than the window."""
    rng = np.random.default_rng(0)

    def ids(n_tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, N_VOCABULARY, n_tokens).tolist())

    preamble = ids(12)
    requests = []
    for _ in range(4):
        prompt = preamble + ids(int(rng.integers(2, 9)))
        beginning = ids(3)
        requests += [Request(prompt, beginning + ids(int(rng.integers(1, 6)))) for _ in range(2)]
        requests += [Request(prompt, ids(1)), Request(prompt, ids(2))]
    return [*requests, Request(ids(2), ids(3)), Request(ids(40), ids(9)), requests[0]]


def separate_sums(model: Any, requests: list[Request]) -> list[float]:
    """Log-probabilities from one forward a request, in nats."""
    sums = []
    for request in requests:
        token_ids = torch.tensor([request.prompt_ids + request.response_ids])
        with torch.inference_mode():
            logits = model(input_ids=token_ids).logits[0, len(request.prompt_ids) - 1 : -1].double()
        targets = torch.tensor(request.response_ids)
        sums.append(float(logits.log_softmax(-1)[torch.arange(len(targets)), targets].sum()))
    return sums


def assert_equal(expected: list[float], scorer: ModelScorer, requests: list[Request]) -> None:
    """Within 1e-4 nats a response."""
    scores = scorer.score(requests)
    np.testing.assert_allclose([score.log_probability for score in scores], expected, atol=1e-4, rtol=1e-6)


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


@settings(deadline=None, max_examples=30)
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


def ignore_positions(model: Any) -> Any:
    """Plants the fault of a family that takes position_ids and silently ignores them."""
    forward = model.model.forward

    def in_a_row(*args: Any, position_ids: Any = None, **options: Any) -> Any:  # noqa: ARG001
        return forward(*args, **options)

    model.model.forward = in_a_row
    return model


def ignore_mask(model: Any) -> Any:
    """Plants the fault of a family that silently replaces a mask of four dimensions by its own."""
    forward = model.model.forward

    def causal(*args: Any, attention_mask: Any = None, **options: Any) -> Any:
        own = attention_mask is not None and attention_mask.ndim == 4
        return forward(*args, attention_mask=None if own else attention_mask, **options)

    model.model.forward = causal
    return model


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


def forget_window(model: Any) -> None:
    """Plants the fault of a family whose window is not where the configuration says it is."""
    forward = model.model.forward

    def without_window(*args: Any, attention_mask: Any = None, **options: Any) -> Any:
        if attention_mask is not None and attention_mask.ndim == 4:
            n_tokens = attention_mask.shape[-1]
            ends = torch.full((n_tokens, n_tokens), torch.finfo(attention_mask.dtype).min).triu(1)
            attention_mask = ends[None, None].to(attention_mask.dtype)
        return forward(*args, attention_mask=attention_mask, **options)

    model.model.forward = without_window


def test_a_window_that_the_mask_forgets_is_caught() -> None:
    """A Mistral whose window is not where the configuration says it is fails the check."""
    model = build("Mistral")
    requests = tree_requests()
    expected = separate_sums(model, requests)
    forget_window(model)
    state = state_of()
    assert_equal(expected, ModelScorer(model, pad_token_id=0, state=state), requests)
    assert state.plan.path != "tree"


def many_requests() -> list[Request]:
    """Enough for the largest difference to be no luck: 32 prompts with four responses each."""
    rng = np.random.default_rng(0)

    def ids(n_tokens: int) -> tuple[int, ...]:
        return tuple(rng.integers(3, N_VOCABULARY, n_tokens).tolist())

    preamble = ids(12)
    prompts = [preamble + ids(int(rng.integers(2, 30))) for _ in range(32)]
    return [Request(prompt, ids(int(rng.integers(1, 12)))) for prompt in prompts for _ in range(4)]


def below_fp32(family: str, precision: str, folder: Path, **changes: Any) -> Any:
    """A model of a family in bf16, or in NF4 that is computed in bf16 and added up in fp32."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from harness.models.quantization import keep_unpacked

    build(family, **changes).save_pretrained(folder)
    if precision == "bfloat16":
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, precision.removeprefix("nf4, ")),
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantization, dtype=torch.float32)
    keep_unpacked(model)
    return model


def wide(family: str) -> dict[str, int]:
    """Sizes that 4-bit kernels take."""
    return {"n_embd": 64} if family == "GPT2" else {"hidden_size": 64, "intermediate_size": 128}


@pytest.mark.parametrize("family", ["Llama", "GPT2"])
@pytest.mark.parametrize("precision", ["bfloat16", "nf4, bfloat16"])
def test_below_fp32_packs_stay_within_the_noise_of_the_plain_path(
    family: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In bf16 and NF4 no response differs by more than twice the plain path's own largest spread, which is printed."""
    model = below_fp32(family, precision, tmp_path, **wide(family))
    requests = many_requests()
    state = state_of()
    scores = ModelScorer(with_lora(model), pad_token_id=0, state=state).score(requests)

    check = state.checks[0]
    with capsys.disabled():
        print(f"\n{family}, {precision}: {check}", end=" ")  # noqa: T201 - the spread is part of the result
    assert (state.plan.path, check.passed) == ("tree", True)
    plain = ModelScorer(model, pad_token_id=0, state=state_of(path="plain")).score(requests)
    differences = [abs(a.log_probability - b.log_probability) for a, b in zip(scores, plain, strict=True)]
    assert max(differences) <= check.tolerance_nats


def test_four_bit_layers_that_compute_in_fp32_are_exact(tmp_path: Path) -> None:
    """Their packs, keys and values carried along, agree with separate forwards as an unquantised model's do."""
    model = with_lora(below_fp32("Llama", "nf4, float32", tmp_path, **wide("Llama")))
    requests = tree_requests()

    for max_pack_tokens in (1024, 64):
        state = state_of(max_pack_tokens=max_pack_tokens)
        assert_equal(separate_sums(model, requests), ModelScorer(model, pad_token_id=0, state=state), requests)
        assert state.plan.path == "tree"
        assert state.checks[0].tolerance_nats < 2e-4


@pytest.mark.parametrize("precision", ["bfloat16", "nf4, bfloat16"])
@pytest.mark.parametrize("fault", [ignore_positions, ignore_mask])
def test_a_silently_wrong_family_is_caught_below_fp32(
    fault: Callable[[Any], Any], precision: str, tmp_path: Path
) -> None:
    """The noise that is allowed does not hide a planted fault."""
    model = fault(below_fp32("Llama", precision, tmp_path, **wide("Llama")))
    requests = many_requests()
    state = state_of()
    scores = ModelScorer(model, pad_token_id=0, state=state).score(requests)

    assert not state.checks[0].passed
    assert state.checks[0].difference_nats is not None
    assert state.plan.path != "tree"
    separate = separate_sums(model, requests)
    differences = [abs(score.log_probability - right) for score, right in zip(scores, separate, strict=True)]
    assert max(differences) <= state.checks[0].tolerance_nats


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_path_that_gives_no_numbers_is_caught(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN in some responses fails the check, wherever among the others they are."""
    model = build("Llama").to(dtype)
    from suites.engine import tree_path

    launch, n_packs = tree_path.launch_pack, []

    def spoiled(*arguments: Any, **options: Any) -> Any:
        n_packs.append(1)
        scores = launch(*arguments, **options)
        scores.log_probabilities[-5:] = float("nan")
        return scores

    monkeypatch.setattr(tree_path, "launch_pack", spoiled)
    state = state_of()
    scores = ModelScorer(model, pad_token_id=0, state=state).score(many_requests())

    assert n_packs
    assert not state.checks[0].passed
    assert all(np.isfinite(score.log_probability) for score in scores)


def test_a_forgotten_window_is_caught_in_bfloat16(tmp_path: Path) -> None:
    """A mask that lets every token see all before it is another model, even where bf16 blurs it."""
    model = below_fp32("Mistral", "bfloat16", tmp_path, **wide("Mistral"))
    forget_window(model)
    state = state_of()
    ModelScorer(model, pad_token_id=0, state=state).score(many_requests())

    assert not state.checks[0].passed
    assert state.plan.path != "tree"


def test_below_fp32_units_do_not_depend_on_what_is_cached() -> None:
    """In bf16 a score belongs to its pack: with half of the scores kept, the same packs are computed again."""
    model = build("Llama").to(torch.bfloat16)
    requests = tree_requests()
    kept: dict[tuple[str, Request], Any] = {}

    class Store:
        """Remembers every second score."""

        def lookup(self, context: str, requests: Any) -> Any:
            return {request: kept[context, request] for request in requests if (context, request) in kept}

        def store(self, context: str, scores: Any) -> None:
            kept.update({(context, request): score for request, score in list(scores.items())[::2]})

    first, second = (
        ModelScorer(model, pad_token_id=0, state=state_of(max_pack_tokens=64), cache=Store()).score(requests)
        for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.token_log_probabilities, b.token_log_probabilities)


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
