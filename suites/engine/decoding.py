"""Generates token ids after prompts: greedily, or sampled with draws that are the same for every subject."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from suites.engine.cache.kept import KeptResults
from suites.engine.causal_model import evaluation_mode, max_positions, rotary_boundary
from suites.engine.encoding import Encoder
from suites.inputs import Question, SuiteError, content_id

if TYPE_CHECKING:
    import torch


BATCH_SIZE = 16
"""Prompts that are answered together."""


class DecodingError(SuiteError):
    """A decoding option is out of its range."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Options that decide how the tokens of an answer are chosen."""

    max_new_tokens: int
    temperature: float = 0.0
    """Divisor of the logits; 0 always takes the most probable token."""
    top_p: float = 1.0
    """Probability that the most probable tokens must reach together; only these are drawn from."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise DecodingError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature < float("inf"):
            raise DecodingError(f"temperature must be 0 (greedy) or above, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise DecodingError(f"top_p must lie above 0 and be at most 1, got {self.top_p}")


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """An answer as it was generated, token by token."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    """Tokens of the answer without the one that ended it."""
    n_positions: int
    """Number of tokens generated: one more than `answer_ids` where a stop token ended the answer."""
    is_finite: bool = True
    """Whether the logits it was chosen by are finite; where they are not there is no answer, and no token of one."""

    @property
    def input_ids(self) -> tuple[int, ...]:
        """Input tokens up to the last position at which a token was generated."""
        return (self.prompt_ids + self.answer_ids)[: len(self.prompt_ids) + self.n_positions - 1]


def answer_questions(
    model: Any,
    encoder: Encoder,
    questions: Sequence[Question],
    *,
    decoding: Decoding,
    kept: KeptResults | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[AnswerTokens]:
    """Answers questions batch by batch, in their order; `generate` says what sampled answers depend on.

    Args:
        model: A causal language model of transformers, with the subject's adapter active.
        encoder: Renders and truncates the prompts as for scoring.
        questions: Prompts to answer; the id of each is its key for the draws.
        decoding: Greedy or sampled; an answer ends at `max_new_tokens`, at EOS, at the end of its turn or at the
            model's last position.
        kept: Keeps the answers of each batch, and gives those of an earlier run back.
        progress: Called after every batch with the number of questions answered so far.
    """
    stops, limit = stop_token_ids(model, encoder), max_positions(model.config)
    answers: list[AnswerTokens] = []
    for start in range(0, len(questions), BATCH_SIZE):
        batch = questions[start : start + BATCH_SIZE]
        prompts = [encoder.prompt_ids(question.prompt) for question in batch]
        n_new = decoding.max_new_tokens
        if limit is not None:
            n_new = min(n_new, limit - max(map(len, prompts)))
        generated = _kept_or_generated(
            model,
            encoder.tokenizer,
            prompts,
            stops=stops,
            decoding=replace(decoding, max_new_tokens=n_new),
            keys=[question.example_id for question in batch],
            kept=kept or KeptResults(),
        )
        answers += [
            AnswerTokens(prompt_ids, (), 1, is_finite=False)
            if answer_ids is None
            else AnswerTokens(prompt_ids, tuple(answer_ids), min(len(answer_ids) + 1, n_new))
            for prompt_ids, answer_ids in zip(prompts, generated, strict=True)
        ]
        if progress is not None:
            progress(len(answers))
    return answers


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    decoding: Decoding,
    keys: Sequence[str],
) -> list[list[int] | None]:
    """Returns the token ids that follow each prompt, without the stop token that ends them; the prompts are one batch.

    An answer is None where logits that it was chosen by are NaN or infinite: an argmax of such logits is no choice.

    Only where a rotary embedding changes at a length, those that may reach it are answered one by one. The draws for a
    prompt depend on the seed and its key, not on the subject, the batch or a global random generator, none of which is
    changed. The other prompts of a batch influence a row in two ways only: padding changes its logits by rounding, and
    so its tokens where a draw lies that close to the border between two; and where the batch's longest prompt leaves
    fewer than `max_new_tokens` positions, every row ends there. The same batch gives the same tokens on a CPU.

    Args:
        model: A causal language model of transformers; none of its own generation settings are used.
        tokenizer: Its tokenizer.
        prompts: Token ids of each prompt.
        stops: Tokens that end an answer.
        decoding: How tokens are chosen, and how many at most.
        keys: A name for each prompt, unique among all prompts of this seed, such as its example id.
    """
    answers: dict[int, list[int] | None] = {}
    for part in _parts(prompts, rotary_boundary(model.config), decoding.max_new_tokens):
        batch, names = [prompts[index] for index in part], [keys[index] for index in part]
        tokens = _answer_batch(model, tokenizer, batch, stops=stops, decoding=decoding, keys=names)
        answers |= dict(zip(part, tokens, strict=True))
    return [answers[index] for index in range(len(prompts))]


def _kept_or_generated(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    decoding: Decoding,
    keys: Sequence[str],
    kept: KeptResults,
) -> list[list[int] | None]:
    """What an earlier run was answered by the same model to the same batch, else what `generate` returns now."""
    # The whole batch, as a prompt's neighbours may change its answer by rounding; keys matter to draws alone.
    batch = ([[*prompt] for prompt in prompts], [*stops], asdict(decoding), [*keys] if decoding.temperature else [])
    answers: list[list[int] | None] | None = kept.find("answers", *batch)
    if answers is None:
        answers = generate(model, tokenizer, prompts, stops=stops, decoding=decoding, keys=keys)
        kept.keep(answers, "answers", *batch)
    return answers


def drawn_tokens(logits: "torch.Tensor", draws: "torch.Tensor", *, temperature: float, top_p: float) -> "torch.Tensor":
    """Returns the token that each row's draw selects, by inversion of the distribution function.

    The tokens of a row are ordered from the most to the least probable and cut off where their probabilities reach
    `top_p` (nucleus sampling: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration"). The draw selects
    the token at that share of their cumulative probability. Temperature is applied before the nucleus is cut, as in
    transformers.

    Args:
        logits: Shape (rows, n_vocabulary), fp32.
        draws: Shape (rows,), uniform between 0 and 1.
        temperature: Above 0.
        top_p: Above 0, at most 1.

    Returns:
        Token ids, shape (rows,).
    """
    import torch

    probabilities, tokens = torch.softmax(logits / temperature, dim=-1).sort(dim=-1, descending=True, stable=True)
    ends = probabilities.cumsum(dim=-1)  # (rows, n_vocabulary)
    n_kept = (ends - probabilities < top_p).sum(dim=-1, keepdim=True)  # (rows, 1), at least 1
    places = draws[:, None] * ends.gather(-1, n_kept - 1)
    indices = (ends <= places).sum(dim=-1, keepdim=True).minimum(n_kept - 1)  # a draw may be rounded up to 1
    return tokens.gather(-1, indices).squeeze(-1)


def uniform_draws(seed: int, key: str, n_draws: int) -> NDArray[np.float32]:
    """Draws between 0 and 1 from a seed and a key, shape (n_draws,); fewer draws are the beginning of more."""
    return np.random.default_rng(int(content_id(seed, key), 16)).random(n_draws, dtype=np.float32)


def stop_token_ids(model: Any, encoder: Encoder) -> list[int]:
    """EOS of the tokenizer and of the model, and the special token with which the template ends an answer."""
    tokenizer = encoder.tokenizer
    by_model = model.generation_config.eos_token_id
    stops = {tokenizer.eos_token_id, *(by_model if isinstance(by_model, list) else [by_model])} - {None}
    turn_end = tokenizer(encoder.terminator.strip(), add_special_tokens=False).input_ids[:1]
    return sorted(stops.union(token for token in turn_end if token in tokenizer.added_tokens_decoder))


def padding_token_id(tokenizer: Any) -> int:
    """Id of the padding token, or else of EOS, or else 0: padding is masked and never decoded."""
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    return 0 if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)


def left_padded(prompts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Any, Any]:
    """Token ids and attention mask, each of shape (rows, longest prompt), so that all rows continue at one column."""
    longest = max(map(len, prompts))
    ids = np.full((len(prompts), longest), pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    return ids, mask


def _parts(prompts: Sequence[Sequence[int]], boundary: int | None, n_new: int) -> list[list[int]]:
    """Indices of the prompts that may share a forward, so that none is embedded otherwise because of another."""
    if boundary is None:
        return [[*range(len(prompts))]]
    below = [index for index, prompt in enumerate(prompts) if len(prompt) + n_new <= boundary]
    return [*([below] if below else []), *([index] for index in range(len(prompts)) if index not in below)]


def _answer_batch(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    decoding: Decoding,
    keys: Sequence[str],
) -> list[list[int] | None]:
    """Answers prompts in one batch (see `generate`)."""
    import torch
    from transformers import GenerationConfig

    longest, limit = max(map(len, prompts)), max_positions(model.config)
    n_new = decoding.max_new_tokens if limit is None else min(decoding.max_new_tokens, limit - longest)
    # The logits processor draws and leaves one token to choose: the library's own sampling uses a global generator.
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=n_new,
        eos_token_id=[*stops] or None,
        pad_token_id=padding_token_id(tokenizer),
        use_cache=True,
    )
    ids, mask = left_padded(prompts, padding_token_id(tokenizer))
    finite = FiniteSteps()
    processors: list[Callable[..., torch.Tensor]] = [finite]
    if decoding.temperature > 0:
        processors.append(_drawing(decoding, keys, n_prompt_tokens=longest, n_new=n_new))
    with torch.inference_mode(), evaluation_mode(model), _without_own_settings(model):
        output = model.generate(
            input_ids=torch.from_numpy(ids).to(model.device),
            attention_mask=torch.from_numpy(mask).to(model.device),
            generation_config=config,
            logits_processor=processors,
        )
    answers = [list(takewhile(lambda token: token not in stops, row)) for row in output[:, longest:].tolist()]
    # The step that draws the stop token counts too; what is computed for a row after that is not looked at.
    return [
        answer if n_finite >= min(len(answer) + 1, n_new) else None
        for answer, n_finite in zip(answers, finite.n_steps(), strict=True)
    ]


class FiniteSteps:
    """Logits processor that notes at which steps a row's logits are finite."""

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, _ids: "torch.Tensor", logits: "torch.Tensor") -> "torch.Tensor":
        """Returns the logits, with 0 in the rows that have no distribution, so that drawing from them cannot fail."""
        is_finite = logits.amax(dim=-1).isfinite()  # NaN where one logit is; a single -inf is a token ruled out
        self._steps.append(is_finite)
        return logits.masked_fill(~is_finite[:, None], 0.0)

    def n_steps(self) -> list[int]:
        """Returns each row's number of steps before the first one that is not finite."""
        import torch

        n_steps: list[int] = torch.stack(self._steps).cumprod(dim=0).sum(dim=0).tolist()
        return n_steps

    def rows(self, n_prompts: int) -> list[bool]:
        """Returns for each prompt whether its logits are finite at every step, in each of its beams."""
        import torch

        steps = torch.stack(self._steps)  # (steps, prompts x beams)
        rows: list[bool] = steps.reshape(len(steps), n_prompts, -1).all(dim=-1).all(dim=0).tolist()
        return rows


def _drawing(
    decoding: Decoding, keys: Sequence[str], *, n_prompt_tokens: int, n_new: int
) -> "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]":
    """Logits processor that leaves each row only the token it draws at this step."""
    import torch

    draws = torch.from_numpy(np.stack([uniform_draws(decoding.seed, key, n_new) for key in keys]))  # (rows, n_new)

    def keep_drawn(ids: "torch.Tensor", logits: "torch.Tensor") -> "torch.Tensor":
        step = min(ids.shape[1] - n_prompt_tokens, n_new - 1)  # on MPS a step is run before the end shows
        here = draws[:, step].to(logits.device)
        tokens = drawn_tokens(logits, here, temperature=decoding.temperature, top_p=decoding.top_p)
        return torch.full_like(logits, -torch.inf).scatter(-1, tokens[:, None], 0.0)

    return keep_drawn


@contextmanager
def _without_own_settings(model: Any) -> Iterator[None]:
    """Removes the model's own generation settings within the block: they would fill in what a call leaves open."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
