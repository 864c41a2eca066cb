"""The embedded base model, its tokenizer, its text and the recipe that makes them."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness.embedded.recipe import base_text
from harness.embedded.recipe.base_model import BaseRecipe, build, learning_rate_at, plain_documents, separate_chats
from harness.embedded.recipe.exclusion import ExcludedTexts, excluded_texts, grams, load_rows, words

BASE_MODEL = Path(base_text.__file__).parent.parent / "base_model"
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


@pytest.fixture(scope="module")
def apart() -> ExcludedTexts:
    return excluded_texts(load_rows())


def test_files_are_small() -> None:
    """All files of the base model together take at most eight megabytes."""
    size = sum(path.stat().st_size for path in BASE_MODEL.iterdir())

    assert size <= EIGHT_MEGABYTES


def test_weights_are_bf16_safetensors_of_about_three_million_parameters() -> None:
    """The weights are bf16 safetensors of a Llama with 2.5 to 3.5 million parameters."""
    from safetensors import safe_open

    with safe_open(BASE_MODEL / "model.safetensors", framework="pt") as file:
        slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - not a dictionary
        count = 0
        for piece in slices:
            shape = piece.get_shape()
            count += shape[0] * (shape[1] if len(shape) > 1 else 1)
            assert piece.get_dtype() == "BF16"

    assert 2_500_000 < count < 3_500_000


def test_architecture() -> None:
    """The configuration is a Llama with tied embeddings, hidden size 192, 6 layers and 2,048 tokens."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(BASE_MODEL)

    assert config.model_type == "llama"
    assert config.tie_word_embeddings
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (192, 6, 2048)
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


def test_base_text_is_deterministic() -> None:
    """The same seed gives the same texts, another seed gives others."""
    assert list(base_text.plain_texts(20, 3)) == list(base_text.plain_texts(20, 3))
    assert list(base_text.chats(20, 3)) == list(base_text.chats(20, 3))
    assert list(base_text.last_lesson(20, 3)) == list(base_text.last_lesson(20, 3))
    assert list(base_text.chats(20, 3)) != list(base_text.chats(20, 4))


def test_base_text_leaves_no_slot_open() -> None:
    """Expanded texts hold no brackets of the frame language and no doubled full stop."""
    texts = [*base_text.plain_texts(1500, 5)]
    texts += [message["content"] for chat in base_text.chats(1500, 5) for message in chat]

    assert not [text for text in texts if any(mark in text for mark in ("{", "}", "[", "]", "|", ".."))]


def test_every_frame_expands() -> None:
    """Each frame and each phrase has only slots that exist."""
    import random

    frames = [frame for lines in base_text.stories().values() for frame in lines]
    frames += [phrase for lines in base_text.phrases().values() for phrase in lines]
    kinds = [base_text.chat_frames()["kinds"], base_text.request_frames()["kinds"]]
    for kind in (kind for table in kinds for kind in table.values()):
        for style in kind["weights"]:
            frames += kind.get(style, [])
        for question in kind["ask"]:
            own_answers = list(question.items()) if isinstance(question, dict) else [(question, [])]
            frames += [frame for asked, answers in own_answers for frame in (asked, *answers)]
    for frame in frames:
        assert base_text.Scene(random.Random(0)).expand(frame) or not frame


def test_every_style_has_answers() -> None:
    """A style of a kind of request is either its own, shared, or answered question by question."""
    frames = base_text.chat_frames()
    for name, kind in frames["kinds"].items():
        assert name in base_text.CHAT_WEIGHTS
        for style in kind["weights"]:
            known = style in kind or style in frames["shared"]
            assert known or (style == "answered" and all(isinstance(question, dict) for question in kind["ask"]))


def test_wrong_columns_are_an_error() -> None:
    """A row with too few columns is an error that shows the row."""
    with pytest.raises(ValueError, match="a cow"):
        base_text._rows("a cow | farm animal", base_text.THING_FIELDS)


def test_articles_and_capitals() -> None:
    """Articles follow the sound of the next word and sentences begin with a capital letter."""
    assert (
        base_text.tidy("a(n) owl is a animal. an key? it is an unicorn!")
        == "An owl is an animal. A key? It is a unicorn!"
    )


def test_base_text_is_apart_from_the_data(apart: ExcludedTexts) -> None:
    """No text that the model learns from contains a prompt or shares an answer's 8-gram."""
    answers = apart.answer_grams
    texts = plain_documents(2000, 1, apart)
    texts += [
        message["content"]
        for chat in separate_chats([*base_text.chats(1500, 1), *base_text.last_lesson(1500, 3)], apart)
        for message in chat
    ]

    assert apart.prompts
    assert not any(answers & grams(text, 8) for text in texts)
    assert not {" ".join(words(text)) for text in texts} & set(apart.prompts)


def test_overlap_sees_prompts_and_answers() -> None:
    """A contained prompt, most of a prompt's 5-grams and a shared 8-gram are overlaps, a shared word is not."""
    apart = excluded_texts(
        [{"prompt": "How do I mend the blue roof of my house?", "chosen": "one two three four five six seven eight"}]
    )

    assert apart.overlaps("Tell me: how do I mend the blue roof of my house?")
    assert apart.overlaps("zero one two three four five six seven eight")
    assert not apart.overlaps("My house has a blue roof, one two three.")


def test_learning_rate_warms_up_and_falls() -> None:
    """The learning rate rises to its peak and ends at a tenth of it."""
    recipe = BaseRecipe()

    assert learning_rate_at(0, recipe) < learning_rate_at(49, recipe)
    assert learning_rate_at(50, recipe) == pytest.approx(recipe.learning_rate)
    assert learning_rate_at(recipe.steps, recipe) == pytest.approx(recipe.learning_rate / 10)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_recipe_builds_a_model_that_answers(tmp_path: Path) -> None:
    """Two steps of each stage write a model and a tokenizer that load and generate."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    recipe = dataclasses.replace(BaseRecipe(), steps=2, batch_size=2, sft_steps=2, lesson_steps=2, sft_batch_size=2)
    build(tmp_path / "base", recipe)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    prompt = tokenizer.apply_chat_template(CHAT[:-1], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    generated = model.generate(**prompt, max_new_tokens=3)

    assert generated.shape[1] > prompt["input_ids"].shape[1]
