"""Turns conversations into token ids: chat template, boundary between prompt and response, truncation.

One encoder serves training, perplexity and reward, so that an answer has the same tokens everywhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from suites.inputs import Pair, Prompt, Request, SuiteError, Turn

PromptKey = TypeVar("PromptKey", Prompt, str)

INSTRUCTION_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
    "{% else %}Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '\n\n### Instruction:\n' + message['content'] + '\n\n### Response:\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
"""Chat template for models that have none, in Alpaca's words; a system turn replaces its first two sentences.

Every user turn ends with the generation prompt. `ensure_template` adds BOS in front where the tokenizer adds one.
"""


class TemplateError(SuiteError):
    """A model has no chat template, or its template cannot render a conversation."""


class EmptyResponseError(SuiteError):
    """A response is empty or only white space."""


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


def ensure_template(tokenizer: Any, choice: Literal["auto", "model", "instruction"]) -> str:
    """Sets the chosen chat template on the tokenizer and returns which it is: "model" or "instruction".

    Raises:
        TemplateError: The choice is "model" and the tokenizer has no template.
    """
    if choice == "model" and not tokenizer.chat_template:
        raise TemplateError(
            "model.template is 'model', but the tokenizer has no chat template: set it to 'auto' or 'instruction'"
        )
    if choice != "instruction" and tokenizer.chat_template:
        return "model"
    tokenizer.chat_template = ("{{ bos_token }}" if adds_bos(tokenizer) else "") + INSTRUCTION_TEMPLATE
    return "instruction"


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts BOS in front of a plain text."""
    return bool(tokenizer("a").input_ids[0] == tokenizer.bos_token_id)


def count_touched(rows: Iterable[Sequence[EncodedResponse]]) -> dict[str, int]:
    """Returns rule -> number of rows in which it changed a response; rules that changed none are absent."""
    counts = dict.fromkeys(("prompt truncated", "response truncated", "boundary moved", "system prompt folded"), 0)
    for row in rows:
        counts["prompt truncated"] += any(response.prompt_truncated for response in row)
        counts["response truncated"] += any(response.response_truncated for response in row)
        counts["boundary moved"] += any(response.boundary_moved for response in row)
        counts["system prompt folded"] += any(response.system_folded for response in row)
    return {rule: n_rows for rule, n_rows in counts.items() if n_rows}


class Encoder:
    """Renders conversations through the chat template and splits their tokens into prompt and response."""

    def __init__(
        self, tokenizer: Any, *, max_prompt_tokens: int, max_tokens: int, system_prompt: str | None = None
    ) -> None:
        """Finds out what the template does with a system turn and after an answer.

        Args:
            tokenizer: A fast tokenizer of transformers with a chat template (`ensure_template`).
            max_prompt_tokens: Longer prompts are cut on the left, after what precedes the first user's text.
            max_tokens: Longer sequences are cut on the right and then have no terminator.
            system_prompt: Added before every prompt that has no system turn of its own.

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
        self._max_prompt_tokens = max_prompt_tokens
        self._max_tokens = max_tokens
        self.system_prompt = system_prompt
        question = Turn("user", "A question?")
        answered = [self._render([question, Turn("assistant", answer)]) for answer in ("yes", "no!")]
        self.terminator = _common_suffix(*answered)
        """Text that the template writes after every answer, such as EOS and a line break."""
        self._folds_system = not self._has_place_for_system(question)

    def encode(self, prompt: Prompt, responses: Sequence[str]) -> list[EncodedResponse]:
        """Encodes all responses of one prompt; see `encode_all`."""
        return self.encode_all([(prompt, responses)])[0]

    def encode_all(self, items: Sequence[tuple[Prompt, Sequence[str]]]) -> list[list[EncodedResponse]]:
        """Encodes responses after their prompts, in the order given.

        All responses to one prompt start at the same token, so that one answer never has two token counts: after the
        longest prefix that the tokenised prompt shares with the tokenised prompt and response of each of them.

        Raises:
            EmptyResponseError: A response is empty or white space.
            TemplateError: The template cannot render a conversation.
        """
        encoded = {
            prompt: self._encode_prompt(prompt, responses) for prompt, responses in responses_by_prompt(items).items()
        }
        return [[encoded[prompt][response] for response in responses] for prompt, responses in items]

    def lengths(self, items: Sequence[tuple[Prompt, Sequence[str]]]) -> list[Lengths]:
        """Returns the lengths before truncation, in the order given, with the boundaries of `encode_all`.

        Raises:
            TemplateError: The template cannot render a conversation.
        """
        measured: dict[Prompt, tuple[int, dict[str, int]]] = {}
        for prompt, responses in responses_by_prompt(items).items():
            asked_ids, answered = self._tokenize_prompt(prompt, responses)
            boundary = _boundary(asked_ids, answered)
            n_response_tokens = (len(tokens.input_ids) - boundary for _, tokens in answered)
            measured[prompt] = boundary, dict(zip(responses, n_response_tokens, strict=True))
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
        ids = self._tokenize(self._render_prompt(self._turns(prompt))).input_ids
        return tuple(self._truncate_prompt(prompt, ids))

    def _encode_prompt(self, prompt: Prompt, responses: Sequence[str]) -> dict[str, EncodedResponse]:
        """Encodes all responses to one prompt."""
        asked_ids, answered = self._tokenize_prompt(prompt, responses)
        boundary = _boundary(asked_ids, answered)
        prompt_ids = self._truncate_prompt(prompt, asked_ids[:boundary])
        room = self._max_tokens - len(prompt_ids)
        encoded = {}
        for response, (text, tokens) in zip(responses, answered, strict=True):
            # A token with both the end of the content and the beginning of the terminator is content.
            content_end = len(text) - len(_common_suffix(text, self.terminator))
            spans = tokens.offset_mapping[boundary:]
            n_content = sum(start < content_end for start, _ in spans)
            if n_content == 0 or not response.strip():
                raise EmptyResponseError(
                    f"a response to {prompt[-1].text[:60]!r} is empty or white space: leave the row out"
                )
            truncated = len(spans) > room
            if truncated:
                n_content = _whole_characters(spans, min(n_content, room))
            response_ids = tokens.input_ids[boundary:][: n_content if truncated else None]
            encoded[response] = EncodedResponse(
                request=Request(tuple(prompt_ids), tuple(response_ids)),
                n_terminator_tokens=len(response_ids) - n_content,
                n_content_bytes=len(text[spans[0][0] : spans[n_content - 1][1]].encode()),
                prompt_truncated=len(prompt_ids) < boundary,
                response_truncated=truncated,
                boundary_moved=boundary < len(asked_ids),
                system_folded=self._folds_system and self._with_system(prompt)[0].speaker == "system",
            )
        return encoded

    def _tokenize_prompt(self, prompt: Prompt, responses: Sequence[str]) -> tuple[list[int], list[tuple[str, Any]]]:
        """Token ids of the prompt with the generation prompt; text and tokens of the prompt with each response."""
        turns = self._turns(prompt)
        texts = [self._render([*turns, Turn("assistant", response)]) for response in responses]
        return self._tokenize(self._render_prompt(turns)).input_ids, [(text, self._tokenize(text)) for text in texts]

    def _truncate_prompt(self, prompt: Prompt, ids: list[int]) -> list[int]:
        """Cuts a prompt on the left, but keeps what precedes the first user's text: BOS, system turn, turn header.

        Where that alone fills the limit, only BOS is kept.
        """
        if len(ids) <= self._max_prompt_tokens:
            return ids
        first = next(index for index, turn in enumerate(prompt) if turn.speaker == "user")
        other = Turn("user", "b" if prompt[first].text.strip().startswith("a") else "a")
        others = self._render_prompt(self._turns((*prompt[:first], other, *prompt[first + 1 :])))
        n_kept = common_prefix_length(ids, self._tokenize(others).input_ids)
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
        if self._folds_system and turns[0].speaker == "system":
            system, user, *later = turns
            return (Turn("user", f"{system.text}\n\n{user.text}"), *later)
        return turns

    def _has_place_for_system(self, question: Turn) -> bool:
        """Whether the template accepts a system turn and writes its text."""
        system = Turn("system", "A system prompt.")
        try:
            return system.text in self._render([system, question])
        except TemplateError:
            return False

    def _render_prompt(self, turns: Sequence[Turn]) -> str:
        return self._render(turns, add_generation_prompt=True)

    def _render(self, turns: Sequence[Turn], *, add_generation_prompt: bool = False) -> str:
        from jinja2 import TemplateError as JinjaError

        messages = [{"role": turn.speaker, "content": turn.text} for turn in turns]
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except JinjaError as error:
            roles = ", ".join(turn.speaker for turn in turns)
            raise TemplateError(f"the chat template cannot render the turns {roles}: {error}") from error
        return text

    def _tokenize(self, text: str) -> Any:
        """Tokenises templated text, which has its special tokens already, BOS included: none are added."""
        return self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)


def _boundary(asked_ids: Sequence[int], answered: Sequence[tuple[str, Any]]) -> int:
    """Number of prompt tokens that all answered prompts share."""
    boundary = min(common_prefix_length(asked_ids, tokens.input_ids) for _, tokens in answered)
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


def _common_suffix(text: str, other: str) -> str:
    return text[len(text) - common_prefix_length(text[::-1], other[::-1]) :]


def _whole_characters(spans: Sequence[tuple[int, int]], n_tokens: int) -> int:
    """Returns `n_tokens`, or fewer where the last token would end within a character, but at least 1."""
    while 1 < n_tokens < len(spans) and spans[n_tokens][0] < spans[n_tokens - 1][1]:
        n_tokens -= 1
    return n_tokens
