"""The public scorer of texts against forwards of transformers on the same tokens."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import suites
from suites.engine.causal_model import ContextTooLongError
from suites.engine.encoding import EmptyResponseError
from suites.inputs import SuiteError
from suites.text_scorer import TextPairsError

PROMPTS = ["What happens if you eat watermelon seeds?", "How do I bake bread?", "How do I bake bread?"]
RESPONSES = [" The seeds pass through you.", " Mix flour, water and salt.", " I cannot help with that."]


@pytest.fixture(params=["llama", "gpt2"], scope="module")
def model_and_tokenizer(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A Llama whose tokenizer adds BOS, and a GPT-2 whose tokenizer adds none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder: Path = request.getfixturevalue(f"{request.param}_folder")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def log_probability(model: Any, ids: list[int], n_prompt: int) -> float:
    """Sum over the tokens after the prompt from one forward, in nats."""
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, n_prompt - 1 : -1].double()
    return float(logits.log_softmax(-1)[torch.arange(len(ids) - n_prompt), torch.tensor(ids[n_prompt:])].sum())


def test_log_probabilities_equal_those_of_transformers(model_and_tokenizer: tuple[Any, Any]) -> None:
    """One float in nats a pair, in the order given, with the tokenizer's own BOS and without a template."""
    model, tokenizer = model_and_tokenizer
    n_prompt = [len(tokenizer(prompt).input_ids) for prompt in PROMPTS]
    ids = [tokenizer(prompt + response).input_ids for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]

    values = suites.scorer(model, tokenizer).log_probabilities(PROMPTS, RESPONSES)

    expected = [log_probability(model, *each) for each in zip(ids, n_prompt, strict=True)]
    assert values == pytest.approx(expected, abs=1e-4)
    assert all(type(value) is float for value in values)


def test_an_adapter_is_scored_as_it_is_switched(model_and_tokenizer: tuple[Any, Any]) -> None:
    """One scorer gives the adapter's numbers with the adapter on and the base model's with it off."""
    from copy import deepcopy

    from peft import LoraConfig, get_peft_model

    model, tokenizer = model_and_tokenizer
    before = suites.scorer(model, tokenizer).log_probabilities(PROMPTS, RESPONSES)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(deepcopy(model), config)
    scorer = suites.scorer(adapted, tokenizer)

    with_adapter = scorer.log_probabilities(PROMPTS, RESPONSES)
    with adapted.disable_adapter():
        without = scorer.log_probabilities(PROMPTS, RESPONSES)

    assert without == pytest.approx(before, abs=1e-4)
    assert with_adapter != pytest.approx(before, abs=1e-2)


def test_prompt_tokens_that_merge_with_a_response_count_as_its_own(llama_folder: Path) -> None:
    """With a response that merges with the end of the prompt, all responses to that prompt start before it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama_folder), AutoTokenizer.from_pretrained(llama_folder)
    alone, merged = tokenizer("The water").input_ids, tokenizer("The watermelon").input_ids
    assert merged[: len(alone)] != alone
    boundary = next(index for index in range(len(alone)) if alone[index] != merged[index])
    scorer = suites.scorer(model, tokenizer)

    values = scorer.log_probabilities(["The water", "The water"], ["melon", " is"])

    other = tokenizer("The water is").input_ids
    expected = [log_probability(model, merged, boundary), log_probability(model, other, boundary)]
    assert values == pytest.approx(expected, abs=1e-4)
    expected_alone = log_probability(model, other, len(alone))
    assert scorer.log_probabilities(["The water"], [" is"]) == pytest.approx([expected_alone], abs=1e-4)


def test_a_prompt_with_bos_gets_no_second_one_and_an_empty_prompt_is_bos(llama_folder: Path) -> None:
    """Text that a template has rendered holds BOS already; a response alone follows BOS."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama_folder), AutoTokenizer.from_pretrained(llama_folder)
    scorer = suites.scorer(model, tokenizer)

    rendered, plain, empty = scorer.log_probabilities(["<s>How?", "How?", ""], [" So.", " So.", "So."])

    assert rendered == plain
    assert empty == pytest.approx(log_probability(model, tokenizer("So.").input_ids, 1), abs=1e-4)


def test_an_empty_prompt_is_eos_where_the_tokenizer_adds_no_bos(gpt2_folder: Path) -> None:
    """GPT-2 starts a text after its end-of-text token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(gpt2_folder), AutoTokenizer.from_pretrained(gpt2_folder)
    ids = [tokenizer.eos_token_id, *tokenizer("So it is.").input_ids]

    assert suites.scorer(model, tokenizer).log_probabilities([""], ["So it is."]) == pytest.approx(
        [log_probability(model, ids, 1)], abs=1e-4
    )


@pytest.mark.parametrize(
    ("prompts", "responses", "error", "words"),
    [
        ("How?", "So.", TextPairsError, "must be lists of texts"),
        (["How?"], ["So.", "No."], TextPairsError, "1 prompts and 2 responses"),
        (["How?", "Why?"], ["So.", ""], EmptyResponseError, "'Why\\?' has no token"),
        (["How? " * 300], ["So."], ContextTooLongError, "256 positions"),
    ],
)
def test_mistakes_are_named(
    prompts: Any, responses: Any, error: type[SuiteError], words: str, model_and_tokenizer: tuple[Any, Any]
) -> None:
    """A text for a list, lists of different lengths, an empty response and a text too long are errors of one line."""
    with pytest.raises(error, match=words):
        suites.scorer(*model_and_tokenizer).log_probabilities(prompts, responses)


def test_importing_suites_loads_no_heavy_package() -> None:
    """`from suites import scorer` is light: torch and transformers are imported when a scorer is made."""
    code = "import sys; from suites import scorer; assert not {'torch', 'transformers'} & set(sys.modules), sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
