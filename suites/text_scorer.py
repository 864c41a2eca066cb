"""Scores texts with the engine, for notebooks and scripts: log-probabilities of responses given their prompts."""

import logging
from collections.abc import Sequence
from typing import Any

from suites.engine.chat_template import adds_bos
from suites.engine.decoding import padding_token_id
from suites.engine.encoding import EmptyResponseError, common_prefix_length, responses_by_prompt
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.inputs import Request, SuiteError

_log = logging.getLogger(__name__)


class TextPairsError(SuiteError):
    """Prompts and responses that do not form pairs."""


class TextScorer:
    """Scores plain texts with one model, by the fastest path that agrees with separate forwards."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Plans the scoring for the model's device and the memory that is free there.

        Args:
            model: A causal language model of transformers, with or without PEFT's adapter. It is scored as it is at
                each call: dropout off, adapter on or off.
            tokenizer: Its tokenizer.
        """
        self._tokenizer = tokenizer
        self._adds_bos = adds_bos(tokenizer)
        state = ScoringState(plan_for(model), _log.warning)
        self._scorer = ModelScorer(model, pad_token_id=padding_token_id(tokenizer), state=state)

    def log_probabilities(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Returns the log-probability of each response given its prompt: one sum over response tokens in nats a pair.

        No chat template is applied, nothing is truncated and no EOS is added. A prompt starts with BOS where the
        tokenizer adds one and the text has none yet; a prompt without a token of its own is BOS, or else EOS. All
        responses to one prompt start at the same token: after the longest prefix that the tokens of the prompt share
        with those of the prompt and each of its responses in this call. Prompt tokens that merge with one of the
        responses thus count as the response's.

        Args:
            prompts: Texts, as the model should see them.
            responses: One text for each prompt.

        Raises:
            TextPairsError: A text in place of a list, or lists of different lengths.
            EmptyResponseError: A response without a token.
            ContextTooLongError: A pair has more tokens than the model has positions.
        """
        requests = self._requests(prompts, responses)
        return [score.log_probability for score in self._scorer.score(requests)]

    def _requests(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Request]:
        if isinstance(prompts, str) or isinstance(responses, str):
            raise TextPairsError("prompts and responses must be lists of texts, got a text: put it into a list")
        if len(prompts) != len(responses):
            raise TextPairsError(
                f"every prompt needs one response, got {len(prompts)} prompts and {len(responses)} responses: "
                f"repeat a prompt for each of its responses"
            )
        pairs = list(zip(prompts, responses, strict=True))
        encoded = {
            (prompt, response): request
            for prompt, own in responses_by_prompt([(prompt, [response]) for prompt, response in pairs]).items()
            for response, request in zip(own, self._requests_of_prompt(prompt, own), strict=True)
        }
        return [encoded[pair] for pair in pairs]

    def _requests_of_prompt(self, prompt: str, responses: Sequence[str]) -> list[Request]:
        """Requests of all responses to one prompt, with one boundary."""
        prompt_ids = self._token_ids(prompt)
        whole = [self._token_ids(prompt + response) for response in responses]
        boundary = min(common_prefix_length(prompt_ids, ids) for ids in whole)
        for response, ids in zip(responses, whole, strict=True):
            if not response or len(ids) == boundary:
                raise EmptyResponseError(f"the response {response!r} to {prompt[-60:]!r} has no token: leave it out")
        shared = tuple(prompt_ids[:boundary]) or (self._first_token_id(),)
        return [Request(shared, tuple(ids[boundary:])) for ids in whole]

    def _token_ids(self, text: str) -> list[int]:
        """BOS where the tokenizer adds one, once, and the tokens of the text; never EOS."""
        bos = [self._tokenizer.bos_token_id] if self._adds_bos else []
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids if ids[:1] == bos else bos + ids

    def _first_token_id(self) -> int:
        """BOS, or else EOS: what a response to an empty prompt follows."""
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if bos is None and eos is None:
            raise TextPairsError("the prompt has no token and the tokenizer has neither BOS nor EOS: give a prompt")
        return int(eos if bos is None else bos)
