"""lm-eval's model interface on this engine: its prompts, tokenisation and windows, our log-probabilities."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

from lm_eval import utils as lm_eval_utils  # noqa: TID253 - as below
from lm_eval.api import model as lm_eval_model  # noqa: TID253 - a class cannot import its base later
from lm_eval.api import task as lm_eval_task  # noqa: TID253
from lm_eval.models import huggingface  # noqa: TID253
from lm_eval.models.utils import normalize_gen_kwargs  # noqa: TID253

from suites.engine.cache.kept import KeptResults
from suites.engine.causal_model import ContextTooLongError
from suites.engine.decoding import BATCH_SIZE, FiniteSteps
from suites.engine.encoding import EmptyResponseError
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.inputs import Request, Scorer

TokenRequest = tuple[tuple[str, str] | None, list[int], list[int]]
"""A request as lm-eval makes it: (context, continuation) or None, then the token ids of both."""


class ScorerLM(huggingface.HFLM):  # type: ignore[misc]
    """lm-eval's model for transformers, whose log-probabilities come from a scorer.

    All requests of an evaluation reach the scorer at once, with the ids that lm-eval gives them; generation, chat
    templates and rolling windows are lm-eval's own.
    """

    def __init__(self, pretrained: Any, tokenizer: Any = None, scorer: Scorer | None = None, **options: Any) -> None:
        """Takes a model as it is, with the subject's adapter active, or loads one as HFLM does.

        Args:
            pretrained: A causal language model of transformers, or a name or folder for HFLM to load.
            tokenizer: Its tokenizer, which is copied because lm-eval sets its padding token; or HFLM's argument.
            scorer: Scores requests with that model; None makes one for its device.
            options: Options of HFLM, such as dtype, peft and batch_size (of generation).
        """
        options.setdefault("batch_size", BATCH_SIZE)
        with quiet():
            super().__init__(pretrained=pretrained, tokenizer=deepcopy(tokenizer), **options)
        self._scorer = scorer or self._own_scorer()
        self.truncated: set[tuple[str, str] | str] = set()
        """(context, continuation), or the context of a generated answer, where it was too long for the model."""
        self.not_finite: set[str] = set()
        """Contexts whose generated answer was chosen by logits that are NaN or infinite, and so by nothing."""
        self._answered: list[str] = []
        self._kept = KeptResults()
        self._encoded: dict[tuple[str, str], tuple[list[int], list[int]]] = {}

    def _own_scorer(self) -> Scorer:
        """A scorer for this model on its device; its lines for the user are log warnings, as lm-eval's own are."""
        state = ScoringState(plan_for(self.model), logging.getLogger(__name__).warning)
        return ModelScorer(self.model, pad_token_id=self.tokenizer.pad_token_id, state=state).score

    def scored_by(self, scorer: Scorer, kept: KeptResults | None = None) -> None:
        """Switches to another subject's scorer and to what is kept of it; model and token ids stay the same."""
        self._scorer, self._kept = scorer, kept or KeptResults()
        self.not_finite.clear()

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """HFLM's method, with a count of the contexts that it cuts, and an error where nothing of one would be left."""
        for context, options in (request.args for request in requests):
            room = room_for_context(options, int(self.max_length), "lm-eval")
            if len(self.tok_encode(context)) > room:
                self.truncated.add(context)
        answers: list[str] = super().generate_until(requests, disable_tqdm)
        return answers

    def tok_batch_encode(self, strings: list[str], *args: Any, **options: Any) -> Any:
        """HFLM's method, which it calls with the contexts that `_model_generate` answers next."""
        self._answered = list(strings)
        return super().tok_batch_encode(strings, *args, **options)

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **options: Any) -> Any:
        """HFLM's method, with a look at the logits that answers are chosen by; greedy answers are kept.

        Drawn ones depend on how many were drawn before.
        """
        is_greedy = not options.get("do_sample") and options.get("temperature", 0.0) == 0.0
        settings = {name: value.tolist() if hasattr(value, "tolist") else str(value) for name, value in options.items()}
        batch = (context.tolist(), max_length, [*stop], settings, str(self.model.generation_config))
        kept = self._kept.find("lm-eval answers", *batch) if is_greedy else None
        if kept is None:
            finite = FiniteSteps()
            tokens = super()._model_generate(context, max_length, stop, logits_processor=[finite], **options)
            rows = finite.rows(len(self._answered))
            if is_greedy:
                self._kept.keep([tokens.tolist(), rows], "lm-eval answers", *batch)
        else:
            tokens, rows = context.new_tensor(kept[0]), kept[1]
        self.not_finite.update(asked for asked, is_finite in zip(self._answered, rows, strict=True) if not is_finite)
        return tokens

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """HFLM's method, called once for each pair."""
        if (context, continuation) not in self._encoded:
            self._encoded[context, continuation] = super()._encode_pair(context, continuation)
        return self._encoded[context, continuation]

    def _loglikelihood_tokens(self, requests: Sequence[TokenRequest], **_: object) -> list[tuple[float, bool]]:
        """Returns each continuation's log-probability in nats and whether greedy decoding gives that continuation."""
        for texts, context, continuation in requests:
            if texts is not None and len(context) > self._room(continuation):
                self.truncated.add(texts)
        scores = self._scorer([self._request(context, continuation) for _, context, continuation in requests])
        return [(score.log_probability, score.is_greedy) for score in scores]

    def _request(self, context: list[int], continuation: list[int]) -> Request:
        """Makes a request as HFLM does: a long context is cut on the left, an empty one becomes the prefix token."""
        room = self._room(continuation)
        if not continuation:
            raise EmptyResponseError("lm-eval: an answer of a task has no tokens")
        if room < 1:
            raise ContextTooLongError(
                f"a continuation of {len(continuation)} tokens is longer than the model's {self.max_length} positions"
            )
        return Request(tuple(context[-room:]) or (self.prefix_token_id,), tuple(continuation))

    def _room(self, continuation: list[int]) -> int:
        """Largest number of context tokens; the last token of a continuation is predicted but never an input."""
        return int(self.max_length) + 1 - len(continuation)


def room_for_context(options: Mapping[str, Any], max_positions: int, what: str) -> int:
    """Returns the largest number of tokens of a context whose answer is generated.

    Args:
        options: lm-eval's `generation_kwargs`.
        max_positions: Largest number of tokens that the model takes.
        what: What the message begins with.

    Raises:
        ContextTooLongError: There is no room.
    """
    n_new = int(normalize_gen_kwargs(dict(options))["max_gen_toks"])
    if not 0 < n_new < max_positions:
        raise ContextTooLongError(
            f"{what}: an answer of {n_new:,} tokens (max_gen_toks) does not leave room for a question in the model's "
            f"{max_positions:,} positions: set generation_kwargs.max_gen_toks in the task file to what an answer needs"
        )
    return max_positions - n_new


@contextmanager
def compiled_once() -> Iterator[None]:
    """Compiles each template of a task once within the block; lm-eval compiles it again for every row."""
    lm_eval_utils.env.from_string = cache(lm_eval_utils.env.from_string)
    try:
        yield
    finally:
        del lm_eval_utils.env.from_string


@contextmanager
def quiet() -> Iterator[None]:
    """Silences lm-eval's progress bars, which have no switch, and its log lines below errors, within the block."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "transformers")]
    levels = [logger.level for logger in loggers]
    modules = (lm_eval_model, lm_eval_task, huggingface)
    tqdm = lm_eval_model.tqdm
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    for module in modules:
        module.tqdm = lambda *rows, **options: tqdm(*rows, **{**options, "disable": True})
    try:
        yield
    finally:
        for module in modules:
            module.tqdm = tqdm
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
