"""Answers to questions: batches of `generate`, and the positions at which a token was generated."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suites.engine.cache.kept import KeptResults
from suites.engine.cache.score_cache import ScoreCache
from suites.engine.decoding import BATCH_SIZE, AnswerTokens, Decoding, answer_questions, generate, stop_token_ids
from suites.engine.encoding import Encoder
from suites.inputs import Question, Turn

WHO = Question("who", "g", (Turn("user", "Who?"),))
SAMPLED = Decoding(max_new_tokens=12, temperature=0.9, top_p=0.8, seed=7)


@pytest.fixture(scope="module")
def model(llama_folder: Path) -> Any:
    """A Llama of random weights with 256 positions."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(llama_folder).eval()


def test_questions_are_answered_in_batches(model: Any, encoder: Encoder) -> None:
    """With the very tokens that `generate` gives after each prompt alone, and progress counts them."""
    questions = [Question(f"k{n}", "g", (Turn("user", f"Who is {n}?"),)) for n in range(BATCH_SIZE + 2)]
    done: list[int] = []

    answers = answer_questions(model, encoder, questions, decoding=SAMPLED, progress=done.append)

    prompt, stops = encoder.prompt_ids(questions[-1].prompt), stop_token_ids(model, encoder)
    (alone,) = generate(model, encoder.tokenizer, [prompt], stops=stops, decoding=SAMPLED, keys=[f"k{BATCH_SIZE + 1}"])
    assert (answers[-1].prompt_ids, list(answers[-1].answer_ids)) == (prompt, alone)
    assert done == [BATCH_SIZE, BATCH_SIZE + 2]


@pytest.mark.parametrize(
    ("answer_ids", "n_positions"),
    [([], 1), ([5], 2), ([5, 6, 7], 3)],
    ids=["ended at once", "ended by a stop token", "ended by its limit"],
)
def test_the_token_that_ends_an_answer_was_generated_too(
    model: Any,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    answer_ids: list[int],
    n_positions: int,
) -> None:
    """One position more than tokens where an answer ended by itself; none where it was cut off."""
    monkeypatch.setattr("suites.engine.decoding.generate", lambda *_args, **_options: [answer_ids])

    (answer,) = answer_questions(model, encoder, [WHO], decoding=Decoding(3))

    assert (answer.answer_ids, answer.n_positions) == (tuple(answer_ids), n_positions)
    assert len(answer.input_ids) == len(answer.prompt_ids) + n_positions - 1


def test_an_answer_at_the_last_position_of_the_model_was_cut_off(
    model: Any, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model has fewer positions left than were asked for, these are the limit."""
    asked: list[Decoding] = []

    def fill(*_args: Any, decoding: Decoding, **_options: Any) -> list[list[int]]:
        asked.append(decoding)
        return [[1] * decoding.max_new_tokens]

    monkeypatch.setattr("suites.engine.decoding.generate", fill)
    (answer,) = answer_questions(model, encoder, [WHO], decoding=replace(SAMPLED, max_new_tokens=10_000))

    assert asked == [replace(SAMPLED, max_new_tokens=256 - len(answer.prompt_ids))]
    assert answer.n_positions == len(answer.answer_ids) == asked[0].max_new_tokens


def test_answers_are_generated_once(
    model: Any, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later run finds those of the same model, settings and batch, also what is no answer; others it generates."""
    questions = [Question(f"k{n}", "g", (Turn("user", f"Who is {n}?"),)) for n in range(BATCH_SIZE + 2)]
    calls: list[int] = []

    def counting(_model: Any, _tokenizer: Any, prompts: Any, **options: Any) -> Any:
        calls.append(len(prompts))
        answers = generate(_model, _tokenizer, prompts, **options)
        return [None, *answers[1:]]  # as where logits are not finite

    monkeypatch.setattr("suites.engine.decoding.generate", counting)
    with ScoreCache.open(tmp_path / "scores.sqlite", print) as cache:
        kept = KeptResults(cache, "weights")

        def ask(asked: list[Question] = questions, kept: KeptResults = kept, **changes: Any) -> list[AnswerTokens]:
            return answer_questions(model, encoder, asked, decoding=replace(SAMPLED, **changes), kept=kept)

        first = ask()
        assert calls == [BATCH_SIZE, 2]
        assert ask() == first
        assert [answer.is_finite for answer in first].count(False) == 2
        assert calls == [BATCH_SIZE, 2]
        ask(seed=8)
        ask(max_new_tokens=3)
        ask(kept=KeptResults(cache, "other weights"))
        ask(questions[:-1])
        assert calls[2:] == [BATCH_SIZE, 2, BATCH_SIZE, 2, BATCH_SIZE, 2, 1]
        renamed = [replace(question, example_id=f"other {question.example_id}") for question in questions[:3]]
        assert ask(renamed) != ask(questions[:3])
        n_calls = len(calls)
        greedy = ask(renamed, temperature=0.0)
        assert ask(questions[:3], temperature=0.0) == greedy
        assert len(calls) == n_calls + 1
