"""The model interface against lm-eval's own HFLM."""

import logging
from pathlib import Path
from typing import Any

import pytest

from suites.engine.cache.kept import KeptResults
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.causal_model import ContextTooLongError
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer
from suites.lm_eval.model import ScorerLM, quiet

PREAMBLE = "Q: Which party did he belong to?\nA: He belonged to the Republican Party.\n\n" * 30


@pytest.fixture(params=["llama", "gpt2"], scope="module")
def pair_of_models(request: pytest.FixtureRequest) -> tuple[ScorerLM, Any]:
    """The same model behind our interface and behind lm-eval's."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ours = ScorerLM(
        model,
        tokenizer,
        ModelScorer(model, pad_token_id=0, state=ScoringState(plan_for(model), print)).score,
        batch_size=4,
    )
    # Its cache of logits mixes up windows of a text that repeats itself.
    theirs = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=4, logits_cache=False)
    return ours, theirs


def instances(kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, index) for index, one in enumerate(arguments)]


def assert_equal(expected: list[tuple[float, bool]], actual: list[tuple[float, bool]]) -> None:
    for (total, is_greedy), (our_total, our_is_greedy) in zip(expected, actual, strict=True):
        assert abs(total - our_total) <= max(1e-4, 1e-6 * abs(total))
        assert is_greedy == our_is_greedy


def test_log_likelihoods_equal_those_of_lm_eval(pair_of_models: tuple[ScorerLM, Any]) -> None:
    """Plain, spaced, empty and repeated contexts, and one longer than the window, which is cut from the left."""
    ours, theirs = pair_of_models
    requests = instances(
        "loglikelihood",
        ("What is a telescope?", " It makes objects appear closer."),
        ("What is a telescope? ", "It is a tube."),
        ("", "The trophy does not fit."),
        ("<s>Already begun.", " Yes."),
        (PREAMBLE + "Q: What is a telescope?\nA:", " A long tube."),
        (PREAMBLE + "Q: What is a telescope?\nA:", " A tree."),
        ("What is a telescope?", " It makes objects appear closer."),
    )

    assert_equal(theirs.loglikelihood(requests), ours.loglikelihood(requests))
    assert len(ours.truncated) == 2


def test_rolling_log_likelihoods_equal_those_of_lm_eval(pair_of_models: tuple[ScorerLM, Any]) -> None:
    """A text of several windows is the sum over them, each token predicted once."""
    ours, theirs = pair_of_models
    requests = instances("loglikelihood_rolling", (PREAMBLE,), ("Bread.",))

    for expected, total in zip(
        theirs.loglikelihood_rolling(requests), ours.loglikelihood_rolling(requests), strict=True
    ):
        assert abs(expected - total) <= max(1e-4, 1e-6 * abs(expected))


def test_generation_is_that_of_lm_eval(pair_of_models: tuple[ScorerLM, Any]) -> None:
    """Same texts, with stop sequences and a limit."""
    ours, theirs = pair_of_models
    options = {"until": ["\n", "e"], "max_gen_toks": 12}
    requests = instances("generate_until", ("What is a telescope?", options), ("Who?", options), ("Bread is", options))

    assert theirs.generate_until(requests) == ours.generate_until(requests)


def test_a_context_without_tokens_is_the_prefix_token(gpt2_folder: Path, scorer_of: Any) -> None:
    """Where a context is white space alone, which lm-eval moves into the continuation, HFLM would stop."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(gpt2_folder), AutoTokenizer.from_pretrained(gpt2_folder)
    ours = ScorerLM(model, tokenizer, scorer_of(lambda _: -1.0))

    [(total, _)] = ours.loglikelihood(instances("loglikelihood", (" ", "No.")))

    assert -len(tokenizer(" No.").input_ids) == total
    assert tokenizer.pad_token is None


def test_a_continuation_longer_than_the_window_is_refused(pair_of_models: tuple[ScorerLM, Any]) -> None:
    """There is no honest number for a continuation that cannot be seen whole."""
    ours, _ = pair_of_models

    with pytest.raises(ContextTooLongError, match="256"):
        ours.loglikelihood(instances("loglikelihood", ("Who?", PREAMBLE)))


def test_quiet_restores_what_it_silences() -> None:
    """Bars and log levels are as before, after an error too."""
    from lm_eval.api import task

    logger, bar = logging.getLogger("lm_eval"), task.tqdm
    level = logger.level

    with pytest.raises(RuntimeError), quiet():  # noqa: PT012 - what is silenced is seen inside
        assert logger.level == logging.ERROR
        assert task.tqdm([], disable=False).disable
        raise RuntimeError

    assert (logger.level, task.tqdm) == (level, bar)


def test_greedy_answers_are_generated_once(
    pair_of_models: tuple[ScorerLM, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later run of the same subject finds them; another subject's, and drawn ones, are generated anew."""
    from lm_eval.models.huggingface import HFLM

    ours, _ = pair_of_models
    generate, calls = HFLM._model_generate, []

    def counting(*arguments: Any, **options: Any) -> Any:
        calls.append(options.get("do_sample"))
        return generate(*arguments, **options)

    def answers(**settings: Any) -> list[str]:
        options = {"until": ["\n"], "max_gen_toks": 6, **settings}
        return ours.generate_until(instances("generate_until", ("Who?", options), ("What is bread?", options)))

    monkeypatch.setattr(HFLM, "_model_generate", counting)
    with ScoreCache.open(tmp_path / "scores.sqlite", print) as cache:
        ours.scored_by(ours._scorer, KeptResults(cache, "subject"))
        first = answers()
        n_batches = len(calls)
        assert n_batches >= 1
        assert answers() == first
        assert len(calls) == n_batches
        answers(do_sample=True, temperature=0.7)
        answers(do_sample=True, temperature=0.7)
        assert len(calls) == 3 * n_batches
        ours.scored_by(ours._scorer, KeptResults(cache, "another subject"))
        assert answers() == first
        assert len(calls) == 4 * n_batches
    ours.scored_by(ours._scorer)
