"""The promises that the embedded data keeps: counts, balance, separation of the splits, shapes."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import yaml

from harness.data.row import Row
from harness.data.sources import preferences as preferences_source
from harness.embedded.recipe import preferences, truthfulness
from harness.embedded.recipe.rows import DATA, jsonl_text, read_jsonl
from suites.evaluations.reward import bag_of_words_margin, fit_bag_of_words, outcome
from suites.inputs import Pair

Rows = list[dict[str, Any]]

MOST_WORDS = 65  # of a prompt and its longer answer together
TEXTS = ("prompt", "chosen", "rejected")
STRATA = [(split, source) for split in preferences.SPLITS for source in preferences.SOURCES]


def rows_of(name: str) -> Rows:
    return read_jsonl(DATA / f"{name}.jsonl")


def pairs_of(split: str, source: str) -> Rows:
    return [row for row in rows_of(f"preferences_{split}") if row["source"] == source]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z'-]+", text.lower())


def six_grams(texts: Iterable[str]) -> set[tuple[str, ...]]:
    return {tuple(found[i : i + 6]) for found in map(words, texts) for i in range(len(found) - 5)}


def preference_texts(split: str) -> list[str]:
    return [row[key] for row in rows_of(f"preferences_{split}") for key in TEXTS]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def test_preferences_are_as_many_as_promised() -> None:
    """There are at least 420 training pairs, 240 test pairs, 150 test groups, and 30 and 45 groups a source."""
    assert len(rows_of("preferences_train")) >= 420
    assert len(rows_of("preferences_test")) >= 240
    assert len({row["group"] for row in rows_of("preferences_test")}) >= 150
    for split, source in STRATA:
        groups = {row["group"] for row in pairs_of(split, source)}
        assert len(groups) >= (30 if split == "train" else 45)


@pytest.mark.parametrize(("split", "source"), STRATA)
@pytest.mark.parametrize("measure", [len, lambda text: len(text.split())], ids=["characters", "words"])
def test_the_chosen_answer_is_longer_as_often_as_shorter(split: str, source: str, measure: Any) -> None:
    """In every source and split "longest wins" and "shortest wins" are each right exactly half of the time."""
    rows = pairs_of(split, source)
    gaps = [measure(row["chosen"]) - measure(row["rejected"]) for row in rows]
    assert sum(gap > 0 for gap in gaps) == sum(gap < 0 for gap in gaps) > 0
    assert abs(sum(gaps)) < 0.15 * sum(measure(row["chosen"]) for row in rows)


@pytest.mark.parametrize(("split", "source"), STRATA)
def test_benign_look_alikes_are_a_fair_share(split: str, source: str) -> None:
    """A tenth of the pairs or more are benign look-alikes, on safety two fifths, and the helpful answer is chosen."""
    rows = pairs_of(split, source)
    benign = [row for row in rows if row["benign"]]
    assert (0.4 if source == "safety" else 0.1) <= len(benign) / len(rows) <= 0.55
    refusals = re.compile(r"will not|cannot|refuse|say no|do not help|Please do not|\bNo\b")
    assert not [row for row in benign if refusals.search(row["chosen"])]


@pytest.mark.parametrize("split", preferences.SPLITS)
def test_preference_columns_and_content(split: str) -> None:
    """Each pair has the agreed columns, no leftover slot, two different answers and a bounded length."""
    rows = rows_of(f"preferences_{split}")
    assert len({tuple(row[key] for key in TEXTS) for row in rows}) == len(rows)
    for row in rows:
        assert list(row) == ["prompt", "chosen", "rejected", "source", "group", "benign"]
        assert row["chosen"] != row["rejected"]
        assert not re.search(r"[{}]|  |\b[Aa] [aeioAEIO]|^[a-z]|\b(\w+) \1\b", " ".join(row[key] for key in TEXTS))
        assert all(row[key] == row[key].strip() and row[key][0].isupper() for key in TEXTS)
        assert len(words(row["prompt"])) + max(len(words(row[key])) for key in TEXTS[1:]) <= MOST_WORDS


def test_no_group_is_in_both_splits() -> None:
    """A group belongs to one split."""
    train, test = ({row["group"] for row in rows_of(f"preferences_{split}")} for split in preferences.SPLITS)
    assert not train & test


def test_no_sentence_frame_is_in_both_splits() -> None:
    """With every slot blanked, no sentence of four or more words is written in a training and in a test frame."""
    found: dict[str, set[str]] = defaultdict(set)
    for source in preferences.SOURCES:
        for frame in preferences.load_frames(source):
            for template in (*frame.prompts, *frame.answers):
                blanked = re.sub(r"\{\w+\}", "_", template).lower()
                found[frame.split] |= {sentence.strip() for sentence in re.split(r"[.?!:;]", blanked)}
    assert not {sentence for sentence in found["train"] & found["test"] if len(set(sentence.split()) - {"_"}) >= 4}


def test_no_six_words_in_a_row_stand_in_both_splits() -> None:
    """No test text shares a run of six words with any training text."""
    assert not six_grams(preference_texts("train")) & six_grams(preference_texts("test"))


def test_the_other_sets_share_no_wording_with_the_preferences() -> None:
    """Truthfulness, coreference, safety, prompts and neutral text share no run of six words with the pairs."""
    pairs = six_grams(preference_texts("train") + preference_texts("test"))
    for name in ("truthfulness_generation", "coreference", "safety", "benign_prompts", "neutral"):
        assert not pairs & six_grams(strings(rows_of(name))), name


def test_no_prompt_is_in_two_sets() -> None:
    """A prompt or question is asked in one file only, and there only once outside the pairs."""
    asked = [
        *{row["prompt"] for split in preferences.SPLITS for row in rows_of(f"preferences_{split}")},
        *(row["question"] for row in rows_of("truthfulness_generation")),
        *(row["sentence"] for row in rows_of("coreference")),
        *(row["prompt"] for name in ("safety", "benign_prompts", "neutral") for row in rows_of(name)),
    ]
    assert [text for text, count in Counter(asked).items() if count > 1] == []


def test_the_committed_preferences_are_what_the_recipe_writes() -> None:
    """Expanding the frames again gives the committed files, byte for byte."""
    for split, rows in preferences.build().items():
        written = (DATA / f"preferences_{split}.jsonl").read_text(encoding="utf-8")
        assert written == jsonl_text(preferences.records(rows))


@pytest.mark.parametrize(
    ("line", "section"),
    [
        ("Why? | Because.", {"kind": "one-sided"}),
        ("Tom ran. | Who? | Tom.", {"kind": "twins"}),
        ("Why? | Because. | No.", {"kind": "triplets"}),
    ],
)
def test_a_frame_with_a_missing_column_is_refused(line: str, section: dict[str, Any]) -> None:
    """Too few columns and an unknown kind are errors that name source and subject."""
    with pytest.raises(ValueError, match="facts, other fact"):
        preferences.parse_frame("facts", "other fact", "train", line, section)


def test_frames_that_cannot_be_balanced_are_refused() -> None:
    """One-sided frames whose chosen answers are all longer raise instead of writing nothing."""
    frame = preferences.Frame("facts", "x", "train", ("Why?",), ("It is so.", "No."), (False,))
    with pytest.raises(ValueError, match="cannot balance"):
        preferences.balance([frame])


def is_twin(row: dict[str, Any], rows: Rows) -> bool:
    """Whether the same two answers are also there with their sides exchanged, to another prompt of the group."""
    return any(
        other["group"] == row["group"] and (other["rejected"], other["chosen"]) == (row["chosen"], row["rejected"])
        for other in rows
    )


def as_pair(row: dict[str, Any]) -> Pair:
    made = preferences_source.pair(Row("a test", row, "embedded/preferences"))
    assert isinstance(made, Pair)
    return made


def bag_accuracy(fitted_on: Rows, judged: Rows) -> float:
    """Share of pairs that a bag of words gets right, a tie as half."""
    weights = fit_bag_of_words(map(as_pair, fitted_on))
    return sum(outcome(bag_of_words_margin(weights, as_pair(row))) for row in judged) / len(judged)


@pytest.mark.parametrize(("split", "source"), STRATA)
def test_words_alone_do_not_tell_at_least_half_of_the_pairs_apart(split: str, source: str) -> None:
    """At least half of the pairs of every source and split are twins, whose answers are chosen as often as rejected."""
    rows = pairs_of(split, source)
    twins = [row for row in rows if is_twin(row, rows)]
    answers = Counter(row["chosen"] for row in twins)

    assert 2 * len(twins) >= len(rows)
    for group in {row["group"] for row in twins}:
        own = [row for row in twins if row["group"] == group]
        assert Counter(row["chosen"] for row in own) == Counter(row["rejected"] for row in own)
    assert answers


def test_a_bag_of_words_is_at_chance_on_twins() -> None:
    """Fitted on the training pairs, and across groups of the test pairs, it is right on 45 to 55 % of the twins."""
    train, test = rows_of("preferences_train"), rows_of("preferences_test")
    twins = [row for row in test if is_twin(row, test)]
    assert 0.45 <= bag_accuracy(train, twins) <= 0.55

    groups = sorted({row["group"] for row in test})
    for part in range(5):
        held = set(groups[part::5])
        own = [row for row in twins if row["group"] in held]
        assert 0.45 <= bag_accuracy([row for row in test if row["group"] not in held], own) <= 0.55


def test_a_bag_of_words_does_not_solve_the_test_pairs(record_property: Callable[[str, object], None]) -> None:
    """Fitted on the training pairs, it stays below 70 % of all test pairs."""
    accuracy = bag_accuracy(rows_of("preferences_train"), rows_of("preferences_test"))
    record_property("bag_of_words_accuracy", accuracy)
    assert accuracy < 0.7


def test_truthfulness_questions_have_the_columns_of_truthfulqa() -> None:
    """At least 64 questions, each with several right and several wrong answers and the best one among the right."""
    rows = rows_of("truthfulness_generation")
    assert len(rows) >= 64
    columns = ["type", "category", "question", "best_answer", "correct_answers", "incorrect_answers", "source"]
    for row in rows:
        assert list(row) == columns
        assert row["type"] in ("Adversarial", "Non-Adversarial")
        assert row["best_answer"] == row["correct_answers"][0]
        assert min(len(row["correct_answers"]), len(row["incorrect_answers"])) >= 2
        assert not set(row["correct_answers"]) & set(row["incorrect_answers"])


def test_multiple_choice_puts_the_right_answer_first() -> None:
    """mc1 has one right choice and it is the first; mc2 has all of them; the file is what the recipe derives."""
    rows = rows_of("truthfulness_multiple_choice")
    for row in rows:
        assert row["mc1_targets"]["labels"] == [1] + [0] * (len(row["mc1_targets"]["choices"]) - 1)
        assert len(row["mc2_targets"]["labels"]) == len(row["mc2_targets"]["choices"])
    derived = [truthfulness.multiple_choice(row) for row in rows_of("truthfulness_generation")]
    assert truthfulness.MULTIPLE_CHOICE.read_text(encoding="utf-8") == jsonl_text(derived)
    assert len(rows) == len(derived)


def test_coreference_rows_are_twins_that_flip() -> None:
    """At least 60 pairs; both twins offer the same options before the blank, and their answers differ."""
    rows = rows_of("coreference")
    twins: dict[str, Rows] = defaultdict(list)
    for row in rows:
        assert list(row) == ["qID", "sentence", "option1", "option2", "answer"]
        before, _ = row["sentence"].split("_")
        assert row["option1"].lower() in before.lower()
        assert row["option2"].lower() in before.lower()
        twins[row["qID"].split("-")[0]].append(row)
    assert len(twins) >= 60
    for first, second in twins.values():
        assert {first["answer"], second["answer"]} == {"1", "2"}
        assert (first["option1"], first["option2"]) == (second["option1"], second["option2"])
        assert first["sentence"].split("_")[0] == second["sentence"].split("_")[0]
        assert first["sentence"] != second["sentence"]
    assert Counter(row["answer"] for row in rows) == {"1": len(twins), "2": len(twins)}
    first_of_pair = Counter(first["answer"] for first, _ in twins.values())
    assert first_of_pair["1"] == first_of_pair["2"]


def test_safety_rows_have_exactly_one_safe_answer() -> None:
    """At least 60 rows in the columns of PKU-SafeRLHF, balanced in place and in length of the safe answer."""
    rows = rows_of("safety")
    assert len(rows) >= 60
    for row in rows:
        answers = ["response_0", "response_1", "is_response_0_safe", "is_response_1_safe", "safer_response_id"]
        assert list(row) == ["prompt", *answers]
        assert row[f"is_response_{row['safer_response_id']}_safe"] is True
        assert row[f"is_response_{1 - row['safer_response_id']}_safe"] is False
    assert sum(row["safer_response_id"] for row in rows) * 2 == len(rows)
    longer = [(len(row["response_0"]) > len(row["response_1"])) == (row["safer_response_id"] == 0) for row in rows]
    assert sum(longer) * 2 == len(rows)


def test_generation_prompts_hold_both_kinds() -> None:
    """Sixteen benign look-alikes and eight harmful prompts stand ready for side-by-side generations."""
    kinds = Counter(row["kind"] for row in rows_of("benign_prompts"))
    assert kinds == {"benign look-alike": 16, "harmful": 8}


def test_neutral_passages_are_short_and_address_nobody() -> None:
    """Forty passages and more: one sentence that is given, a rest of moderate length, no question and no "you"."""
    rows = rows_of("neutral")
    assert len(rows) >= 40
    for row in rows:
        assert list(row) == ["prompt", "response"]
        assert re.fullmatch(r"[A-Z][^.?!]*[.]", row["prompt"])
        assert 15 <= len(words(row["response"])) <= MOST_WORDS
        assert not {"you", "your", "i", "please", "sorry"} & set(words(" ".join(row.values())))


def test_every_listed_dataset_file_exists() -> None:
    """Each split in datasets.yaml names a file that is there, and each file there is named."""
    listing = yaml.safe_load((DATA / "datasets.yaml").read_text(encoding="utf-8"))
    named = {file for splits in listing.values() for file in splits.values()}
    assert named == {path.name for path in DATA.glob("*.jsonl")}
