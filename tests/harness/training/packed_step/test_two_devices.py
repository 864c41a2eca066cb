"""What is made for a pack goes where the layers of a spread base need it; shapes stand in for one of two devices.

No machine with two GPUs is needed: torch refuses to compute with tensors of its devices "meta" and "cpu" together, as
with those of two GPUs. accelerate's hooks move what a layer takes, as on GPUs.
"""

from typing import Any

import pytest
import torch

from harness.training.packed_step.batch import UNLABELLED, PaddedBatch
from harness.training.packed_step.forward import _as_trl_returns, _values
from suites.engine.packing import Pack, pack_requests
from suites.engine.response_gradients import target_values
from suites.engine.tree_path import decoded_pack, launch_pack
from suites.inputs import Request

PLACES = {
    "model.embed_tokens": "meta", "model.rotary_emb": "meta", "model.layers.0": "meta",
    "model.layers.1": "cpu", "model.norm": "cpu", "lm_head": "cpu",
}  # fmt: skip
REQUESTS = (
    Request(prompt_ids=(1, 2, 3, 4), response_ids=(5, 6, 7)),
    Request(prompt_ids=(1, 2, 3, 4), response_ids=(8, 9)),
    Request(prompt_ids=(1, 2, 9), response_ids=(8, 9)),
)
N_TARGETS = 7


def moved(value: Any, device: Any, skip_keys: Any = (), **_: Any) -> Any:
    """What accelerate moves to a device, with zeros in place of values that the first one does not have."""
    if isinstance(value, torch.Tensor):
        has_values = not value.is_meta or torch.device(device).type == "meta"
        return value.to(device) if has_values else torch.zeros(value.shape, dtype=value.dtype, device=device)
    if isinstance(value, dict):
        skipped = skip_keys or ()
        return type(value)({k: v if k in skipped else moved(v, device, skip_keys) for k, v in value.items()})
    return type(value)(moved(each, device) for each in value) if isinstance(value, tuple | list) else value


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Llama of two layers, the first with the embeddings on one device, the second with the head on another."""
    from accelerate import hooks
    from transformers import LlamaConfig, LlamaForCausalLM

    class Placed(hooks.AlignDevicesHook):  # type: ignore[misc]
        def init_hook(self, module: Any) -> Any:
            return module

    monkeypatch.setattr(hooks, "send_to_device", moved)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=100, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    ).eval()
    for name, place in PLACES.items():
        model.get_submodule(name).to(place)
        hooks.add_hook_to_module(model.get_submodule(name), Placed(execution_device=place))
    hooks.add_hook_to_module(model, Placed(execution_device="meta", io_same_device=True))
    assert model.device.type == "meta"
    return model


@pytest.fixture
def pack() -> Pack:
    """All requests in one."""
    (only,) = pack_requests(REQUESTS, max_tokens=64)
    return only


def test_masks_and_positions_are_made_for_the_first_layer_and_scores_where_the_head_is(spread: Any, pack: Pack) -> None:
    """On the path tree, and in the training's own head."""
    with torch.inference_mode():
        scores = launch_pack(spread, pack, 2**20)
    values = target_values(spread, decoded_pack(spread, pack), pack, 2**20)
    assert [each.device.type for each in (*scores, *values)] == ["cpu"] * 6
    assert {len(each) for each in (*scores, *values)} == {N_TARGETS}


def test_a_batch_in_packs_is_returned_where_trl_has_its_labels(spread: Any) -> None:
    """On the first device, beside the reference's columns and the loss."""
    labels = torch.full((3, 7), UNLABELLED, device="meta")
    rows = tuple((request, row, len(request.prompt_ids)) for row, request in enumerate(REQUESTS))
    packs = pack_requests(REQUESTS, max_tokens=2048)
    values = _values(spread, packs, 2048, "dense")
    output = _as_trl_returns(PaddedBatch(REQUESTS, rows, (3, 7)), packs, values, labels, None)
    assert output.log_probs.shape == (3, 6)
    assert {each.device.type for each in (output.log_probs, output.loss, output.is_top1, output.entropy)} == {"meta"}
