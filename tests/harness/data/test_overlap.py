"""Tests of overlap: planted rows, a brute-force search, the real data, and the time it takes."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.make import OverlapQuery, make_example, make_pair, make_rated_answer, overlap_query, words
from harness.data.overlap import find_overlap, without
from suites.inputs import Question, Turn

LONG = "Why do some people think that the moon is made of green cheese?"


def pair(*turns, chosen="An answer.", rejected="Another answer."):
    """A training pair whose turns alternate, the user first."""
    speakers = ("user", "assistant")
    prompt = [Turn(speakers[n % 2], text) for n, text in enumerate(turns)]
    return make_pair(prompt, chosen, rejected, source="s")


def overlaps(training, *texts, group=""):
    """Whether one training pair overlaps an evaluation row."""
    return bool(find_overlap([training], {"role": [OverlapQuery(texts, group)]}).training_ids)


@pytest.mark.parametrize(
    ("training", "text", "expected"),
    [
        (pair("Tell me: WHY DO SOME PEOPLE think, that the Moon is made of green cheese?!"), LONG, True),
        (pair("Hi", "Hello", f"{LONG} And the sun?"), LONG, True),
        (pair("Something else.", chosen=f"You asked: {LONG}"), LONG, True),
        (pair("Something else.", rejected=LONG), LONG, True),
        # 12 words, 9 of the 9 5-grams of which 8 would do: the last word is another, so 8 of 9 stay.
        (pair("Why do some people think that the moon is made of green jelly?"), LONG, True),
        # The word in the middle breaks five of nine.
        (pair("Why do some people think that the sun is made of green cheese?"), LONG, False),
        (pair("Why do people think of the moon?"), LONG, False),
        (pair("Why do some people think that", "the moon is made of green cheese", "Go on."), LONG, False),
        (pair("Please: who are you now?"), "Who are you now?", True),
        (pair("Please: who are you?"), "Who are you?", False),
        (pair("who ARE you"), "Who are you?", True),
        (pair("Who are you?", "A robot.", "Really? Tell me more."), "Who are you?", True),
        (pair("Nice.", "Who are you?", "Tell me more."), "Who are you?", False),
        (pair("Hi there, can you help?"), "Hi", False),
        (pair("Don\u2019t you dare — now!"), "don't you dare now", True),
        (pair("don't you dare, he said now"), "don't you dare now", False),
        (pair("¿?"), "!!!", False),
        (pair("A question about tea."), "", False),
    ],
)
def test_planted_questions(training, text, expected):
    """Spelling does not hide a question, a near copy counts, and a short one counts only as a whole first turn."""
    assert overlaps(training, text) is expected


@pytest.mark.parametrize("text", [LONG, "why do some people think... that the MOON is made of green cheese"])
def test_rated_answers_and_examples_are_searched_as_pairs_are(text):
    """Prompt and answer count, whatever the method; wrong answers of an example are not trained on."""
    ask = (Turn("user", "Something else."),)
    rated = make_rated_answer(ask, f"You asked: {LONG}", is_good=False, source="s")
    example = make_example(ask, f"You asked: {LONG}")
    innocent = make_example(ask, "No.", [LONG])
    asked_rated = make_rated_answer((Turn("user", LONG),), "No.", is_good=True, source="s")
    overlap = find_overlap((rated, example, innocent, asked_rated), {"role": [OverlapQuery((text,))]})
    assert overlap.training_ids == {rated.example_id, example.example_id, asked_rated.example_id}
    assert without((rated, example, innocent, asked_rated), overlap) == (innocent,)


def test_equal_groups_overlap():
    """A training row of an evaluation row's group overlaps though no text is shared; no group is no group."""
    row = pair("Some prompt about tea.")
    assert overlaps(row, "Other words entirely, none of them shared.", group=row.group)
    assert not overlaps(row, "Other words entirely, none of them shared.", group="")


def test_what_a_conversation_asks():
    """The last user turn and the first one are compared, once where they are the same."""
    prompt = (Turn("system", "Be kind."), Turn("user", "First?"), Turn("assistant", "Yes."), Turn("user", "Last?"))
    assert overlap_query(Question("id", "g", prompt)) == OverlapQuery(("Last?", "First?"), "g")
    assert overlap_query(Question("id", "g", prompt[:2])) == OverlapQuery(("First?",), "g")


def test_counts_and_examples_by_role():
    """Each role has its own counts and at most three examples; roles without a finding have zeros."""
    training = [pair(f"Question number {n} about the sea?") for n in range(5)] + [
        pair("Question number 0 about the sea?", chosen="B")
    ]
    roles = {
        "sea": [OverlapQuery((f"Question number {n} about the sea?",)) for n in (0, 1, 2, 3, 9)],
        "land": [OverlapQuery(("Question number 4 about the sea?",)), OverlapQuery(("What is a field?",))],
        "air": [OverlapQuery(("What is a wing made of?",))],
        "none": [],
    }
    overlap = find_overlap(training, roles)
    counts = {
        role: (found.n_rows, found.n_training_rows, len(found.examples)) for role, found in overlap.by_role.items()
    }
    assert counts == {"sea": (4, 5, 3), "land": (1, 1, 1), "air": (0, 0, 0), "none": (0, 0, 0)}
    assert overlap.by_role["land"].examples[0].text == "Question number 4 about the sea?"
    assert overlap.by_role["land"].examples[0].training_id == training[4].example_id
    assert without(training, overlap) == ()


def test_nothing_to_compare():
    """No training rows, or none that are measured, overlap nothing."""
    assert find_overlap([], {"role": [OverlapQuery((LONG,))]}).training_ids == frozenset()
    assert find_overlap([pair(LONG)], {}).by_role == {}


def brute_force(training, text):
    """The rule as it is written, without an index."""
    question = words(text)
    if question == words(training.prompt[0].text) and question:
        return True
    if len(question) < 4:
        return False
    parts = [words(part) for part in (*(turn.text for turn in training.prompt), training.chosen, training.rejected)]
    if any(part[start : start + len(question)] == question for part in parts for start in range(len(part))):
        return True
    grams = {question[start : start + 5] for start in range(len(question) - 4)}
    there = {part[start : start + 5] for part in parts for start in range(len(part) - 4)}
    return bool(grams) and len(grams & there) / len(grams) >= 0.8 - 1e-12


texts = st.lists(st.sampled_from("abc"), min_size=1, max_size=12).map(" ".join)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4), st.lists(texts, min_size=1, max_size=4))
def test_the_index_finds_what_a_search_finds(trained, questions):
    """On texts of three words that repeat a lot, index and search agree pair by pair."""
    training = [pair(prompt, chosen=chosen, rejected=rejected + " x") for prompt, chosen, rejected in trained]
    overlap = find_overlap(training, {str(n): [OverlapQuery((text,))] for n, text in enumerate(questions)})
    expected = {each.example_id for each in training if any(brute_force(each, text) for text in questions)}
    assert overlap.training_ids == expected
    for n, text in enumerate(questions):
        assert overlap.by_role[str(n)].n_rows == any(brute_force(each, text) for each in training)


def test_it_is_fast_enough_to_run_before_every_training():
    """1,200 transcripts of eight turns against 2,500 questions take less than ten seconds on one core."""
    rng = random.Random(0)
    vocabulary = [f"w{n}" for n in range(2000)] + ["the", "is", "what", "a", "of"] * 200
    text = lambda n: " ".join(rng.choices(vocabulary, k=n))  # noqa: E731
    training = [pair(*(text(40) for _ in range(7)), chosen=text(80), rejected=text(80)) for _ in range(1200)]
    questions = [OverlapQuery((text(15),)) for _ in range(2499)] + [OverlapQuery((training[7].chosen[:60],))]
    started = time.process_time()
    overlap = find_overlap(training, {"role": questions})
    assert time.process_time() - started < 10
    assert overlap.training_ids == {training[7].example_id}


def test_the_overlapping_rows_of_every_role_are_told_by_their_position():
    """So that they can be left out where it is too late to leave out the training row."""
    asked = {
        "one": [OverlapQuery(("Nobody asked for this one here",)), OverlapQuery((LONG,)), OverlapQuery(())],
        "none": [],
        "two": [OverlapQuery((LONG,)), OverlapQuery(("Something else entirely is asked",))],
    }
    found = find_overlap([pair(LONG)], asked).by_role
    assert {role: each.rows for role, each in found.items()} == {"one": {1}, "none": set(), "two": {0}}
