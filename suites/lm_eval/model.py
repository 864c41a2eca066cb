"""lm-eval's model interface on top of a scorer: its prompts, tokenisation and windows, our log-probabilities."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from typing import Any

from lm_eval import utils as lm_eval_utils  # noqa: TID253 - as below
from lm_eval.api import model as lm_eval_model  # noqa: TID253 - a class cannot import its base later
from lm_eval.api import task as lm_eval_task  # noqa: TID253
from lm_eval.models import huggingface  # noqa: TID253

from suites.engine.causal_model import ContextTooLongError
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.inputs import Request, Scorer

TokenRequest = tuple[tuple[str, str] | None, list[int], list[int]]
"""lm-eval's own: (context, continuation) or None, then the token ids of both."""
GENERATION_BATCH_SIZE = 16


class ScorerLM(huggingface.HFLM):  # type: ignore[misc]
    """lm-eval's model for transformers, whose log-probabilities come from a scorer.

    All requests of an evaluation reach the scorer at once, with the ids that lm-eval gives them; generation, chat
    templates and rolling windows are lm-eval's own.
    """

    def __init__(self, pretrained: Any, tokenizer: Any = None, scorer: Scorer | None = None, **options: Any) -> None:
        """Takes a model as it is, with the subject's adapter active, or loads one as HFLM does.

        Args:
            pretrained: A causal language model of transformers, or what HFLM loads one from.
            tokenizer: Its tokenizer, which is copied, because lm-eval sets its padding token; or what HFLM takes.
            scorer: Scores requests with that model; None makes one.
            options: HFLM's own, such as dtype, peft and batch_size (of generation).
        """
        options.setdefault("batch_size", GENERATION_BATCH_SIZE)
        with quiet():
            super().__init__(pretrained=pretrained, tokenizer=deepcopy(tokenizer), **options)
        self._scorer = scorer or self._own_scorer()
        self.truncated: set[tuple[str, str]] = set()
        """Context and continuation of the requests whose context was too long for the model."""
        self._encoded: dict[tuple[str, str], tuple[list[int], list[int]]] = {}

    def _own_scorer(self) -> Scorer:
        """A scorer for this model on its device; its lines for the user are log warnings, as lm-eval's own are."""
        state = ScoringState(plan_for(self.model), logging.getLogger(__name__).warning)
        return ModelScorer(self.model, pad_token_id=self.tokenizer.pad_token_id, state=state).score

    def scored_by(self, scorer: Scorer) -> None:
        """From now on another subject's scorer, with the same model and what is tokenised already."""
        self._scorer = scorer

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """HFLM's own, once for each pair."""
        if (context, continuation) not in self._encoded:
            self._encoded[context, continuation] = super()._encode_pair(context, continuation)
        return self._encoded[context, continuation]

    def _loglikelihood_tokens(self, requests: Sequence[TokenRequest], **_: object) -> list[tuple[float, bool]]:
        """Sum of the continuation's log-probabilities in nats, and whether greedy decoding gives the continuation."""
        for texts, context, continuation in requests:
            if texts is not None and len(context) > self._room(continuation):
                self.truncated.add(texts)
        scores = self._scorer([self._request(context, continuation) for _, context, continuation in requests])
        return [(score.log_probability, score.is_greedy) for score in scores]

    def _request(self, context: list[int], continuation: list[int]) -> Request:
        """A context too long for the model is cut from the left, as HFLM does; an empty one is its prefix token."""
        room = self._room(continuation)
        if room < 1:
            raise ContextTooLongError(
                f"a continuation of {len(continuation)} tokens is longer than the {self.max_length} the model takes"
            )
        return Request(tuple(context[-room:]) or (self.prefix_token_id,), tuple(continuation))

    def _room(self, continuation: list[int]) -> int:
        """How long a context may be; the last token of a continuation is predicted, but never an input."""
        return int(self.max_length) + 1 - len(continuation)


def run_command_line(arguments: Sequence[str]) -> None:
    """lm-eval's own command line, in which `--model harness`, the default, is this engine.

    Args:
        arguments: What follows `lm-eval`.
    """
    from lm_eval._cli import HarnessCLI
    from lm_eval.api.registry import model_registry
    from lm_eval.utils import setup_logging

    if "harness" not in model_registry:
        model_registry.register("harness", target=f"{__name__}:{ScorerLM.__name__}")
    asks_for_a_run = arguments[0] == "run" or arguments[0] not in ("ls", "validate", "--help", "-h")
    chosen = any(argument.split("=")[0] in ("--model", "-M") for argument in arguments)
    setup_logging()
    sys.argv = ["lm-eval", *arguments, *(["--model", "harness"] if asks_for_a_run and not chosen else [])]
    parser = HarnessCLI()
    parser.execute(parser.parse_args())


@contextmanager
def compiled_once() -> Iterator[None]:
    """Each template of a task is compiled once within the block, where lm-eval compiles it for every row again."""
    lm_eval_utils.env.from_string = cache(lm_eval_utils.env.from_string)
    try:
        yield
    finally:
        del lm_eval_utils.env.from_string


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of lm-eval, which know no switch, and no log lines below an error."""
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
