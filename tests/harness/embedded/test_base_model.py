"""The embedded base model, its tokenizer, and the recipe that makes them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from harness.embedded.recipe import base_model
from harness.embedded.recipe.base_model import BaseRecipe, build, make_model, make_tokenizer, progress_folder
from harness.embedded.recipe.pretraining import PROGRESS, Schedule, learning_rate_at
from harness.embedded.recipe.training_text import Batch

BASE_MODEL = Path(base_model.__file__).parent.parent / "base_model"
SMALL = BaseRecipe(
    schedule=Schedule(steps=6, warmup_steps=2, log_steps=3, save_steps=3),
    batch_tokens=200,
    vocabulary_size=400,
    tokenizer_documents=100,
    hidden_size=16,
    intermediate_size=32,
    n_layers=1,
    n_heads=2,
)
EIGHT_MEGABYTES = 8_000_000
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "What is bread?"},
    {"role": "assistant", "content": "Food made from flour."},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE_MODEL)


def test_files_are_small() -> None:
    """All files of the base model together take at most eight megabytes."""
    size = sum(path.stat().st_size for path in BASE_MODEL.iterdir())

    assert size <= EIGHT_MEGABYTES


def test_weights_are_bf16_safetensors_of_three_to_four_and_a_half_million_parameters() -> None:
    """The weights are bf16 safetensors of a Llama with 3 to 4.5 million parameters."""
    from safetensors import safe_open

    with safe_open(BASE_MODEL / "model.safetensors", framework="pt") as file:
        slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - not a dictionary
        count = 0
        for piece in slices:
            shape = piece.get_shape()
            count += shape[0] * (shape[1] if len(shape) > 1 else 1)
            assert piece.get_dtype() == "BF16"

    assert 3_000_000 <= count <= 4_500_000


def test_architecture() -> None:
    """The configuration is that of the recipe: a Llama with tied embeddings and at least 2,048 tokens."""
    from transformers import AutoConfig

    config, recipe = AutoConfig.from_pretrained(BASE_MODEL), BaseRecipe()

    assert config.model_type == "llama"
    assert config.tie_word_embeddings
    assert (config.hidden_size, config.num_hidden_layers) == (recipe.hidden_size, recipe.n_layers)
    assert config.vocab_size == recipe.vocabulary_size >= 2048
    assert config.max_position_embeddings == 2048


@pytest.mark.parametrize(
    "text",
    [
        "plain words",
        " two  spaces ",
        "h\u00e9llo w\u00f6rld",
        "\u4f60\u597d \U0001f600",
        "tabs\tand\nlines\x00",
        "\u202eright",
    ],
)
def test_tokenizer_round_trips_any_text(tokenizer: Any, text: str) -> None:
    """Every text comes back unchanged, because every byte is a token."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    assert text == tokenizer.decode(ids)


def test_special_tokens_are_distinct(tokenizer: Any) -> None:
    """BOS, EOS and PAD are three tokens."""
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_chat_template_writes_bos_once(tokenizer: Any) -> None:
    """Templated text starts with BOS, encoded without special tokens it holds exactly one, and it ends with EOS."""
    text = tokenizer.apply_chat_template(CHAT, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id


def test_prompt_is_a_prefix_of_the_chat(tokenizer: Any) -> None:
    """The prompt with the generation prompt is a prefix of the full chat, in text and in tokens."""
    prompt = tokenizer.apply_chat_template(CHAT[:-1], tokenize=False, add_generation_prompt=True)
    full = tokenizer.apply_chat_template(CHAT, tokenize=False)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    full_ids = tokenizer(full, add_special_tokens=False)["input_ids"]

    assert full.startswith(prompt)
    assert prompt_ids == full_ids[: len(prompt_ids)]


def test_chat_template_marks_the_answers(tokenizer: Any) -> None:
    """The assistant mask covers the answer and its EOS, nothing else."""
    encoded = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]

    assert f"{CHAT[-1]['content']}</s>" == tokenizer.decode(marked)


def test_chat_template_refuses_unknown_roles(tokenizer: Any) -> None:
    """A role that the template does not know is an error that names it."""
    with pytest.raises(Exception, match="tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_the_recipe_makes_three_to_four_and_a_half_million_parameters() -> None:
    """The shape of the recipe has the size that is promised."""
    recipe = BaseRecipe()
    tokens = make_tokenizer(SMALL)

    model = make_model(tokens, recipe)

    rest = recipe.hidden_size * (recipe.vocabulary_size - len(tokens))
    assert 3_000_000 <= model.num_parameters() + rest <= 4_500_000


def test_learning_rate_warms_up_and_falls() -> None:
    """The learning rate rises to its peak and ends at the last share of it."""
    schedule = Schedule()

    assert learning_rate_at(0, schedule) < learning_rate_at(schedule.warmup_steps - 1, schedule)
    assert learning_rate_at(schedule.warmup_steps, schedule) == pytest.approx(schedule.learning_rate)
    last = learning_rate_at(schedule.steps, schedule)
    assert last == pytest.approx(schedule.learning_rate * schedule.last_share)


class Stopped(Exception):  # noqa: N818 - not an error
    """Stands for a kill in the middle of a training."""


def test_a_stopped_build_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after four of six steps and started again, the build writes the weights of one that was not stopped."""
    from harness.embedded.recipe import pretraining

    build(tmp_path / "whole", SMALL)
    original = pretraining.weighted_loss
    calls: list[int] = []

    def stopping(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise Stopped
        return original(*args)

    monkeypatch.setattr(pretraining, "weighted_loss", stopping)
    with pytest.raises(Stopped):
        build(tmp_path / "stopped", SMALL)
    (progress,) = tmp_path.glob("stopped.progress-*")
    assert (progress / PROGRESS).exists()
    build(tmp_path / "stopped", SMALL)

    whole, stopped = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped
    assert len(calls) == 4 + 1 + 3  # it went on from step three
    assert not progress.exists()


def test_another_recipe_or_text_does_not_go_on_from_this_one(tmp_path: Path) -> None:
    """The progress of a recipe on its text, with its number of threads, is kept under a name of its own."""
    import torch

    folder, ids = tmp_path / "base", torch.arange(6, dtype=torch.int16)
    batch, other = (Batch(each.view(2, 3), torch.ones(2, 3)) for each in (ids, ids + 1))
    own = progress_folder(folder, SMALL, [batch])

    assert own == progress_folder(folder, dataclasses.replace(SMALL), [batch])
    assert own != progress_folder(folder, dataclasses.replace(SMALL, seed=1), [batch])
    assert own != progress_folder(folder, SMALL, [other])
    n_threads = torch.get_num_threads()
    torch.set_num_threads(n_threads + 1)
    try:
        assert own != progress_folder(folder, SMALL, [batch])
    finally:
        torch.set_num_threads(n_threads)


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damaged_progress_is_said_and_left_behind(
    damage: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty, of another kind or cut off: the training begins anew."""
    from harness.embedded.recipe.pretraining import keep, make_optimizers, restore

    model = make_model(make_tokenizer(SMALL), SMALL)
    optimizers = make_optimizers(model, SMALL.schedule)
    keep(model, optimizers, 3, tmp_path)
    file = tmp_path / PROGRESS
    assert [each.name for each in tmp_path.iterdir()] == [PROGRESS]
    assert restore(model, optimizers, tmp_path) == 3
    file.write_bytes(file.read_bytes()[:-1000] if damage is None else damage)

    assert restore(model, optimizers, tmp_path) == 0
    assert f"{file} cannot be read" in capsys.readouterr().out


@pytest.mark.slow
def test_the_base_that_ships_does_what_its_recipe_promises() -> None:
    """It foresees right answers better than a trigram, and at least 80 % of its answers to held-out prompts fit."""
    from click.testing import CliRunner

    from harness.embedded.recipe.checks.__main__ import main

    result = CliRunner().invoke(main, [])

    assert result.exit_code == 0, result.output


def test_what_is_built_loads_and_answers(tmp_path: Path) -> None:
    """A few steps write a model and a tokenizer that load and generate."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    build(tmp_path / "base", SMALL)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    prompt = tokenizer.apply_chat_template(CHAT[:-1], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    generated = model.generate(**prompt, max_new_tokens=3)

    assert generated.shape[1] > prompt["input_ids"].shape[1]
    assert json.loads((tmp_path / "base" / "config.json").read_text())["dtype"] == "bfloat16"
