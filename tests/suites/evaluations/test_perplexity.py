"""Perplexity against closed forms."""

from math import exp, log
from typing import Any

import pytest

from suites.engine.encoding import Encoder
from suites.evaluations import perplexity
from suites.inputs import Example, Prompt, Turn

QUESTION: Prompt = (Turn("user", "What is a telescope?"),)
OTHER: Prompt = (Turn("user", "Who bakes bread?"),)


def example(example_id: str, prompt: Prompt, response: str, *wrong: str) -> Example:
    return Example(example_id, f"group {example_id}", prompt, response, wrong)


def test_perplexity_of_a_uniform_model_is_its_vocabulary_size(encoder: Encoder, scorer_of: Any, as_table: Any) -> None:
    """With every token at 1/400, all three perplexities are 400 and the bits per byte follow from the content."""
    rows = [
        example("a", QUESTION, "A long tube."),
        example("b", OTHER, "The baker, at night."),
        example("c", OTHER, "I."),
    ]
    plan = perplexity.plan(rows, encoder)

    scores = perplexity.measure(
        plan, scorer_of(lambda _: -log(400))(plan.requests), evaluation="truthfulness", subject="baseline"
    )

    table = as_table(scores)
    n_content = sum(answer.n_content_tokens for _, answer in perplexity.distinct_answers(plan))
    n_bytes = sum(len(row.response) for row in rows)
    for name in ("perplexity", "perplexity_without_eos", "perplexity_per_example"):
        assert exp(table[name]) == pytest.approx(400, rel=1e-5)
    assert table["bits_per_byte"] == pytest.approx(log(400) / log(2) * n_content / n_bytes)
    assert [one.metric.name for one in scores if one.metric.primary] == ["perplexity"]
    assert {("truthfulness", "baseline")} == {(one.metric.evaluation, one.subject) for one in scores}
    assert [score.example_id for score in scores[0].scores] == ["a", "b", "c"]
    assert "right_wrong_margin" not in table


def test_eos_counts_only_where_it_is_said_to(encoder: Encoder, scorer_of: Any, as_table: Any) -> None:
    """A model that is sure of all but EOS has perplexity without EOS 1 and pays for EOS in the pooled one alone."""
    eos = encoder.tokenizer.eos_token_id
    plan = perplexity.plan([example("a", QUESTION, "No."), example("b", QUESTION, "A tube with glass.")], encoder)

    scores = scorer_of(lambda token: -3.0 if token == eos else 0.0)(plan.requests)
    table = as_table(perplexity.measure(plan, scores, evaluation="e", subject="s"))

    lengths = [len(answer.request.response_ids) for _, answer in perplexity.distinct_answers(plan)]
    assert 0 == table["perplexity_without_eos"] == table["bits_per_byte"]
    assert table["perplexity"] == pytest.approx(2 * 3.0 / sum(lengths))
    assert table["perplexity_per_example"] == pytest.approx((3 / lengths[0] + 3 / lengths[1]) / 2)


def test_an_answer_of_many_rows_is_counted_once(encoder: Encoder, scorer_of: Any) -> None:
    """Equal prompt and response are one example of the perplexity; their wrong answers are rows of their own."""
    rows = [
        example("a", QUESTION, "A tube.", "A tree."),
        example("b", QUESTION, "A tube.", "A trophy.", "A tree."),
        example("c", OTHER, "A tube."),
    ]
    plan = perplexity.plan(rows, encoder)

    scores = perplexity.measure(plan, scorer_of(lambda _: -1.0)(plan.requests), evaluation="e", subject="s")

    by_name = {one.metric.name: one.scores for one in scores}
    assert [score.example_id for score in by_name["perplexity"]] == ["a", "c"]
    assert [score.example_id for score in by_name["right_wrong_margin"]] == ["a", "b"]
    assert len(plan.requests) == 4
    assert plan.touched == {"answer of an earlier row, counted once": 1}


def test_right_answers_are_held_against_wrong_ones_per_content_token(encoder: Encoder, scorer_of: Any) -> None:
    """Margin and share come from the mean log-probability of the content; a tie with the best wrong answer is 0.5."""
    comma = encoder.tokenizer(",", add_special_tokens=False).input_ids[0]
    rows = [
        example("won", QUESTION, "No.", ",,", "No,"),
        example("tied", QUESTION, "No.", "To.", ",,"),
        example("lost", QUESTION, ",,", "No.", ",,,,"),
        example("alone", OTHER, "No."),
    ]
    plan = perplexity.plan(rows, encoder)

    scores = perplexity.measure(
        plan, scorer_of(lambda token: -6.0 if token == comma else -1.0)(plan.requests), evaluation="e", subject="s"
    )

    by_name = {one.metric.name: {score.example_id: score.total for score in one.scores} for one in scores}
    n_no = len(encoder.tokenizer("No", add_special_tokens=False).input_ids)
    mixed = (-1.0 * n_no - 6.0) / (n_no + 1)
    assert by_name["right_above_wrong"] == {"won": 1.0, "tied": 0.5, "lost": 0.0}
    assert by_name["right_wrong_margin"]["won"] == pytest.approx(-1 - (-6 + mixed) / 2)
    assert by_name["right_wrong_margin"]["lost"] == pytest.approx(-6 - (-1 - 6) / 2)


def test_a_number_that_is_not_finite_is_missing_with_its_reason(encoder: Encoder, scorer_of: Any) -> None:
    """One NaN takes the metric away rather than counting as 0; no examples are said to be none."""
    plan = perplexity.plan([example("a", QUESTION, "No."), example("b", OTHER, "Yes.")], encoder)
    broken = scorer_of(lambda token: float("nan") if token == plan.requests[1].response_ids[0] else -1.0)

    [first, *_] = perplexity.measure(plan, broken(plan.requests), evaluation="e", subject="s")
    [empty, *_] = perplexity.measure(perplexity.plan([], encoder), [], evaluation="e", subject="s")

    assert (first.scores, first.missing, first.is_finite) == ((), "not a finite number in 1 of 2 examples", False)
    assert (empty.scores, empty.missing) == ((), "no examples")


@pytest.mark.parametrize("broken", ["right", "wrong", "best"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_an_answer_without_a_number_is_neither_above_nor_below(
    encoder: Encoder, scorer_of: Any, broken: str, value: float
) -> None:
    """Whether the right answer, a wrong one or the last wrong one is broken: the share is missing, not 0 and not 1."""
    plan = perplexity.plan([example("a", QUESTION, "No.", "Yes.", ",,")], encoder)
    [responses] = plan.responses
    chosen = dict(zip(("right", "wrong", "best"), responses, strict=True))[broken].request.response_ids[0]
    scores = scorer_of(lambda token: value if token == chosen else -1.0)(plan.requests)

    by_name = {one.metric.name: one for one in perplexity.measure(plan, scores, evaluation="e", subject="s")}

    for name in ("right_above_wrong", "right_wrong_margin"):
        assert (by_name[name].scores, by_name[name].is_finite) == ((), False)


def primary_of(encoder: Encoder, scorer: Any, *rows: Example) -> list[str]:
    """Names of the primary metrics of rows."""
    plan = perplexity.plan(rows, encoder)
    return [
        one.metric.name
        for one in perplexity.measure(plan, scorer(plan.requests), evaluation="e", subject="s")
        if one.metric.primary
    ]


def test_the_length_of_answers_decides_which_perplexity_is_primary(encoder: Encoder, scorer_of: Any) -> None:
    """Answers of two tokens leave the end of turn out of the primary metric, long ones do not, whatever the scores."""
    short = example("a", QUESTION, "No.")
    long = example("b", OTHER, "The baker, who is awake at night, bakes bread with flour, water, salt and yeast.")

    for value in (-0.1, -5.0):
        scorer = scorer_of(lambda _, value=value: value)
        assert primary_of(encoder, scorer, short) == ["perplexity_without_eos"]
        assert primary_of(encoder, scorer, long) == ["perplexity"]
        assert primary_of(encoder, scorer, short, long) == ["perplexity"]


def test_a_perplexity_knows_what_a_uniform_guess_reaches(encoder: Encoder, scorer_of: Any) -> None:
    """The natural logarithm of the vocabulary's size, in nats as its values are; bits per byte have none."""
    plan = perplexity.plan([example("a", QUESTION, "No.")], encoder)
    scores = perplexity.measure(plan, scorer_of(lambda _: -1.0)(plan.requests), evaluation="e", subject="s")

    by_name = {one.metric.name: one.metric.uninformative for one in scores}
    assert by_name["perplexity"] == by_name["perplexity_without_eos"] == log(len(encoder.tokenizer))
    assert by_name["bits_per_byte"] is None
