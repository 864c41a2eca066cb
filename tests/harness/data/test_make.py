"""Tests of what all datasets share: which rows can be used, groups, and one shape made from another."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.make import (
    RankedAnswer,
    answers_of,
    example_of_pair,
    example_of_rated,
    group_of,
    make_example,
    make_pair,
    make_question,
    make_ranked_pairs,
    make_rated_answer,
    merged_turns,
    one_example_an_answer,
    question_of,
    rated_of_pair,
    split_conversations,
    with_system,
    words,
)
from harness.data.row import LeftOut
from suites.inputs import Example, Pair, RatedAnswer, Turn

ASK = (Turn("user", "Why?"),)


def test_words_lose_case_punctuation_and_typography():
    """Two spellings of one sentence have the same words."""
    assert (
        words("Don\u2019t\u00a0PANIC — it's ﬁne!")
        == words("don't panic, it\u2019s fine")
        == ("don", "t", "panic", "it", "s", "fine")
    )


def test_groups_are_equal_for_spellings_of_one_text_alone():
    """Case and punctuation do not make a group, words do; texts without words have different groups."""
    assert group_of("Hi there!") == group_of(" hi THERE")
    assert len({group_of("Hi there!"), group_of("Hi where?"), group_of("?!"), group_of("...")}) == 4


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "reason"),
    [
        (ASK, "", "x", "empty answer"),
        (ASK, "x", "", "empty answer"),
        (ASK, "x", "x", "equal answers"),
        ((), "x", "y", "prompt does not end with a user turn"),
        ((*ASK, Turn("assistant", "a")), "x", "y", "prompt does not end with a user turn"),
        ((Turn("user", "a"), Turn("assistant", ""), *ASK), "x", "y", "empty turn in the prompt"),
    ],
)
def test_pairs_that_cannot_be_used_are_left_out_with_a_reason(prompt, chosen, rejected, reason):
    """Every reason has its own words, for the counts."""
    assert make_pair(prompt, chosen, rejected, source="s") == LeftOut(reason)


def test_neighbouring_turns_of_one_speaker_are_joined():
    """Chat templates want speakers to alternate."""
    turns = (Turn("user", "a"), Turn("assistant", "b"), Turn("assistant", "c"), Turn("user", "d"))
    assert merged_turns(turns) == (Turn("user", "a"), Turn("assistant", "b\n\nc"), Turn("user", "d"))


@given(st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), st.text())))
def test_merged_turns_alternate_and_lose_nothing(turns):
    """No two neighbours have one speaker, and the words stay in order."""
    merged = merged_turns(turns)
    assert all(first.speaker != second.speaker for first, second in pairwise(merged))
    assert "".join(turn.text.replace("\n", "") for turn in merged) == "".join(t.text.replace("\n", "") for t in turns)


def test_ids_are_of_content_and_groups_of_the_first_user_turn():
    """Equal content has one id in any row; a later turn changes the id but not the group."""
    pair = make_pair(ASK, "x", "y", source="s")
    later = make_pair((*ASK, Turn("assistant", "Because."), Turn("user", "And?")), "x", "y", source="s")
    assert pair.example_id == make_pair(ASK, "x", "y", source="other").example_id
    assert pair.example_id != make_pair(ASK, "y", "x", source="s").example_id
    assert pair.example_id != later.example_id
    assert pair.group == later.group == make_question(ASK).group


def test_examples_strip_texts_and_refuse_contradictions():
    """Empty wrong answers go; a right answer that is also called wrong, or empty, leaves the row out."""
    example = make_example(" Why? ", " So. ", ["No. ", " "], group="g")
    assert (example.prompt, example.response, example.wrong_responses) == (ASK, "So.", ("No.",))
    assert make_example("Why?", " ", [], group="g") == LeftOut("empty answer")
    assert make_example("Why?", "So.", [" So."], group="g") == LeftOut("right answer among the wrong ones")
    assert make_example(" ", "So.", [], group="g") == LeftOut("empty turn in the prompt")
    assert make_question((Turn("user", ""),)) == LeftOut("empty turn in the prompt")


def test_a_pair_serves_as_example_and_question():
    """The chosen answer is right, the rejected one wrong; group and prompt stay."""
    pair = make_pair(ASK, "x", "y", source="s")
    example = example_of_pair(pair)
    assert example == Example(pair.example_id, pair.group, ASK, "x", ("y",))
    assert question_of(pair) == question_of(example)
    assert question_of(pair).prompt == ASK


def test_an_answer_preferred_to_several_is_one_example():
    """It has all their wrong answers, and the order of rows does not matter."""
    pairs = [make_pair(ASK, *answers, source="s") for answers in (("x", "z"), ("x", "y"), ("y", "z"))]
    examples = one_example_an_answer(map(example_of_pair, pairs))
    assert {example.response: example.wrong_responses for example in examples} == {"x": ("y", "z"), "y": ("z",)}
    assert set(examples) == set(one_example_an_answer(map(example_of_pair, pairs[::-1])))


def test_rated_answers_differ_by_their_rating():
    """The same answer called good and bad is two rows; what cannot be used is left out as for pairs."""
    good, bad = (make_rated_answer(ASK, "x", is_good=is_good, source="s") for is_good in (True, False))
    assert good.example_id != bad.example_id
    assert (good.group, good.is_good, bad.is_good) == (make_question(ASK).group, True, False)
    assert make_rated_answer(ASK, "", is_good=True, source="s") == LeftOut("empty answer")
    assert make_rated_answer((), "x", is_good=True, source="s") == LeftOut("prompt does not end with a user turn")


def test_a_pair_is_two_rated_answers_and_a_good_answer_an_example():
    """What one method learns from serves the others, group and prompt unchanged."""
    pair = make_pair(ASK, "x", "y", source="s", score_gap=1.5)
    good, bad = rated_of_pair(pair)
    assert good == make_rated_answer(ASK, "x", is_good=True, source="s")
    assert bad == make_rated_answer(ASK, "y", is_good=False, source="s")
    example = example_of_rated(good)
    assert (example.prompt, example.response, example.wrong_responses, example.group) == (ASK, "x", (), pair.group)
    assert [answers_of(row) for row in (pair, good, example)] == [("x", "y"), ("x",), ("x",)]
    assert question_of(good) == question_of(pair)


def test_a_blank_system_turn_is_none():
    """Datasets write an empty text where there is none."""
    assert with_system(" ", ASK) == ASK
    assert with_system(" Be kind. ", ASK) == (Turn("system", "Be kind."), *ASK)


def test_conversations_are_split_where_their_answers_begin():
    """The last assistant turns are the answers; everything before them must be equal."""
    answered = [(*ASK, Turn("assistant", text)) for text in ("x", "y")]
    assert split_conversations(*answered) == (ASK, ("x", "y"))
    assert split_conversations(answered[0]) == (ASK, ("x",))
    assert split_conversations(ASK, answered[1]) == LeftOut("no conversation that ends with an assistant turn")
    other = (Turn("user", "What?"), Turn("assistant", "y"))
    assert split_conversations(answered[0], other) == LeftOut("the two sides do not share their prompt")


ranks = st.lists(st.integers(0, 4), min_size=1, max_size=6)


@given(ranks)
def test_ranked_answers_make_pairs_of_different_rank(scores):
    """`all` is every ordered pair once, `best_worst` the one of the widest gap; equal scores make none."""
    answers = [RankedAnswer(f"a{number}", score) for number, score in enumerate(scores)]
    score_of = {answer.text: answer.rank for answer in answers}
    every, widest = (
        make_ranked_pairs(ASK, answers, take=take, has_scores=True, source="s") for take in ("all", "best_worst")
    )
    if len(set(scores)) == 1:
        assert every == widest == LeftOut("answers of equal rank" if len(scores) > 1 else "fewer than two answers")
        return
    expected = {(one, other) for one in score_of for other in score_of if score_of[one] > score_of[other]}
    assert {(pair.chosen, pair.rejected) for pair in every} == expected
    assert len(every) == len(expected)
    assert all(pair.score_gap == score_of[pair.chosen] - score_of[pair.rejected] for pair in every)
    (pair,) = widest
    assert pair.score_gap == max(scores) - min(scores)
    assert pair.chosen == f"a{scores.index(max(scores))}"


def test_answers_in_the_order_of_their_rank_have_no_gap():
    """Pairs without scores have no score gap; blank answers are skipped."""
    answers = [RankedAnswer(" ", 0), RankedAnswer("x", -1), RankedAnswer("y", -2), RankedAnswer("z", -3)]
    pairs = make_ranked_pairs(ASK, answers, take="all", has_scores=False, source="s")
    assert [(pair.chosen, pair.rejected, pair.score_gap) for pair in pairs] == [
        ("x", "y", None), ("x", "z", None), ("y", "z", None)
    ]  # fmt: skip
    assert isinstance(pairs[0], Pair)
    assert isinstance(rated_of_pair(pairs[0])[0], RatedAnswer)
