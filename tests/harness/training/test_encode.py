"""What adapters and their controls are trained on."""

from dataclasses import replace

import pytest

from harness.config.schema import ModelConfig
from harness.data.experiment_data import ExperimentData
from harness.data.overlap import Overlap
from harness.data.read import Dataset
from harness.models.base import LoadedModel, load_model
from harness.training.encode import encode_rows
from harness.training.recipe import RatedRequest
from suites.engine.encoding import EncodedPair, Encoder
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
    """Progress is told by the part; equal token ids are one number in memory, whatever row they are of."""
    told: list[tuple[int, int]] = []
    many = encode_rows(data_of(pairs(300)), encoder, 1, lambda done, total: told.append((done, total)))["experiment"]
    single = [encoder.encode_pairs([pair])[0] for pair in pairs(300)]

    assert told == [(128, 300), (256, 300)]
    assert list(many.training) == single
    numbers = [number for row in many.training if isinstance(row, EncodedPair) for number in row.chosen_ids]
    assert len({id(number) for number in numbers}) == len(set(numbers))
