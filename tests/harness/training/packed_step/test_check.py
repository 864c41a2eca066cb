"""The check that packs are only trained on where they agree with TRL."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_families import N_VOCABULARY

from harness.training.packed_step.check import (
    CHECKED_TOKENS,
    StepCheck,
    _chosen,
    check_packed_step,
    rows_to_check,
)
from suites.engine.response_gradients import target_values
from suites.inputs import Request

Fused = Callable[..., Any]


def pairs(n: int) -> list[list[Request]]:
    drawn = torch.Generator().manual_seed(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, N_VOCABULARY, (length,), generator=drawn).tolist())

    prompts = [ids(5 + number) for number in range(n)]
    return [[Request(prompt, ids(3 + side)) for side in (0, 2)] for prompt in prompts]


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


def test_a_family_of_other_layers_too_fails(fused: Fused) -> None:
    """Its code looks for a mask of each kind of layer and finds none for convolutions, which see a pack as one row."""
    check = check_packed_step(fused("Lfm2", layer_types=["conv", "full_attention"]), pairs(3), padding=0)

    assert not check.passed
    assert check.is_lasting


def test_a_refusal_of_the_library_is_the_reason(fused: Fused, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library raises stands in the line."""
    model = fused("Llama")
    monkeypatch.setattr("harness.training.packed_step.forward.decoded_pack", lambda *_: _refuse())

    check = check_packed_step(model, pairs(2), padding=0)

    assert not check.passed
    assert str(check) == "training in packs is not possible for this model (ValueError: no mask of four dimensions)"


def _refuse() -> None:
    raise ValueError("no mask of four dimensions")


def test_the_shortest_rows_are_checked() -> None:
    """Two at least, and more while they fit; each request of a pair beside the other."""
    few = pairs(60)
    long = [Request(tuple(range(3, 40)) * 10, (5,)), Request(tuple(range(3, 40)) * 10, (6,))]

    (chosen,) = _chosen([long, *few], (1024,), CHECKED_TOKENS)

    assert chosen == [request for pair in few[: len(chosen) // 2] for request in pair]
    assert 4 < len(chosen) < len(few)
    assert len(chosen) * max(each.n_inputs + 1 for each in chosen) <= CHECKED_TOKENS


def test_long_rows_are_cut() -> None:
    """To the starts of prompt and responses, the prompt of a pair alike, so that both still share it in a pack."""
    ids = tuple(range(3, 63)) * 5
    long = [Request(ids, ids[:200]), Request(ids, ids[:9])]
    little = [Request(ids[:9], ids[:200]), Request(ids[:9], ids[:2])]

    (chosen,) = _chosen([long, little], (), CHECKED_TOKENS)

    assert chosen == [
        Request(ids[:9], ids[:55]),
        Request(ids[:9], ids[:2]),
        Request(ids[:31], ids[:33]),
        Request(ids[:31], ids[:9]),
    ]
    assert len(chosen) * max(each.n_inputs + 1 for each in chosen) == CHECKED_TOKENS
    assert _chosen([long, little], (250,), CHECKED_TOKENS)[1:] == [long]


def test_rows_of_one_answer_are_looked_at_one_by_one() -> None:
    """Two that happen to lie beside each other are no pair, of which a long one would hide a short one."""
    ids = tuple(range(3, 40)) * 10
    short, long = Request((3, 4), (5,)), Request(ids, ids)

    assert _chosen([[long], [short], [long], [short]], (), CHECKED_TOKENS) == [[short, short]]


def test_a_pair_beyond_each_length_of_the_model_is_checked_by_itself() -> None:
    """The shortest of those, once where it lies beyond two lengths; none where no row is as long."""
    few, thresholds = pairs(20), (30, 50, 200, 5000)
    middle, long, longest = (
        [Request(tuple(range(3, 3 + length)), (each,)) for each in (5, 6)] for length in (40, 300, 400)
    )
    lengths = np.asarray([10] * 70 + [400, 300, 40])

    assert _chosen([longest, long, middle, *few], thresholds, CHECKED_TOKENS)[1:] == [middle, long]
    assert rows_to_check(lengths, thresholds).tolist() == [*range(64), 71, 72]
    assert rows_to_check(lengths[:5], thresholds).tolist() == [*range(5)]


def test_a_check_holds_for_rows_that_cross_no_other_length() -> None:
    """What was found on short rows says nothing of a window that only longer ones leave; a failure is one for all."""
    check = StepCheck(4, 1e-6, 1e-4, longest=100)

    assert check.holds_for(600, (50, 700))
    assert not check.holds_for(701, (50, 700))
    assert not check.holds_for(101, (100,))
    assert replace(check, difference=1.0).holds_for(701, (50, 700))


def test_a_window_that_packs_do_not_keep_is_found_by_a_longer_pair(
    fused: Fused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short rows never leave the window, and show nothing."""
    model = fused("Mistral", sliding_window=64)
    long = [Request(tuple(range(3, 90)), (3 + side, 4)) for side in (0, 2)]
    monkeypatch.setattr("suites.engine.tree_path.attention_window", lambda _config: None)

    assert check_packed_step(model, pairs(3), padding=0).passed
    assert not check_packed_step(model, [*pairs(3), long], padding=0).passed


def test_another_kernel_is_tried_where_the_first_cannot_be_trained_with(
    fused: Fused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FlexAttention has no gradients on a CPU."""
    monkeypatch.setattr("harness.training.packed_step.check.kernels", lambda _model: ("flex", "dense"))

    check = check_packed_step(fused("Llama"), pairs(2), padding=0)

    assert check.passed, str(check)
    assert (check.kernel, check.is_lasting) == ("dense", True)


def test_a_kernel_that_had_no_room_is_tried_again_by_the_next_training(
    fused: Fused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of a check would leave the faster kernel for good."""

    def full(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("harness.training.packed_step.check.kernels", lambda _model: ("flex", "dense"))
    monkeypatch.setattr("harness.training.packed_step.forward.decoded_pack_in_blocks", full)

    check = check_packed_step(fused("Llama"), pairs(2), padding=0)

    assert check.passed, str(check)
    assert (check.kernel, check.is_lasting) == ("dense", False)


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
