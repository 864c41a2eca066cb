"""Properties and temporary changes of a causal language model of transformers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

from suites.inputs import SuiteError

if TYPE_CHECKING:
    import torch


class ContextTooLongError(SuiteError):
    """A sequence has more tokens than the model has positions."""


def max_positions(config: Any) -> int | None:
    """Longest input that a transformers configuration allows; None where there is no limit (ALiBi, Mamba)."""
    settings = config.get_text_config().to_dict()
    for name in ("max_position_embeddings", "n_positions"):
        if name in settings:
            return int(settings[name])
    return None


def check_context(model_max_positions: int | None, max_tokens: int) -> None:
    """Raises an error where sequences have more tokens than the model has positions.

    Raises:
        ContextTooLongError: The message names both lengths.
    """
    if model_max_positions is not None and max_tokens > model_max_positions:
        raise ContextTooLongError(
            f"the model has {model_max_positions} positions, fewer than the {max_tokens} tokens asked for: set "
            f"max_tokens to at most {model_max_positions}, or shorten the text"
        )


@contextmanager
def evaluation_mode(model: "torch.nn.Module") -> Iterator[None]:
    """Turns dropout off within the block; afterwards every module is in its own mode again."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def fused_activations(model: "torch.nn.Module") -> Iterator[None]:
    """Computes the tanh form of GELU in one kernel of torch within the block, instead of in seven.

    GPT-2 and its relatives spell out 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016,
    "Gaussian Error Linear Units") operation by operation, which takes a twentieth of a pack's time on a CPU.
    """
    from transformers.activations import GELUTanh, NewGELUActivation

    fused = GELUTanh()
    spelled_out = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, NewGELUActivation)
    ]
    for parent, name, _ in spelled_out:
        setattr(parent, name, fused)
    try:
        yield
    finally:
        for parent, name, child in spelled_out:
            setattr(parent, name, child)


def unwrapped(model: Any) -> Any:
    """Returns the transformers model inside PEFT's wrapper, LoRA layers included; a model without wrapper as it is."""
    peft = sys.modules.get("peft")  # never imported means nothing is wrapped; importing it takes seconds
    return model.get_base_model() if peft is not None and isinstance(model, peft.PeftModel) else model


def decoders(model: Any) -> list[Any]:
    """Modules that the output head may take its hidden states from, the outermost first, each once.

    The heads of OPT and BART look deeper than the base model. A family may call the head itself its decoder.
    """
    from transformers import PreTrainedModel

    named = [one for one in (model.base_model, model.get_decoder()) if one is not model]
    found = [one for one in dict.fromkeys(named or model.children()) if isinstance(one, PreTrainedModel)]
    if not found:
        raise AttributeError(f"{type(model).__name__} has no decoder")
    return found


def takes_logits_to_keep(model: Any) -> bool:
    """Whether the model can be asked for the logits of some positions alone."""
    return "logits_to_keep" in signature(type(model).forward).parameters


def n_vocabulary(model: Any) -> int:
    """Number of logits at each position."""
    return int(model.config.get_text_config().vocab_size)


def hidden_size(model: Any) -> int:
    """Length of a hidden state."""
    return int(model.config.get_text_config().hidden_size)


def gpus_of(model: Any) -> tuple[int, ...]:
    """GPUs that the layers of a model are spread over, in ascending order; empty where one device holds all of them."""
    places = {str(place).removeprefix("cuda:") for place in (getattr(model, "hf_device_map", None) or {}).values()}
    return tuple(sorted(map(int, filter(str.isdecimal, places)))) if len(places) > 1 else ()


def attention_window(config: Any) -> int | None:
    """Positions that a sliding-window layer sees, the token's own included; None where every layer sees all."""
    settings = config.get_text_config().to_dict()
    kinds = settings.get("layer_types")
    uses_window = "sliding_attention" in kinds if kinds else settings.get("use_sliding_window", True)
    return settings.get("sliding_window") if uses_window else None


def rotary_boundary(config: Any) -> int | None:
    """Number of inputs above which LongRoPE embeds a whole forward otherwise; None where all lengths are alike.

    LongRoPE (Ding et al. 2024, "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens") has factors for short
    and for long texts, and transformers chooses them by the longest position of a forward: a short request beside a
    long one would get the long one's factors. (Dynamic NTK scaling begins above `max_positions`, where every request is
    refused.)
    """
    settings = config.get_text_config().to_dict()
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    by_kind_of_layer = [value for value in rope.values() if isinstance(value, dict)]
    boundaries = [
        one.get("original_max_position_embeddings") or settings["max_position_embeddings"]
        for one in (rope, *by_kind_of_layer)
        if one.get("rope_type", one.get("type")) in ("longrope", "su")
    ]
    return min(map(int, boundaries), default=None)


@contextmanager
def attention_kernel(model: Any, name: str) -> Iterator[None]:
    """Uses another of transformers' implementations of attention within the block.

    Raises:
        ValueError: The family does not have it.
    """
    own = attention_kernel_name(model)
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(own)


@contextmanager
def jittered_embeddings(model: Any, relative: float) -> Iterator[None]:
    """Moves every number of the embedded tokens up or down by this share of itself within the block.

    A type that is too coarse for it moves one number of 64 by a unit in its last place instead, as if its rounding had
    tipped over. Each forward of a block draws anew; every block draws the same.
    """
    import torch

    signs = torch.Generator().manual_seed(0)

    def move(_module: Any, _inputs: Any, embedded: "torch.Tensor") -> "torch.Tensor":
        unit = torch.finfo(embedded.dtype).eps / 2
        draws = torch.randint(0, 128 if unit > relative else 2, embedded.shape, generator=signs)
        moves = max(relative, unit) * ((draws == 1).float() - (draws == 0).float())
        return (embedded.float() * (1 + moves.to(embedded.device))).to(embedded.dtype)

    hook = model.get_input_embeddings().register_forward_hook(move)
    try:
        yield
    finally:
        hook.remove()


def attention_kernel_name(model: Any) -> str:
    """Name of the implementation of attention in use: sdpa, eager, ..."""
    return str(model.config._attn_implementation)  # noqa: SLF001 - there is a setter, and no other way to read it


def computes_exactly(model: "torch.nn.Module") -> bool:
    """Whether every product is computed in fp32, so that a score does not depend on its batch.

    4-bit weights are stored as bytes; their layer names the type they are computed in.
    """
    import torch

    return all(
        (module.compute_dtype if hasattr(weight, "quant_state") else weight.dtype) == torch.float32
        for module in model.modules()
        for weight in module.parameters(recurse=False)
    )
