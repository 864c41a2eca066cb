"""A model of lm-eval that computes nothing and keeps what it was asked, to say what a task would take."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from suites.inputs import Request, ResponseScore
from suites.lm_eval.model import ScorerLM

_DEFAULT_NEW_TOKENS = 256
"""What lm-eval generates at most where a task does not say."""


class CountingLM(ScorerLM):
    """Answers every request at once: each response has probability 1, each generated answer is empty."""

    def __init__(self, pretrained: Any, tokenizer: Any) -> None:
        """Takes a model for its sizes and its tokenizer."""
        self._asked: dict[Request, None] = {}
        self._prompts: list[tuple[int, ...]] = []
        self.max_new_tokens = 0
        """Largest number of tokens that a task allows an answer."""
        super().__init__(pretrained, tokenizer, scorer=self._score_nothing)

    @property
    def asked(self) -> tuple[Request, ...]:
        """The different requests that were to be scored."""
        return tuple(self._asked)

    @property
    def prompts(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of the prompts that were to be answered."""
        return tuple(self._prompts)

    def _score_nothing(self, requests: Sequence[Request]) -> list[ResponseScore]:
        self._asked |= dict.fromkeys(requests)
        return [ResponseScore(np.zeros(len(request.response_ids), np.float32), is_greedy=True) for request in requests]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """Keeps the prompts."""
        for request in requests:
            context, settings = request.args
            self._prompts.append(tuple(self.tok_encode(context)))
            given = settings.get("max_gen_toks", _DEFAULT_NEW_TOKENS)
            self.max_new_tokens = max(self.max_new_tokens, int(given))
        return [""] * len(requests)

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: object) -> list[float]:
        """Keeps each text as one request, whose windows take as many tokens."""
        for request in requests:
            ids = self.tok_encode(request.args[0])
            if ids:
                self._asked[Request((self.prefix_token_id,), tuple(ids[: self.max_length]))] = None
        return [0.0] * len(requests)
