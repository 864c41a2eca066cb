"""Tiny random models of several families, requests that make trees of them, and faults to plant."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from suites.engine.plan import ScoringState, plan_within
from suites.engine.scoring import ModelScorer
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
