"""Texts in tokens, and ids that a model has no embedding for: refused where they occur, not where they could be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suites.inputs import SuiteError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Tokenised:
    """A templated text in tokens."""

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    """Place of each token in the text."""


@dataclass(frozen=True, slots=True)
class TokenisedPrompt:
    """A prompt with the generation prompt, and it with each of its responses."""

    asked: Tokenised
    answered: list[Tokenised]


class UnknownTokenError(SuiteError):
    """A text holds a token that the model has no embedding for."""


def refuse_unknown_tokens(model: Any, tokenizer: Any) -> None:
    """Make a model refuse such tokens by name; torch would stop with an index, on a GPU without saying which.

    Tokenizers of models that also read pictures often have a token or two more than the model has embeddings, which no
    text spells. The check is on the embeddings, which every input of every path and of training passes.
    """
    n_embeddings = model.get_input_embeddings().num_embeddings

    def check(_module: Any, inputs: "tuple[torch.Tensor, ...]") -> None:
        check_token_ids([int(inputs[0].max())], n_embeddings, tokenizer)

    model.get_input_embeddings().register_forward_pre_hook(check)


def check_token_ids(token_ids: Iterable[int], n_embeddings: int, tokenizer: Any = None) -> None:
    """Check that a model has embeddings for these ids.

    Args:
        token_ids: ids of one text or of several.
        n_embeddings: number of tokens that the model has embeddings for.
        tokenizer: says which token it is; None leaves it at its id.

    Raises:
        UnknownTokenError: names the first token without one.
    """
    largest = max(token_ids, default=0)
    if largest >= n_embeddings:
        named = "" if tokenizer is None else f" {tokenizer.convert_ids_to_tokens(largest)!r}"
        raise UnknownTokenError(
            f"a text holds the token{named} (id {largest}), and the model has "
            f"embeddings for {n_embeddings} tokens only: leave the row out, or give the tokenizer that belongs to the "
            f"weights"
        )
