"""Turns conversations into token ids: boundary between prompt and response, truncation, and counts of what changed.

One encoder serves training, perplexity and reward, so that an answer has the same tokens everywhere.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from suites.engine.chat_template import ChatTemplate, TemplateError
from suites.engine.token_ids import Tokenised, TokenisedPrompt, check_token_ids
from suites.inputs import Pair, Prompt, Request, SuiteError, Turn

PromptKey = TypeVar("PromptKey", Prompt, str)
_QUOTED_CHARACTERS = 60
_PROMPTS_AT_A_TIME = 128
"""Prompts that are tokenised in one call, which is faster, and whose texts and places of tokens are held at a time."""


class EmptyResponseError(SuiteError):
    """A response is empty or only white space."""


class UnwrittenAnswerError(TemplateError):
    """A chat template does not write the answers that it is given."""


class TokenLimitError(SuiteError):
    """Token limits leave no room for a prompt or a response."""


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A response to a prompt as token ids for scorer and trainer, with what encoding changed."""

    request: Request
    n_terminator_tokens: int
    """Tokens after the content: EOS and what the template writes after it; 0 where the response was truncated."""
    n_content_bytes: int
    """UTF-8 bytes of the text of the response tokens before the terminator."""
    prompt_truncated: bool = False
    response_truncated: bool = False
    boundary_moved: bool = False
    """Whether the last tokens of the prompt merge with a response and therefore count as the response's."""
    system_folded: bool = False
    """Whether the system prompt was put into the first user turn, because the template has no system turn."""
    prompt_cut: bool = False
    """Whether the template leaves out something of the prompt, such as reasoning of earlier answers, or tools."""
    has_control_tokens: bool = False
    """Whether a text of prompt or response spells a control token, such as <|im_end|>, and so becomes one."""

    @property
    def n_content_tokens(self) -> int:
        """Response tokens without the terminator."""
        return len(self.request.response_ids) - self.n_terminator_tokens


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens of a prompt and its responses before truncation."""

    n_prompt_tokens: int
    n_response_tokens: tuple[int, ...]
    """Tokens of each response, with what the template writes after it."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Both sides of a pair after the same prompt ids."""

    chosen: EncodedResponse
    rejected: EncodedResponse

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """Token ids of the prompt, the same for both sides."""
        return self.chosen.request.prompt_ids

    @property
    def chosen_ids(self) -> tuple[int, ...]:
        """Token ids of the chosen response."""
        return self.chosen.request.response_ids

    @property
    def rejected_ids(self) -> tuple[int, ...]:
        """Token ids of the rejected response."""
        return self.rejected.request.response_ids


RULES = {
    "prompt truncated": "prompt_truncated",
    "response truncated": "response_truncated",
    "boundary moved": "boundary_moved",
    "system prompt folded": "system_folded",
    "part of the prompt not written by the template": "prompt_cut",
    "control tokens in a text": "has_control_tokens",
}
"""Rule, as reports count it -> the field of `EncodedResponse` that says whether it applied."""


def count_touched(rows: Iterable[Sequence[EncodedResponse]]) -> dict[str, int]:
    """Returns rule -> number of rows in which it changed a response; rules that changed none are absent."""
    counts = dict.fromkeys(RULES, 0)
    for row in rows:
        for rule, applied in RULES.items():
            counts[rule] += any(getattr(response, applied) for response in row)
    return {rule: n_rows for rule, n_rows in counts.items() if n_rows}


class Encoder:
    """Renders conversations through the chat template and splits their tokens into prompt and response."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        max_prompt_tokens: int,
        max_tokens: int,
        system_prompt: str | None = None,
        n_embeddings: int | None = None,
    ) -> None:
        """Finds out what the template does with a system turn and after an answer.

        Args:
            tokenizer: A fast tokenizer of transformers with a chat template (`ensure_template`).
            max_prompt_tokens: Longer prompts are cut on the left, after what precedes the first user's text.
            max_tokens: Longer sequences are cut on the right and then have no terminator.
            system_prompt: Added before every prompt that has no system turn of its own.
            n_embeddings: Number of tokens that the model has embeddings for; None does not check.

        Raises:
            TemplateError: The tokenizer is not fast, or its template cannot render one question and answer.
            TokenLimitError: The limits leave no room for a prompt or a response.
        """
        if not 0 < max_prompt_tokens < max_tokens:
            raise TokenLimitError(
                f"max_prompt_tokens must be at least 1 and below max_tokens, got {max_prompt_tokens} of {max_tokens}"
            )
        if not tokenizer.is_fast:
            raise TemplateError("the tokenizer must be a fast one, which knows the place of each token in the text")
        self.tokenizer = tokenizer
        self._n_embeddings = n_embeddings if n_embeddings is not None and n_embeddings < len(tokenizer) else None
        self._template = ChatTemplate(tokenizer)
        self._max_prompt_tokens = max_prompt_tokens
        self._max_tokens = max_tokens
        self.system_prompt = system_prompt
        question = Turn("user", "A question?")
        answered = [self._template.render([question, Turn("assistant", answer)]) for answer in ("yes", "no!")]
        self.terminator = _common_suffix(*answered)
        """Text that the template writes after every answer, such as EOS and a line break."""
        self._numbers: dict[int, int] = {}  # token id -> the one number that stands for it in all rows
        self._folds_system = not self._has_place_for_system(question)
        control_tokens = [each.content for each in tokenizer.added_tokens_decoder.values() if each.special]
        self._control_tokens = re.compile("|".join(map(re.escape, control_tokens))) if control_tokens else None

    def encode(self, prompt: Prompt, responses: Sequence[str]) -> list[EncodedResponse]:
        """Encodes all responses of one prompt; see `encode_all`."""
        return self.encode_all([(prompt, responses)])[0]

    def encode_all(
        self, items: Sequence[tuple[Prompt, Sequence[str]]], progress: Callable[[int, int], object] | None = None
    ) -> list[list[EncodedResponse]]:
        """Encodes responses after their prompts, in the order given.

        All responses to one prompt start at the same token, so that one answer never has two token counts: after the
        longest prefix that the tokenised prompt shares with the tokenised prompt and response of each of them.

        Args:
            items: Prompts with their responses.
            progress: Called now and then with the numbers of different prompts that are done and of all.

        Raises:
            EmptyResponseError: A response is empty or white space.
            UnwrittenAnswerError: The template does not write some of the responses.
            TemplateError: The template cannot render a conversation.
        """
        unwritten: list[str] = []
        by_prompt = responses_by_prompt(items)
        encoded: dict[Prompt, dict[str, EncodedResponse]] = {}
        for prompt, tokenised in self._tokenised(by_prompt):
            encoded[prompt] = self._encode_prompt(prompt, by_prompt[prompt], tokenised, unwritten)
            if progress is not None and len(encoded) % _PROMPTS_AT_A_TIME == 0:
                progress(len(encoded), len(by_prompt))
        if unwritten:
            n_responses = sum(len(responses) for responses in encoded.values()) + len(unwritten)
            raise UnwrittenAnswerError(
                f"the chat template leaves out part or all of {len(unwritten)} of {n_responses} answers, such as "
                f"{unwritten[0][:_QUOTED_CHARACTERS]!r} (templates of reasoning models cut what stands before "
                f"</think>): name a template that writes them as model.chat_template, set what it reads as "
                f"model.chat_template_kwargs, or set model.template to 'instruction'"
            )
        return [[encoded[prompt][response] for response in responses] for prompt, responses in items]

    def lengths(self, items: Sequence[tuple[Prompt, Sequence[str]]]) -> list[Lengths]:
        """Returns the lengths before truncation, in the order given, with the boundaries of `encode_all`.

        Raises:
            TemplateError: The template cannot render a conversation.
        """
        measured: dict[Prompt, tuple[int, dict[str, int]]] = {}
        by_prompt = responses_by_prompt(items)
        for prompt, tokenised in self._tokenised(by_prompt):
            boundary = _boundary(tokenised)
            n_response_tokens = (len(each.ids) - boundary for each in tokenised.answered)
            measured[prompt] = boundary, dict(zip(by_prompt[prompt], n_response_tokens, strict=True))
        return [
            Lengths(measured[prompt][0], tuple(measured[prompt][1][response] for response in responses))
            for prompt, responses in items
        ]

    def encode_pairs(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Encodes both sides of every pair, with one boundary for all pairs of a prompt."""
        encoded = self.encode_all([(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs])
        return [EncodedPair(chosen, rejected) for chosen, rejected in encoded]

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids of a prompt for generation: ends with the generation prompt, truncated."""
        ids = self._tokenize([self._render_prompt(self._turns(prompt))])[0].ids
        return tuple(self._truncate_prompt(prompt, ids))

    def _encode_prompt(
        self, prompt: Prompt, responses: Sequence[str], tokenised: TokenisedPrompt, unwritten: list[str]
    ) -> dict[str, EncodedResponse]:
        """Encodes all responses to one prompt; those that the template does not write are added to `unwritten`."""
        asked, asked_ids, answered = tokenised.asked.text, tokenised.asked.ids, tokenised.answered
        boundary = _boundary(tokenised)
        turns = self._turns(prompt)
        without_answer = self._template.render(turns)
        prompt_cut, prompt_has_control_tokens = self._cuts(turns, asked), self._spells_control_tokens(prompt)
        prompt_ids = self._sharing(self._truncate_prompt(prompt, asked_ids[:boundary]))
        room = self._max_tokens - len(prompt_ids)
        encoded = {}
        for response, each in zip(responses, answered, strict=True):
            text = each.text
            if not response.strip():
                quoted = prompt[-1].text[:_QUOTED_CHARACTERS]
                raise EmptyResponseError(f"a response to {quoted!r} is empty or white space: leave the row out")
            # A token with both the end of the content and the beginning of the terminator is content.
            content_end = len(text) - len(_common_suffix(text, self.terminator))
            spans = each.spans[boundary:]
            n_content = sum(start < content_end for start, _ in spans)
            if n_content == 0 or not _writes(response, text[_shared(without_answer, text) :]):
                unwritten.append(response)
                continue
            truncated = len(spans) > room
            if truncated:
                n_content = _whole_characters(spans, min(n_content, room))
            response_ids = self._sharing(each.ids[boundary:][: n_content if truncated else None])
            encoded[response] = EncodedResponse(
                request=Request(prompt_ids, response_ids),
                n_terminator_tokens=len(response_ids) - n_content,
                n_content_bytes=len(text[spans[0][0] : spans[n_content - 1][1]].encode()),
                prompt_truncated=len(prompt_ids) < boundary,
                response_truncated=truncated,
                boundary_moved=boundary < len(asked_ids),
                system_folded=self._folds_system and self._with_system(prompt)[0].speaker == "system",
                prompt_cut=prompt_cut,
                has_control_tokens=prompt_has_control_tokens or self._spells_control_tokens([Turn("user", response)]),
            )
        return encoded

    def _tokenised(self, by_prompt: Mapping[Prompt, Sequence[str]]) -> Iterator[tuple[Prompt, TokenisedPrompt]]:
        """Yields each prompt with its tokens; many are tokenised at a time, and only so many are held."""
        prompts = iter(by_prompt)
        while some := list(islice(prompts, _PROMPTS_AT_A_TIME)):
            texts: list[str] = []
            for prompt in some:
                turns = self._turns(prompt)
                texts.append(self._render_prompt(turns))
                texts += (self._template.render([*turns, Turn("assistant", each)]) for each in by_prompt[prompt])
            tokenised = iter(self._tokenize(texts))
            for prompt in some:
                asked, *answered = islice(tokenised, 1 + len(by_prompt[prompt]))
                yield prompt, TokenisedPrompt(asked, answered)

    def _truncate_prompt(self, prompt: Prompt, ids: list[int]) -> list[int]:
        """Cuts a prompt on the left, but keeps what precedes the first user's text: BOS, system turn, turn header.

        Where that alone fills the limit, only BOS is kept.
        """
        if len(ids) <= self._max_prompt_tokens:
            return ids
        first = next(index for index, turn in enumerate(prompt) if turn.speaker == "user")
        other = Turn("user", "b" if prompt[first].text.strip().startswith("a") else "a")
        others = self._render_prompt(self._turns((*prompt[:first], other, *prompt[first + 1 :])))
        n_kept = common_prefix_length(ids, self._tokenize([others])[0].ids)
        if n_kept >= self._max_prompt_tokens:
            n_kept = int(ids[0] == self.tokenizer.bos_token_id and self._max_prompt_tokens > 1)
        return ids[:n_kept] + ids[len(ids) - (self._max_prompt_tokens - n_kept) :]

    def _with_system(self, prompt: Prompt) -> Prompt:
        """The prompt, with the configured system prompt in front where it has none of its own."""
        if self.system_prompt is None or prompt[0].speaker == "system":
            return prompt
        return (Turn("system", self.system_prompt), *prompt)

    def _turns(self, prompt: Prompt) -> Prompt:
        """The turns to render: with the system prompt, put into the first user turn where the template has no place."""
        turns = self._with_system(prompt)
        if not self._folds_system or turns[0].speaker != "system":
            return turns
        system, *later = turns
        first = next(index for index, turn in enumerate(later) if turn.speaker == "user")
        user = replace(later[first], text=f"{system.text}\n\n{later[first].text}")
        later[first] = user
        return (replace(later[0], tools=system.tools or later[0].tools), *later[1:])

    def _cuts(self, turns: Prompt, asked: str) -> bool:
        """Whether the template leaves out the text of a turn, its details, or the tools of the conversation.

        Args:
            turns: The turns of a prompt.
            asked: What the template writes of them.
        """
        bare = [replace(turn, details="") for turn in turns]
        variants = [(*turns[:at], bare[at], *turns[at + 1 :]) for at, turn in enumerate(turns) if turn.details]
        if any(turn.tools for turn in turns):
            variants.append(tuple(replace(turn, tools="") for turn in turns))
        is_whole = all(_writes(turn.text, asked) for turn in turns)
        return not is_whole or any(self._render_prompt(each) == asked for each in variants)

    def _spells_control_tokens(self, turns: Iterable[Turn]) -> bool:
        """Whether a text of the turns spells a control token of the tokenizer."""
        return self._control_tokens is not None and any(self._control_tokens.search(turn.text) for turn in turns)

    def _has_place_for_system(self, question: Turn) -> bool:
        """Whether the template accepts a system turn and writes its text."""
        system = Turn("system", "A system prompt.")
        try:
            return system.text in self._template.render([system, question])
        except TemplateError:
            return False

    def _render_prompt(self, turns: Sequence[Turn]) -> str:
        return self._template.render(turns, add_generation_prompt=True)

    def _tokenize(self, texts: Sequence[str]) -> list[Tokenised]:
        """Tokenises templated texts, which have their special tokens already, BOS included: none are added."""
        tokens = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        if self._n_embeddings is not None:
            for ids in tokens.input_ids:
                check_token_ids(ids, self._n_embeddings, self.tokenizer)
        return list(map(Tokenised, texts, tokens.input_ids, tokens.offset_mapping))

    def _sharing(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Token ids as numbers that all rows share: a number of its own for each token would take 28 bytes more."""
        return tuple(map(self._numbers.setdefault, ids, ids))


def _boundary(prompt: TokenisedPrompt) -> int:
    """Number of prompt tokens that all answered prompts share."""
    boundary = min(common_prefix_length(prompt.asked.ids, each.ids) for each in prompt.answered)
    if boundary == 0:
        raise TemplateError(
            "the chat template renders an answered prompt differently from its first token on: set model.template to "
            "'instruction'"
        )
    return boundary


def responses_by_prompt(items: Iterable[tuple[PromptKey, Sequence[str]]]) -> dict[PromptKey, list[str]]:
    """Returns each prompt with all of its distinct responses, in the order given."""
    responses_of: dict[PromptKey, dict[str, None]] = {}
    for prompt, responses in items:
        responses_of.setdefault(prompt, {}).update(dict.fromkeys(responses))
    return {prompt: list(responses) for prompt, responses in responses_of.items()}


def common_prefix_length(ids: Sequence[int] | str, others: Sequence[int] | str) -> int:
    """Length of the longest common prefix."""
    shorter = min(len(ids), len(others))
    return next((index for index in range(shorter) if ids[index] != others[index]), shorter)


def _shared(text: str, other: str) -> int:
    """`common_prefix_length`, at once where one text begins with the other."""
    return len(text) if other.startswith(text) else common_prefix_length(text, other)


def _writes(text: str, rendered: str) -> bool:
    """Whether a rendering holds a text, whatever the template does to white space."""
    return text in rendered or "".join(text.split()) in "".join(rendered.split())


def _common_suffix(text: str, other: str) -> str:
    return text[len(text) - common_prefix_length(text[::-1], other[::-1]) :]


def _whole_characters(spans: Sequence[tuple[int, int]], n_tokens: int) -> int:
    """Returns `n_tokens`, or fewer where the last token would end within a character, but at least 1."""
    while 1 < n_tokens < len(spans) and spans[n_tokens][0] < spans[n_tokens - 1][1]:
        n_tokens -= 1
    return n_tokens
