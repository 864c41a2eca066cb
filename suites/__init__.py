"""Evaluations: a model and examples in, scores out. `scorer` is the interface for notebooks and scripts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suites.text_scorer import TextScorer

__all__ = ["scorer"]


def scorer(model: Any, tokenizer: Any) -> "TextScorer":
    """Returns a scorer of texts: `scorer(model, tokenizer).log_probabilities(prompts, responses)`.

    Args:
        model: A causal language model of transformers on any device, with or without PEFT's adapter.
        tokenizer: Its tokenizer.
    """
    from suites.text_scorer import TextScorer

    return TextScorer(model, tokenizer)
