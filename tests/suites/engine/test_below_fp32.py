"""In bf16 and NF4 packs stay within the plain path's own noise, and a family that is silently wrong is caught."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_families import (
    N_VOCABULARY,
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

from suites.engine.scoring import ModelScorer
from suites.inputs import Request


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


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("nf4, bfloat16", marks=pytest.mark.slow)])
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
