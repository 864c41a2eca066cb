"""The packed forward gives what TRL's fused head gives on the padded batch, and the same gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_families import N_VOCABULARY

from harness.training.packed_step.batch import read_batch
from harness.training.packed_step.forward import LARGEST_PACK_TOKENS, Budget, packed_forward
from suites.engine.causal_model import attention_kernel_name
from suites.engine.tree_attention import padded_length

Fused = Callable[..., Any]
FAMILIES = ("Llama", "GPT2", "Gemma2", "Cohere", "Granite", "Qwen2", "Qwen3", "Mistral", "GPTNeoX")
FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask", "loss")


def padded_pairs(n_pairs: int, padding_side: str = "right") -> dict[str, torch.Tensor]:
    """Chosen rows, then rejected ones, of pairs with prompts and answers of many lengths; two rows are equal."""
    drawn = torch.Generator().manual_seed(n_pairs)

    def ids(low: int, high: int) -> list[int]:
        return torch.randint(
            3, N_VOCABULARY, (int(torch.randint(low, high, (1,), generator=drawn)),), generator=drawn
        ).tolist()

    prompts = [ids(3, 14) for _ in range(n_pairs)]
    prompts[-1] = prompts[0] + prompts[-1][:2]  # begins as another one does
    rows = [(prompt, ids(1, 9)) for prompt in prompts] + [(prompt, ids(1, 9)) for prompt in prompts]
    rows[n_pairs + 1] = rows[1]
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    batch = {name: torch.zeros(len(rows), length, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    batch["labels"] = torch.full((len(rows), length), -100)
    for row, (prompt, answer) in enumerate(rows):
        n_tokens = len(prompt) + len(answer)
        first = length - n_tokens if padding_side == "left" else 0
        batch["input_ids"][row, first : first + n_tokens] = torch.tensor(prompt + answer)
        batch["attention_mask"][row, first : first + n_tokens] = 1
        batch["labels"][row, first + len(prompt) : first + n_tokens] = torch.tensor(answer)
    return batch


def computed(model: Any, batch: dict[str, torch.Tensor], **options: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Output of TRL's call and the gradient of every trained weight, for weights that differ by row and token."""
    model.zero_grad()
    output = model(**batch, fused_lm_head=True, **options)
    weights = torch.linspace(-1, 1, output.log_probs.numel()).reshape(output.log_probs.shape)
    (output.log_probs * weights).sum().backward()
    return output, {name: each.grad.clone() for name, each in model.named_parameters() if each.requires_grad}


def assert_same(packed: Any, plain: Any) -> None:
    (own, own_slopes), (others, slopes) = packed, plain
    for field in FIELDS:
        torch.testing.assert_close(getattr(own, field).float(), getattr(others, field).float(), rtol=1e-4, atol=1e-5)
    for name, slope in slopes.items():
        assert (own_slopes[name] - slope).norm() <= 1e-4 * slope.norm(), name


def test_rows_that_are_equal_are_computed_once_and_only_log_probabilities_have_a_gradient(fused: Fused) -> None:
    """Their values are those of TRL's fused head (see below), for each of them."""
    model, batch = fused("Llama"), padded_pairs(4)

    requests = read_batch(batch["input_ids"], batch["attention_mask"], batch["labels"]).requests
    with packed_forward(model.get_base_model(), Budget(4096)):
        output = model(**batch, fused_lm_head=True)

    assert len(requests) == len(set(requests)) == len(batch["labels"]) - 1
    assert [name for name in FIELDS if getattr(output, name).requires_grad] == ["log_probs", "loss"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_tokens", [4096, 30])
def test_values_and_gradients_are_those_of_the_padded_batch(family: str, max_tokens: int, fused: Fused) -> None:
    """In one pack or in several that the backward pass computes again, of every family with a head of its own kind."""
    model, batch = fused(family), padded_pairs(4)
    plain = computed(model, batch)

    with packed_forward(model.get_base_model(), Budget(max_tokens)):
        packed = computed(model, batch)

    assert_same(packed, plain)
    assert_same(computed(model, batch), plain)  # and afterwards the model is as it was


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Gemma3Text"])
def test_block_masks_open_what_dense_ones_do(family: str, fused: Fused, monkeypatch: pytest.MonkeyPatch) -> None:
    """With attention by the definition in place of FlexAttention, which has no gradients on a CPU."""
    from torch.nn.attention.flex_attention import create_mask
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    sizes = []

    def by_definition(_module: Any, query: Any, key: Any, value: Any, blocks: Any, **options: Any) -> Any:
        sizes.append(blocks.shape[-2:])
        mask = create_mask(blocks.mask_mod, 1, 1, query.shape[2], key.shape[2], device="cpu")
        return sdpa_attention_forward(fused_layer, query, key, value, mask, **options)

    monkeypatch.setattr("transformers.integrations.flex_attention.flex_attention_forward", by_definition)
    model, batch = fused(family), padded_pairs(4)
    fused_layer = next(module for module in model.modules() if hasattr(module, "num_key_value_groups"))
    plain = computed(model, batch)

    for max_tokens in (4096, 30):
        with packed_forward(model.get_base_model(), Budget(max_tokens), "flex"):
            assert_same(computed(model, batch), plain)
    assert set(sizes) == {(1024, 1024)}


def test_flex_attention_is_compiled_for_at_most_eight_lengths() -> None:
    """Whatever packs a training makes."""
    lengths = {padded_length(n_tokens) for n_tokens in range(1, LARGEST_PACK_TOKENS["flex"] + 1)}

    assert len(lengths) <= 8
    assert max(lengths) == LARGEST_PACK_TOKENS["flex"]


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_padding_and_the_number_of_labels_are_taken_as_they_come(padding_side: str, fused: Fused) -> None:
    """On either side, and the loss is divided by what the trainer says."""
    model, batch = fused("Llama"), padded_pairs(3, padding_side)
    if padding_side == "left":
        batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    plain = computed(model, batch, num_items_in_batch=torch.tensor(7))

    with packed_forward(model.get_base_model(), Budget(4096)):
        packed = computed(model, batch, num_items_in_batch=torch.tensor(7))

    assert_same(packed, plain)


def test_layers_that_are_computed_again_in_the_backward_pass_are_computed_alike(fused: Fused) -> None:
    """Gradient checkpointing of transformers recomputes layers after the forward; the mask and kernel still hold."""
    model, batch = fused("Llama"), padded_pairs(4)
    plain = computed(model, batch)
    base = model.get_base_model()
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    for max_tokens in (4096, 30):
        with packed_forward(base, Budget(max_tokens)):
            assert_same(computed(model, batch), plain)


def test_the_reference_is_computed_without_the_adapter(fused: Fused) -> None:
    """With the adapter off, and without gradients, the values are those of the base."""
    model, batch = fused("Llama"), padded_pairs(4)
    with model.disable_adapter(), torch.no_grad():
        plain = model(**batch, fused_lm_head=True)
        with packed_forward(model.get_base_model(), Budget(40)):
            packed = model(**batch, fused_lm_head=True)

    for field in FIELDS:
        torch.testing.assert_close(getattr(packed, field).float(), getattr(plain, field).float(), rtol=1e-4, atol=1e-5)
    assert not packed.log_probs.requires_grad


def logits_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of every token that is no padding, as a call without labels gives them."""
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits[batch["attention_mask"] == 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_that_is_not_of_a_trainer_is_the_models_own(family: str, fused: Fused) -> None:
    """The kernel of packs takes masks of padded rows as they are."""
    model, batch = fused(family), padded_pairs(4)
    plain = logits_of(model, batch)

    with packed_forward(model.get_base_model(), Budget(4096)):
        torch.testing.assert_close(logits_of(model, batch), plain, rtol=1e-4, atol=1e-5)


def test_between_steps_a_model_computes_bit_by_bit_as_it_is_measured(fused: Fused) -> None:
    """Products and attention are its own within the block, also after an error, and those of packs again behind it."""
    model, batch = fused("Llama"), padded_pairs(4)
    base, layers = model.get_base_model(), [each for each in model.modules() if isinstance(each, torch.nn.Linear)]
    plain, own = logits_of(model, batch), attention_kernel_name(base)

    with packed_forward(base, Budget(4096)) as as_itself:
        names, forwards = attention_kernel_name(base), ["forward" in vars(layer) for layer in layers]
        with as_itself():
            assert torch.equal(logits_of(model, batch), plain)
            assert attention_kernel_name(base) == own
        with pytest.raises(KeyboardInterrupt), as_itself():
            raise KeyboardInterrupt
        assert (attention_kernel_name(base), ["forward" in vars(layer) for layer in layers]) == (names, forwards)
    assert attention_kernel_name(base) == own
