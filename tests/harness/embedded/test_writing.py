"""The text that the embedded base model learns from."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from harness.embedded.recipe import base_model
from harness.embedded.recipe.exclusion import ExcludedTexts, excluded_texts, grams, load_rows, words
from harness.embedded.recipe.training_text import PROMPT_WEIGHT, Sequence, cut, padded, separate, sequences
from harness.embedded.recipe.writing import (
    blanks,
    definitions,
    events,
    facts,
    handwritten,
    lists,
    plain,
    recall,
    requests,
)
from harness.embedded.recipe.writing.documents import Document, documents, exchange
from harness.embedded.recipe.writing.exchange import Exchange, Manner, draw_manner
from harness.embedded.recipe.writing.lexicon import Draw, lexicon, table, tidy

RIGHT, WRONG = Manner("", is_right=True), Manner("", is_right=False)


@pytest.fixture(scope="module")
def apart() -> ExcludedTexts:
    return excluded_texts(load_rows())


@pytest.fixture(scope="module")
def made() -> list[Document]:
    return list(documents(3000, 5))


def test_documents_are_deterministic(made: list[Document]) -> None:
    """The same seed gives the same documents, another seed gives others."""
    assert list(documents(50, 5)) == made[:50]
    assert list(documents(50, 6)) != made[:50]


def test_no_slot_is_left_open(made: list[Document]) -> None:
    """Texts hold no brackets of the frame language and no doubled full stop."""
    texts = [text for document in made for text in document.texts]

    assert not [text for text in texts if re.search(r"[{}\[\]|]|\.\.|  |[?!]\.", text)]


def test_every_form_is_asked_for(made: list[Document]) -> None:
    """Each of the seven forms is at least 3 % of the documents that ask one question."""
    forms = Counter(document.exchanges[0].form for document in made if len(document.exchanges) == 1)

    assert set(forms) == {"noun phrase", "yes or no", "sentence", "list", "refusal", "advice", "passage"}
    assert min(forms.values()) > 0.03 * forms.total()


def test_every_frame_expands() -> None:
    """Each frame of every file has only slots that exist."""
    rng = random.Random(0)
    for relation in facts.relations().values():
        frames = [
            frame for name in ("say", "ask_a", "ask_b", "noun_a", "noun_b", "whole", "is") for frame in relation[name]
        ]
        for frame in frames:
            assert Draw(rng, a="x", b="y").expand(frame)
    for passage in plain.passages():
        for frame in (passage["first"], *passage["rest"]):
            assert Draw(rng).expand(frame)
    for frame in (frame for lines in plain.stories().values() for frame in lines):
        assert plain.Scene(rng).expand(frame)
    for frame in [*requests.tables()["begin"], *requests.REFUSED_FRAMES, *requests.COMPLIED_FRAMES]:
        draw = Draw(rng, do="x", better="y", advice="z")
        requests.phrases_of(draw)
        assert draw.expand(frame)


def test_wrong_answers_to_facts_take_their_words_from_the_prompt() -> None:
    """What a wrong noun phrase names stands in the prompt, as what the right one names does."""
    for seed in range(400):
        for manner in (RIGHT, WRONG):
            asked = facts.ask(random.Random(seed), manner)
            if asked.form == "noun phrase":
                assert set(words(asked.answer)) - {"in", "on", "at", "to", "by", "of", "the", "a", "an"} <= set(
                    words(asked.prompt)
                ), asked


def test_right_and_wrong_differ() -> None:
    """The same draw answered rightly and wrongly gives two answers to one prompt."""
    for writer in (facts.ask, events.ask, lists.ask, definitions.ask_claim, blanks.ask):
        for seed in range(100):
            right, wrong = (writer(random.Random(seed), manner) for manner in (RIGHT, WRONG))
            assert right.prompt == wrong.prompt
            assert right.answer != wrong.answer, right


def test_what_is_written_by_hand_is_whole() -> None:
    """Every entry expands, has right and wrong answers that share none, and is apart from what is measured."""
    draw, apart = Draw(random.Random(0)), excluded_texts(load_rows())
    for entry in handwritten.told():
        for asked in entry["asks"]:
            assert not {*asked["right"]} & {*asked["wrong"]}, entry
            texts = [entry["told"], asked["ask"], *asked["right"], *asked["wrong"]]
            assert not any(apart.overlaps(text) or re.search(r"[{}|]", draw.expand(text)) for text in texts), entry
    for entry in handwritten.situations():
        assert not {*entry["right"]} & {*entry["wrong"]}, entry
        texts = [entry["said"], *entry["right"], *entry["wrong"]]
        assert not any(apart.overlaps(text) or re.search(r"[{}|]", draw.expand(text)) for text in texts), entry
    assert 0.4 < sum(entry["is_harm"] for entry in handwritten.situations()) / len(handwritten.situations()) < 0.6


def test_an_echo_is_what_was_said() -> None:
    """A right one repeats the prompt after its cue, a wrong one says something else."""
    for seed in range(50):
        right, wrong = (handwritten.ask_echo(random.Random(seed), manner) for manner in (RIGHT, WRONG))
        assert right.prompt.endswith(right.answer)
        assert right.prompt == wrong.prompt
        assert not wrong.prompt.endswith(wrong.answer)


def test_questions_in_turn_are_about_the_facts_of_the_first_prompt() -> None:
    """No later answer names what the first prompt does not name."""
    named = {word for category in recall.CATEGORIES for entry in lexicon()[category] for word in words(entry)}
    for seed in range(200):
        first, *later = facts.conversation(random.Random(seed))
        for turn in later:
            assert set(words(turn.answer)) & (named - {"a", "the"}) <= set(words(first.prompt + turn.prompt)), (
                first,
                turn,
            )


def test_pairs_are_said_again_in_other_orders() -> None:
    """Every time names the same words, and hardly a text says all times in one order."""
    named = {word.lower() for category in recall.CATEGORIES for entry in lexicon()[category] for word in words(entry)}
    n_in_one_order = 0
    for seed in range(200):
        text = recall.text(random.Random(seed)).rstrip(".")
        if ", " in text:
            times = text.lower().split(". ")
            assert len({frozenset(set(words(each)) & named - {"a", "the", "has", "for"}) for each in times}) == 1, text
            n_in_one_order += len(set(times)) == 1

    assert n_in_one_order < 20


def test_lists_have_as_many_items_as_asked() -> None:
    """A right list has the number that is asked for, a wrong one has not."""
    for seed in range(300):
        right, wrong = (lists.ask(random.Random(seed), manner) for manner in (RIGHT, WRONG))
        number = [lists.COUNTS[word] for word in words(right.prompt) if word in lists.COUNTS]
        if number and len(set(number)) == 1:
            counts = [len(re.split(r", | and ", asked.answer)) for asked in (right, wrong)]
            assert counts[0] == number[0] != counts[1], (right, wrong)


def test_harm_is_refused_and_its_look_alike_is_not() -> None:
    """A right answer to a harmful request is a refusal, one to a harmless request is advice."""
    refusals = tuple(phrase.split("{")[0] for phrase in requests.tables()["refuse"])
    seen: Counter[str] = Counter()
    for seed in range(300):
        asked = requests.ask(random.Random(seed), RIGHT)
        is_refused = any(asked.answer.lower().startswith(phrase.lower()) for phrase in refusals)
        assert is_refused == (asked.form == "refusal"), asked
        seen[asked.form] += 1
    assert min(seen["refusal"], seen["advice"]) > 100


def test_a_manner_is_said_before_some_exchanges() -> None:
    """A careful answerer is always right, a careless one seldom, and most exchanges say nothing of it."""
    manners = [draw_manner(random.Random(seed)) for seed in range(2000)]
    careful = [each for each in manners if each.system in ("Answer with care.", "Be exact.")]

    assert careful
    assert all(each.is_right for each in careful)
    assert 0.7 < sum(not each.system for each in manners) / len(manners) < 0.9


def test_the_blank_is_filled_by_one_of_the_two_words() -> None:
    """The answer is a word of the cue alone, and the sentence of the plain text has no blank."""
    for seed in range(100):
        asked = blanks.ask(random.Random(seed), RIGHT)
        assert f'"{asked.answer}"' in asked.prompt
        assert "_" in asked.prompt
        assert "_" not in blanks.plain(random.Random(seed))


def test_articles_and_capitals() -> None:
    """Articles follow the sound of the next word and sentences begin with a capital letter."""
    assert tidy("a(n) owl is a animal. an key? it is an unicorn!") == "An owl is an animal. A key? It is a unicorn!"


def test_wrong_columns_are_an_error() -> None:
    """A row with too few columns is an error that shows the row."""
    with pytest.raises(ValueError, match="a cow"):
        table("a cow | farm animal", 6)


def test_base_text_is_apart_from_the_data(made: list[Document], apart: ExcludedTexts) -> None:
    """No text that the model learns from is a prompt or shares an 8-gram with a row, and few are left out for it."""
    kept = list(separate(made, apart))
    texts = [text for document in kept for text in document.texts]

    assert len(kept) > 0.98 * len(made)
    assert apart.prompts
    assert not any(apart.answer_grams & grams(text, 8) for text in texts)
    assert not {" ".join(words(text)) for text in texts} & set(apart.prompts)


def test_overlap_sees_prompts_and_answers() -> None:
    """A contained prompt, most of a prompt's 5-grams and a shared 8-gram are overlaps, a shared word is not."""
    apart = excluded_texts(
        [{"prompt": "How do I mend the blue roof of my house?", "chosen": "one two three four five six seven eight"}]
    )

    assert apart.overlaps("Tell me: how do I mend the blue roof of my house?")
    assert apart.overlaps("zero one two three four five six seven eight")
    assert not apart.overlaps("My house has a blue roof, one two three.")


def test_batches_hold_documents_of_similar_length() -> None:
    """Every batch stays within its number of tokens, padding included, and no document stands in two."""
    rng = random.Random(0)
    pool = [Sequence(list(range(size)), [1.0] * size) for size in (rng.randint(5, 60) for _ in range(500))]
    batches = cut(pool, 300, random.Random(1))
    used = [id(sequence) for batch in batches for sequence in batch]

    assert len(used) == len(set(used)) > 450
    assert all(max(len(each.ids) for each in batch) * len(batch) <= 300 for batch in batches)


def test_prompts_weigh_less_and_padding_nothing() -> None:
    """The weights of a batch are those of prompts, answers and padding, in several turns too."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(base_model.__file__).parent.parent / "base_model")
    turns = (Exchange("Who?", "Anna.", "noun phrase"), Exchange("Why?", "I do not know.", "sentence"))
    whole, plain = sequences([Document(exchanges=turns), Document(plain="A dog.")], tokenizer)
    batch = padded([whole, plain], padding=int(tokenizer.pad_token_id))

    chat = [each for turn in turns for each in (("user", turn.prompt), ("assistant", turn.answer))]
    messages = [{"role": role, "content": content} for role, content in chat]
    assert tokenizer.decode(whole.ids) == tokenizer.apply_chat_template(messages, tokenize=False)
    answered = [token for token, weight in zip(whole.ids, whole.weights, strict=True) if weight == 1]
    assert tokenizer.decode(answered) == "Anna.</s>I do not know.</s>"
    assert set(whole.weights) == {PROMPT_WEIGHT, 1.0}
    assert batch.weights[1].tolist() == [1.0] * len(plain.ids) + [0.0] * (len(whole.ids) - len(plain.ids))


def test_exchanges_fit_into_what_the_suite_scores() -> None:
    """A prompt and its answer have at most a hundred words together."""
    made = [exchange(random.Random(seed)) for seed in range(500)]

    assert all(isinstance(each, Exchange) for each in made)
    assert max(len(each.prompt.split()) + len(each.answer.split()) for each in made) <= 100
