"""Replaces the forward that TRL's trainers call by one over packs of the same batch.

TRL's trainers of DPO, KTO and SFT read the log-probabilities of a batch's labels from a model called with
`fused_lm_head=True` (`trl/trainer/utils.py`, `add_fused_lm_head`). Here the batch is laid out as packs, in which a
prompt that two responses share stands once and nothing is padding, and only the tokens that predict a response go
through the output head. Losses, metrics, reference and checkpoints stay TRL's.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

from harness.training.packed_step.batch import UNLABELLED, PaddedBatch, read_batch
from harness.training.packed_step.budget import Budget
from harness.training.packed_step.frozen_product import faster_products
from harness.training.packed_step.lora_product import products_in_place
from suites.engine.causal_model import attention_kernel
from suites.engine.packing import Pack, pack_requests
from suites.engine.response_gradients import TargetValues, joined, target_values
from suites.engine.tree_attention import padded_flex_attention
from suites.engine.tree_path import decoded_pack, decoded_pack_in_blocks, dense_kernel

if TYPE_CHECKING:
    import torch

VERSION = 8
"""Changes with anything that changes a number; part of the key of what was trained."""
Kernel = Literal["flex", "dense"]
"""How attention over a pack is computed: flex with FlexAttention's block masks, dense with a mask of every token."""
LARGEST_PACK_TOKENS: Mapping[Kernel, int] = {"flex": 8192, "dense": 2048}
"""Larger packs make matrix products no faster and attention over the pack slower."""
MAX_LOGIT_ELEMENTS = 2**24


def kernels(model: Any) -> tuple[Kernel, ...]:
    """The kernels that a model's device can train with, the fastest first; FlexAttention has no gradients on a CPU."""
    return ("flex", "dense") if model.device.type == "cuda" else ("dense",)


@contextmanager
def packed_forward(
    model: Any, budget: Budget, kernel: Kernel = "dense"
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Within the block a model with TRL's fused head computes its batches in packs; other calls are its own.

    The kernel of attention and those of products hold for the whole block, because gradient checkpointing computes
    layers again in the backward pass. What is yielded is a block for between steps, in which the model computes as it
    does without this one: scores of it are then those that are measured elsewhere.

    Args:
        model: Causal language model of transformers to which `add_fused_lm_head` was applied, adapters included.
        budget: Tokens at once; read at every call.
        kernel: How attention is computed.
    """
    original = model.forward

    @wraps(original)
    def forward(
        *arguments: Any, fused_lm_head: bool = False, labels: "torch.Tensor | None" = None, **options: Any
    ) -> Any:
        if not fused_lm_head or labels is None:
            own = {} if labels is None else {"labels": labels}
            return original(*arguments, fused_lm_head=fused_lm_head, **own, **options)
        n_labels = options.get("num_items_in_batch")
        batch = read_batch(options["input_ids"], options["attention_mask"], labels)
        packs = pack_requests(batch.requests, max_tokens=min(budget.max_tokens, LARGEST_PACK_TOKENS[kernel]))
        values = _values(model, packs, budget.max_tokens, kernel)
        return _as_trl_returns(batch, packs, values, labels, n_labels)

    model.forward = forward
    try:
        name = padded_flex_attention() if kernel == "flex" else dense_kernel(model)
        with ExitStack() as substitutes:

            def substitute() -> None:
                for each in (attention_kernel(model, name), products_in_place(model), faster_products(model)):
                    substitutes.enter_context(each)

            @contextmanager
            def as_itself() -> Iterator[None]:
                substitutes.close()
                try:
                    yield
                finally:
                    substitute()

            substitute()
            yield as_itself
    finally:
        model.forward = original


def _as_trl_returns(
    batch: PaddedBatch, packs: list[Pack], values: TargetValues, labels: "torch.Tensor", n_labels: Any
) -> Any:
    """Values of a batch in the form of TRL's fused head: zero where nothing is labelled."""
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    values = TargetValues(*(each.to(labels.device) for each in values))  # from where a spread base has its head
    places = batch.places([request for pack in packs for request in pack.requests])
    rows, columns, sources = (torch.from_numpy(index).to(labels.device) for index in places)
    shape = (batch.shape[0], batch.shape[1] - 1)

    def padded(own: "torch.Tensor") -> "torch.Tensor":
        return own.new_zeros(shape).index_put((rows, columns), own[sources])

    # TRL adds hundreds of nats up, which fp32 rounds by 1e-5: more than a reference that was scored elsewhere differs.
    log_probabilities = padded(values.log_probabilities.to(sums_dtype(labels.device)))
    mask = labels[:, 1:] != UNLABELLED
    return FusedCausalLMOutput(
        loss=-log_probabilities.sum() / (mask.sum().clamp(min=1) if n_labels is None else n_labels),
        log_probs=log_probabilities,
        entropy=padded(values.entropies),
        mean_logits=padded(values.mean_logits),
        is_top1=padded(values.is_most_probable),
        label_mask=mask,
    )


def sums_dtype(device: "torch.device") -> "torch.dtype":
    """The type in which log-probabilities are added up and compared: float64, which Apple's GPUs alone do not have."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def _values(model: Any, packs: list[Pack], max_tokens: int, kernel: Kernel) -> TargetValues:
    """Values of all packs; where their activations do not fit together, the backward pass computes each again."""
    import torch
    from torch.utils.checkpoint import checkpoint

    decoded = decoded_pack_in_blocks if kernel == "flex" else decoded_pack

    def of_pack(pack: Pack) -> TargetValues:
        return target_values(model, decoded(model, pack), pack, MAX_LOGIT_ELEMENTS)

    n_tokens = sum(pack.n_tokens for pack in packs)
    if not torch.is_grad_enabled() or n_tokens <= max_tokens or len(packs) == 1:
        return joined([of_pack(pack) for pack in packs])
    return joined([checkpoint(of_pack, pack, use_reentrant=False) for pack in packs])
