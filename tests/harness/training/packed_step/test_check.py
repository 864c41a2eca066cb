"""The check that packs are only trained on where they agree with TRL."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_families import N_VOCABULARY

from harness.training.packed_step.check import CHECKED_TOKENS, _shortest, check_packed_step
from suites.engine.response_gradients import target_values
from suites.inputs import Request

Fused = Callable[..., Any]


def pairs(n: int) -> list[Request]:
    drawn = torch.Generator().manual_seed(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, N_VOCABULARY, (length,), generator=drawn).tolist())

    prompts = [ids(5 + number) for number in range(n)]
    return [Request(prompt, ids(3 + side)) for prompt in prompts for side in (0, 2)]


@pytest.mark.parametrize("family", ["Llama", "GPT2", "Gemma2", "Cohere", "Qwen2"])
def test_families_that_take_a_tree_pass(family: str, fused: Fused) -> None:
    """In float32 by far; the model, its gradients and its random numbers are as they were."""
    model = fused(family)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    state, forward = torch.get_rng_state(), model.get_base_model().forward

    check = check_packed_step(model, pairs(3), padding=0)

    assert check.passed, str(check)
    assert check.difference is not None
    assert check.difference < 2e-5
    assert all(torch.equal(weight, before[name]) and weight.grad is None for name, weight in model.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.get_base_model().forward == forward
    assert model.training


def test_below_float32_the_spread_of_other_padding_is_allowed(fused: Fused) -> None:
    """bfloat16 rounds packs otherwise than padded rows, as it rounds padded rows with other padding otherwise."""
    model = fused("Llama").to(torch.bfloat16)

    check = check_packed_step(model, pairs(3), padding=0)

    assert check.passed, str(check)
    assert check.tolerance > 1e-4


def test_a_family_that_takes_no_tree_fails(fused: Fused) -> None:
    """Where the model counts positions itself, tokens of a pack get others than in a row of their own."""
    check = check_packed_step(fused("Bloom"), pairs(3), padding=0)

    assert not check.passed


def test_a_refusal_of_the_library_is_the_reason(fused: Fused, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library raises stands in the line."""
    model = fused("Llama")
    monkeypatch.setattr("harness.training.packed_step.forward.decoded_pack", lambda *_: _refuse())

    check = check_packed_step(model, pairs(2), padding=0)

    assert not check.passed
    assert str(check) == "training in packs is not possible for this model (no mask of four dimensions)"


def _refuse() -> None:
    raise ValueError("no mask of four dimensions")


def test_the_shortest_pairs_are_checked() -> None:
    """Two at least, and more while they fit; each request of a pair beside the other."""
    few = pairs(60)
    long = [Request(tuple(range(3, 40)) * 10, (5,)), Request(tuple(range(3, 40)) * 10, (6,))]

    chosen = _shortest([*long, *few])

    assert chosen == few[: len(chosen)]
    assert 4 < len(chosen) < len(few)
    assert len(chosen) * max(each.n_inputs + 1 for each in chosen) <= CHECKED_TOKENS
    assert _shortest([*long, *few[:2]]) == [*few[:2], *long]


def test_another_kernel_is_tried_where_the_first_cannot_be_trained_with(
    fused: Fused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FlexAttention has no gradients on a CPU."""
    monkeypatch.setattr("harness.training.packed_step.check.kernels", lambda _model: ("flex", "dense"))

    check = check_packed_step(fused("Llama"), pairs(2), padding=0)

    assert check.passed, str(check)
    assert check.kernel == "dense"


def test_numbers_that_are_not_finite_fail(fused: Fused, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is not finite as the reason."""
    plain = target_values

    def broken(*arguments: Any) -> Any:
        values = plain(*arguments)
        return values._replace(log_probabilities=values.log_probabilities * float("nan"))

    monkeypatch.setattr("harness.training.packed_step.forward.target_values", broken)

    check = check_packed_step(fused("Llama"), pairs(2), padding=0)

    assert not check.passed
    assert "is not finite" in str(check)
