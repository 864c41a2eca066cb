"""What adapters and their controls are trained on."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.schema import ModelConfig
from harness.data.experiment_data import ExperimentData
from harness.data.overlap import Overlap
from harness.data.read import Dataset
from harness.models.base import LoadedModel, load_model
from harness.training.encode import encode_rows
from harness.training.recipe import RatedRequest
from suites.engine.encoding import EncodedPair, Encoder, UnwrittenAnswerError
from suites.inputs import Example, Pair, RatedAnswer, Request, Turn


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The embedded model's, with room for sixty tokens."""
    loaded: LoadedModel = load_model(ModelConfig(quantization="none"))
    return Encoder(loaded.tokenizer, max_prompt_tokens=40, max_tokens=60)


def pairs(n: int) -> tuple[Pair, ...]:
    """Pairs with different prompts."""
    return tuple(
        Pair(str(number), str(number), "", (Turn("user", f"Question {number}?"),), f"Yes, {number}.", f"No, {number}.")
        for number in range(n)
    )


def data_of(training: tuple, selection: tuple = (), sft: tuple = ()) -> ExperimentData:
    """An experiment's rows without anything to measure."""
    source = Dataset(training, "here", len(training), {})
    return replace(
        ExperimentData(
            training=training, selection=selection, training_dataset=source, overlap=Overlap(frozenset(), {})
        ),
        sft=sft,
    )


def test_pairs_are_trained_on_as_they_are_by_their_chosen_side_and_with_a_half_swapped(encoder: Encoder) -> None:
    """The three ways hold the same rows in the same order; the shuffled one has exactly half of its sides swapped."""
    encoded = encode_rows(data_of(pairs(10), pairs(3)), encoder, seed=1)
    own, chosen, shuffled = (encoded[name].training for name in ("experiment", "chosen", "shuffled"))

    assert all(isinstance(row, EncodedPair) for row in own)
    assert list(chosen) == [row.chosen.request for row in own]
    swapped = [
        row.chosen == other.rejected and row.rejected == other.chosen for row, other in zip(own, shuffled, strict=True)
    ]
    assert sum(swapped) == 5
    assert [row for row, is_swapped in zip(own, swapped, strict=True) if not is_swapped] == [
        row for row, is_swapped in zip(shuffled, swapped, strict=True) if not is_swapped
    ]
    assert encoded["experiment"].selection == encoded["chosen"].selection == encoded["shuffled"].selection


def test_rated_answers_give_good_ones_and_wrong_labels(encoder: Encoder) -> None:
    """SFT takes the good answers alone; shuffling turns half of the labels round and nothing else."""
    rated = tuple(
        RatedAnswer(
            str(number), str(number), "", (Turn("user", f"Question {number}?"),), f"Answer {number}.", number % 3 == 0
        )
        for number in range(9)
    )
    encoded = encode_rows(data_of(rated), encoder, seed=1)
    own, shuffled = encoded["experiment"].training, encoded["shuffled"].training

    assert all(isinstance(row, RatedRequest) for row in own)
    assert list(encoded["chosen"].training) == [row.request for row in own if row.is_good]
    assert [row.request for row in own] == [row.request for row in shuffled]
    assert sum(row.is_good != other.is_good for row, other in zip(own, shuffled, strict=True)) == 4


def test_pairs_that_truncation_makes_equal_are_counted_and_left_out(encoder: Encoder) -> None:
    """A pair whose sides differ only behind the token limit teaches nothing."""
    long = "word " * 80
    same = Pair("same", "same", "", (Turn("user", "Why?"),), f"{long} yes", f"{long} no")
    encoded = encode_rows(data_of((*pairs(2), same)), encoder, seed=1)

    assert len(encoded["experiment"].training) == 2
    assert encoded["experiment"].n_equal == 1


def test_a_first_stage_is_trained_on_its_own_answers(encoder: Encoder) -> None:
    """Rows of the first stage are single answers, there only where there is such a stage."""
    prompt = (Turn("user", "Which one?"),)
    encoded = encode_rows(data_of(pairs(2), sft=(Example("a", "a", prompt, "This one."),)), encoder, seed=1)

    (row,) = encoded["sft"].training
    assert isinstance(row, Request)
    assert row == encoder.encode(prompt, ["This one."])[0].request
    assert "sft" not in encode_rows(data_of(pairs(2)), encoder, seed=1)


def test_many_rows_are_encoded_in_parts_that_are_the_same(encoder: Encoder) -> None:
    """Progress is told by the part, and every row is what it is when it is encoded alone."""
    told: list[tuple[int, int]] = []
    many = encode_rows(data_of(pairs(300)), encoder, 1, lambda done, total: told.append((done, total)))["experiment"]
    single = [encoder.encode_pairs([pair])[0] for pair in pairs(300)]

    assert told == [(128, 300), (256, 300)]
    assert list(many.training) == single


@pytest.mark.parametrize("is_mapped", [False, True])
def test_rows_of_a_prompt_that_lie_apart_keep_their_places(
    encoder: Encoder, is_mapped: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However few prompts are encoded at a time: order, boundary, counts and halves are those of all at once."""
    given = [replace(pair, prompt=pairs(4)[number % 4].prompt) for number, pair in enumerate(pairs(12))]
    same = replace(given[5], example_id="same", chosen="word " * 80 + "yes", rejected="word " * 80 + "no")
    long = replace(given[6], example_id="long", chosen="word " * 90)
    rows = (*given, same, long)
    whole = encode_rows(data_of(rows), encoder, seed=1)
    monkeypatch.setattr("harness.training.encode.PROMPTS_A_BLOCK", 3)

    told: list[tuple[int, int]] = []
    parts = encode_rows(
        data_of(rows),
        encoder,
        1,
        lambda done, total: told.append((done, total)),
        folder=tmp_path if is_mapped else None,
    )

    unequal = [pair for pair in rows if pair is not same]
    assert list(parts["experiment"].training) == encoder.encode_pairs(unequal)
    assert parts == whole
    assert (parts["experiment"].n_equal, parts["experiment"].touched) == (1, {"response truncated": 1})


def test_only_the_kinds_of_rows_that_are_trained_on_are_made(encoder: Encoder) -> None:
    """The experiment's own are always there; a first stage is encoded where it is trained."""
    data = data_of(pairs(3), sft=(Example("a", "a", (Turn("user", "Which?"),), "This."),))

    assert set(encode_rows(data, encoder, 1, kinds=("chosen",))) == {"experiment", "chosen"}
    assert set(encode_rows(data, encoder, 1, kinds=("shuffled", "sft"))) == {"experiment", "shuffled", "sft"}


def test_answers_that_a_template_leaves_out_are_counted_over_all_rows(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is the same however many prompts are encoded at a time."""
    monkeypatch.setattr("harness.training.encode.PROMPTS_A_BLOCK", 2)
    cuts = "{% for message in messages %}{{ message['content'].split('</think>')[-1] + ' ' }}{% endfor %}"
    monkeypatch.setattr(encoder.tokenizer, "chat_template", cuts)
    cutting = Encoder(encoder.tokenizer, max_prompt_tokens=40, max_tokens=60)
    thinking = [replace(pair, chosen=f"<think>Hm.</think>{pair.chosen}") for pair in pairs(5)[::2]]

    with pytest.raises(UnwrittenAnswerError, match="part or all of 3 of 8 answers"):
        encode_rows(data_of((*thinking, pairs(5)[1])), cutting, seed=1)
