"""Tiny models under TRL's fused head, with an adapter that is not empty, as a trainer has them."""

from collections.abc import Callable
from typing import Any

import pytest
from tiny_families import build, with_lora

WITHOUT_NOISE = {"GPT2": dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)}


@pytest.fixture(scope="session")
def fused() -> Callable[..., Any]:
    """Makes the model of a family in training mode; the base has no dropout, as `load_model` leaves it."""
    from trl.trainer.utils import add_fused_lm_head

    def make(family: str, **changes: Any) -> Any:
        base = build(family, **WITHOUT_NOISE.get(family, {}), **changes)
        add_fused_lm_head(base, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
        return with_lora(base).train()

    return make
