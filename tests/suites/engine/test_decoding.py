"""Greedy and sampled tokens against one-by-one decoding, transformers' own warpers and exact frequencies."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from suites.engine.chat_template import ensure_template
from suites.engine.decoding import (
    Decoding,
    DecodingError,
    drawn_tokens,
    generate,
    stop_token_ids,
    uniform_draws,
)
from suites.engine.encoding import Encoder
from suites.inputs import Turn

TEXTS = (
    "Who?",
    "How do I bake bread with flour, water, salt and yeast?",
    "What is a telescope?",
    "Is the trophy too large for the brown suitcase?",
)
KEYS = ("a", "b", "c", "d")
SAMPLED = Decoding(max_new_tokens=12, temperature=0.9, top_p=0.8, seed=7)


@pytest.fixture(params=["llama", "gpt2"], scope="module")
def model_and_encoder(request: pytest.FixtureRequest) -> tuple[Any, Encoder]:
    """Rotary and learned positions: both have to be right behind padding on the left."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ensure_template(tokenizer, "auto")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, Encoder(tokenizer, max_prompt_tokens=200, max_tokens=256)


@pytest.fixture
def prompts(model_and_encoder: tuple[Any, Encoder]) -> list[tuple[int, ...]]:
    """Token ids of four questions of different length."""
    return [model_and_encoder[1].prompt_ids((Turn("user", text),)) for text in TEXTS]


def next_logits(model: Any, ids: list[int]) -> torch.Tensor:
    """One forward over the whole sequence, without cache or padding; shape (n_vocabulary,)."""
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0, -1]
    return logits


def greedy_by_hand(model: Any, prompt: tuple[int, ...], n_tokens: int) -> list[int]:
    """The most probable token each time."""
    ids = list(prompt)
    for _ in range(n_tokens):
        ids.append(int(next_logits(model, ids).argmax()))
    return ids[len(prompt) :]


def sampled_by_hand(model: Any, prompt: tuple[int, ...], draws: NDArray[np.float32]) -> list[int]:
    """Token by token: walks down the probabilities in double precision until they exceed the draw."""
    ids = list(prompt)
    for draw in draws:
        logits = next_logits(model, ids).numpy().astype(np.float64) / SAMPLED.temperature
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        nucleus: list[int] = []
        for token in np.argsort(-probabilities, kind="stable"):
            nucleus.append(int(token))
            if probabilities[nucleus].sum() >= SAMPLED.top_p:
                break
        left = draw * probabilities[nucleus].sum()
        for token in nucleus:
            left -= probabilities[token]
            if left < 0:
                break
        ids.append(token)
    return ids[len(prompt) :]


def test_a_padded_batch_answers_as_each_prompt_alone(
    model_and_encoder: tuple[Any, Encoder], prompts: list[tuple[int, ...]]
) -> None:
    """Generated ids equal greedy decoding by hand, up to the stop token."""
    model, encoder = model_and_encoder
    expected = [greedy_by_hand(model, prompt, 12) for prompt in prompts]
    stop = expected[1][5]
    greedy = Decoding(max_new_tokens=12)

    unstopped = generate(model, encoder.tokenizer, prompts, stops=[], decoding=greedy, keys=KEYS)
    stopped = generate(model, encoder.tokenizer, prompts, stops=[stop], decoding=greedy, keys=KEYS)

    assert expected == unstopped
    assert [ids[: ids.index(stop)] if stop in ids else ids for ids in expected] == stopped
    assert len(stopped[1]) <= 5


def test_a_padded_batch_is_sampled_as_each_prompt_by_hand(
    model_and_encoder: tuple[Any, Encoder], prompts: list[tuple[int, ...]]
) -> None:
    """Every row follows its own draws down its own nucleus, whoever its neighbours are."""
    model, encoder = model_and_encoder
    expected = [
        sampled_by_hand(model, prompt, uniform_draws(SAMPLED.seed, key, SAMPLED.max_new_tokens))
        for prompt, key in zip(prompts, KEYS, strict=True)
    ]

    together = generate(model, encoder.tokenizer, prompts, stops=[], decoding=SAMPLED, keys=KEYS)
    turned = generate(model, encoder.tokenizer, prompts[:1:-1], stops=[], decoding=SAMPLED, keys=KEYS[:1:-1])

    assert expected == together
    assert expected[:1:-1] == turned
    assert expected != [greedy_by_hand(model, prompt, 12) for prompt in prompts]


def test_seed_and_key_alone_decide_what_is_drawn(
    model_and_encoder: tuple[Any, Encoder], prompts: list[tuple[int, ...]]
) -> None:
    """Global generators neither matter nor move; another seed or key draws something else."""
    model, encoder = model_and_encoder

    def sampled(seed: int, key: str) -> list[int] | None:
        decoding = Decoding(max_new_tokens=12, temperature=1.5, seed=seed)
        return generate(model, encoder.tokenizer, prompts[:1], stops=[], decoding=decoding, keys=[key])[0]

    torch.manual_seed(1)
    first = sampled(0, "a")
    torch.manual_seed(2)
    random.seed(2)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one

    assert sampled(0, "a") == first
    assert torch.equal(states[0], torch.get_rng_state())
    assert str(states[1]) == str(np.random.get_state())  # noqa: NPY002
    assert states[2] == random.getstate()
    assert first not in (sampled(1, "a"), sampled(0, "b"))


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_models_own_generation_settings_do_not_matter(
    model_and_encoder: tuple[Any, Encoder], prompts: list[tuple[int, ...]], temperature: float
) -> None:
    """Neither sampling settings nor penalties, suppressed tokens or lengths leak in, and they are there afterwards."""
    from transformers import GenerationConfig

    model, encoder = model_and_encoder
    decoding = Decoding(max_new_tokens=8, temperature=temperature, seed=3)
    expected = generate(model, encoder.tokenizer, prompts, stops=[], decoding=decoding, keys=KEYS)
    plain = model.generation_config
    own = GenerationConfig(
        do_sample=True, temperature=3.0, top_k=1, top_p=0.1, min_p=0.9, repetition_penalty=5.0, num_beams=3,
        no_repeat_ngram_size=1, min_new_tokens=8, suppress_tokens=[expected[0][0]], eos_token_id=expected[1][1],
        sequence_bias=[[[expected[2][0]], -50.0]], max_length=4,
    )  # fmt: skip
    model.generation_config = own
    try:
        generated = generate(model, encoder.tokenizer, prompts, stops=[], decoding=decoding, keys=KEYS)
    finally:
        assert model.generation_config is own
        model.generation_config = plain

    assert expected == generated


def test_dropout_is_off_while_generating_and_as_it_was_afterwards(
    model_and_encoder: tuple[Any, Encoder], prompts: list[tuple[int, ...]]
) -> None:
    """A model in training mode answers as in evaluation mode and is left in training mode."""
    model, encoder = model_and_encoder
    decoding = Decoding(max_new_tokens=6)
    expected = generate(model, encoder.tokenizer, prompts, stops=[], decoding=decoding, keys=KEYS)
    model.train()
    try:
        assert expected == generate(model, encoder.tokenizer, prompts, stops=[], decoding=decoding, keys=KEYS)
        assert model.training
    finally:
        model.eval()


def test_longrope_answers_a_short_prompt_beside_a_long_one_as_alone() -> None:
    """The long one's factors are not used for the short one, and each prompt gets its own answer back."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    rope = {
        "rope_type": "longrope", "rope_theta": 1e4, "factor": 6.4, "original_max_position_embeddings": 40,
        "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 6.0, 9.0],
    }  # fmt: skip
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, initializer_range=0.3, rope_parameters=rope,
    )  # fmt: skip
    model, tokenizer = LlamaForCausalLM(config).eval(), PreTrainedTokenizerFast(tokenizer_object=_one_word())
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(3, 96, n).tolist()) for n in (60, 9, 30, 12)]

    def answers(batch: list[tuple[int, ...]], keys: tuple[str, ...]) -> list[list[int]]:
        return generate(model, tokenizer, batch, stops=[], decoding=SAMPLED, keys=keys)

    together = answers(prompts, KEYS)

    assert together == [answers([prompt], (key,))[0] for prompt, key in zip(prompts, KEYS, strict=True)]
    assert len({tuple(answer) for answer in together}) == 4


def _one_word() -> Any:
    """A tokenizer that is never asked for tokens."""
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))


def test_an_answer_ends_at_the_last_position_of_the_model(model_and_encoder: tuple[Any, Encoder]) -> None:
    """A prompt of 250 tokens leaves room for six in a model of 256 positions, sampled or not."""
    model, encoder = model_and_encoder

    for temperature in (0.0, 1.0):
        decoding = Decoding(max_new_tokens=50, temperature=temperature)
        [ids] = generate(model, encoder.tokenizer, [[5] * 250], stops=[], decoding=decoding, keys=["a"])
        assert ids is not None
        assert len(ids) == 6


def test_first_tokens_are_as_frequent_as_they_are_probable(model_and_encoder: tuple[Any, Encoder]) -> None:
    """Over 2,000 keys a chi-square test does not tell the tokens drawn from the model's own distribution."""
    from scipy.stats import chisquare

    model, encoder = model_and_encoder
    prompt = encoder.prompt_ids((Turn("user", TEXTS[0]),))
    n_keys = 2_000
    decoding = Decoding(max_new_tokens=1, temperature=0.7)
    drawn = generate(
        model, encoder.tokenizer, [prompt] * n_keys, stops=[], decoding=decoding, keys=[str(n) for n in range(n_keys)]
    )
    expected = torch.softmax(next_logits(model, list(prompt)).double() / 0.7, dim=-1).numpy() * n_keys
    counts = np.bincount([ids[0] for ids in drawn if ids is not None], minlength=len(expected))
    often = expected >= 5

    result = chisquare([*counts[often], counts[~often].sum()], [*expected[often], expected[~often].sum()])

    assert often.sum() > 5
    assert result.pvalue > 0.001


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_vocabulary=st.integers(1, 40),
    temperature=st.floats(0.2, 3.0),
    top_p=st.floats(0.05, 1.0),
)
def test_evenly_spaced_draws_give_the_probabilities_of_transformers_warpers(
    seed: int, n_vocabulary: int, temperature: float, top_p: float
) -> None:
    """The share of n evenly spaced draws that fall on a token is its probability after both warpers, within 1/n."""
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    n_draws = 1_000
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (1, n_vocabulary)).astype(np.float32))
    warped = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(temperature)(None, logits))
    expected = torch.softmax(warped.double(), dim=-1)[0]
    draws = (torch.arange(n_draws) + 0.5) / n_draws

    tokens = drawn_tokens(logits.expand(n_draws, -1), draws, temperature=temperature, top_p=top_p)

    shares = torch.bincount(tokens, minlength=n_vocabulary) / n_draws
    assert (shares - expected).abs().max() <= 1.001 / n_draws
    assert shares[expected == 0].sum() == 0


def test_the_most_probable_token_comes_first_and_no_draw_leaves_the_nucleus() -> None:
    """A draw of 0 is the most probable token; one just below 1, or rounded up to it, the last of the nucleus."""
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3]])).expand(3, -1)

    tokens = drawn_tokens(logits, torch.tensor([0.0, 1.0 - 2**-24, 1.0]), temperature=1.0, top_p=0.85)

    assert tokens.tolist() == [1, 2, 2]


def test_fewer_draws_are_the_first_of_more() -> None:
    """A longer answer begins as the shorter one."""
    draws = uniform_draws(3, "question", 50)

    assert uniform_draws(3, "question", 7).tolist() == draws[:7].tolist()
    assert ((draws >= 0) & (draws < 1)).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": -0.1}, "temperature must be 0 (greedy) or above, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be 0 (greedy) or above, got nan"),
        ({"top_p": 0.0}, "top_p must lie above 0 and be at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p must lie above 0 and be at most 1, got 1.1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], named: str) -> None:
    """The message names the option, its range and the value."""
    with pytest.raises(DecodingError) as caught:
        Decoding(**({"max_new_tokens": 5} | options))
    assert str(caught.value) == named


def test_generation_stops_at_eos_of_tokenizer_and_model_and_at_the_end_of_the_turn(llama_folder: Path) -> None:
    """The token that the template ends an answer with counts where it is one of the vocabulary's special tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    model = AutoModelForCausalLM.from_pretrained(llama_folder)
    model.generation_config.eos_token_id = [7, 9]
    plain = "{% for m in messages %}{{ m['content'] }}"
    ends = {"<pad>": [0, 2, 7, 9], "\n": [2, 7, 9], "</s>": [2, 7, 9]}

    for end, expected in ends.items():
        tokenizer.chat_template = plain + "{{ '" + end.replace("\n", "\\n") + "' }}{% endfor %}"
        assert expected == stop_token_ids(model, Encoder(tokenizer, max_prompt_tokens=20, max_tokens=40))


@contextmanager
def broken_where(model: Any, rows_of: Callable[[int], Any]) -> Iterator[None]:
    """Makes logits NaN in the rows that a rule picks by the number of the forward, counted from 0."""
    forwards = count()

    def poison(_model: Any, _inputs: Any, output: Any) -> None:
        output.logits[rows_of(next(forwards))] = torch.nan

    hook = model.register_forward_hook(poison)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_choose_nothing(
    model_and_encoder: tuple[Any, Encoder], prompts: list[tuple[int, ...]], temperature: float
) -> None:
    """A row of NaN has no answer, greedy or sampled, and its neighbours answer as they do without it."""
    model, encoder = model_and_encoder
    decoding = Decoding(max_new_tokens=5, temperature=temperature)
    sound = generate(model, encoder.tokenizer, prompts, stops=[], decoding=decoding, keys=KEYS)

    with broken_where(model, lambda _: 1):
        found = generate(model, encoder.tokenizer, prompts, stops=[], decoding=decoding, keys=KEYS)

    assert found == [sound[0], None, *sound[2:]]


def test_what_is_computed_after_the_end_of_an_answer_does_not_matter(
    model_and_encoder: tuple[Any, Encoder], prompts: list[tuple[int, ...]]
) -> None:
    """Logits that become NaN at the step after a row's stop token leave its answer; one step earlier they take it."""
    model, encoder = model_and_encoder
    plain = generate(
        model, encoder.tokenizer, prompts[:2], stops=[], decoding=Decoding(max_new_tokens=6), keys=KEYS[:2]
    )
    first, second = (answer for answer in plain if answer is not None)
    stop = next(token for token in first if token not in second)
    n_drawn = first.index(stop) + 1

    def from_step(broken_step: int) -> list[list[int] | None]:
        with broken_where(model, lambda step: 0 if step >= broken_step else []):
            decoding = Decoding(max_new_tokens=6)
            return generate(model, encoder.tokenizer, prompts[:2], stops=[stop], decoding=decoding, keys=KEYS[:2])

    assert from_step(n_drawn) == [first[: n_drawn - 1], second]
    assert from_step(n_drawn - 1) == [None, second]
