"""Tests of what `harness data inspect` shows: rows as they are trained on."""

import pytest
from transformers import AutoTokenizer

from harness.config.schema import ColumnsConfig, DataConfig, DatasetConfig, ExperimentConfig, ModelConfig
from harness.data.inspection import BOUNDARY, inspect, inspect_dataset
from harness.data.row import DataError
from suites.engine.chat_template import ensure_template
from suites.engine.encoding import Encoder
from suites.inputs import Turn


@pytest.fixture
def encoder(llama_folder):
    """A Llama's, with room for some of the long rows only."""
    return Encoder(AutoTokenizer.from_pretrained(llama_folder), max_prompt_tokens=30, max_tokens=60)


def test_a_pair_as_it_is_trained_on(write_rows, encoder):
    """Prompt and both answers as rendered, with their tokens, boundary, group, source and score gap."""
    rows = [
        {"prompt": f"Who {number}?", "chosen": "Me.", "rejected": "You!", "score_chosen": 3, "score_rejected": 1.5}
        for number in range(5)
    ]
    shown = inspect(DatasetConfig(str(write_rows("mine.jsonl", [*rows, rows[0]]))), encoder, n_rows=2)
    assert "6 rows read, 5 usable as pairs; left out: 1 repeated row" in shown
    assert "mine.jsonl: train is its only split there, used for training" in shown
    assert shown.count("--- row") == 2
    assert f"<s><|user|>\nWho 0?\n<|assistant|>\n{BOUNDARY}\n" in shown
    assert f"{BOUNDARY}Me.</s>\n" in shown
    assert f"{BOUNDARY}You!</s>\n" in shown
    assert "source mine, score gap 1.5" in shown
    ids = encoder.tokenizer("<s><|user|>\nWho 0?\n<|assistant|>\n", add_special_tokens=False).input_ids
    assert f"prompt, {len(ids)} tokens:" in shown


def test_truncation_is_shown(write_rows, encoder):
    """Truncated prompts and responses show what is left of them, and of how many tokens."""
    row = {"prompt": "question " * 100, "completion": "answer " * 100, "label": False}
    path = write_rows("mine.jsonl", [row])
    shown = inspect(DatasetConfig(str(path)), encoder)
    prompt = (Turn("user", row["prompt"].strip()),)
    (length,) = encoder.lengths([(prompt, (row["completion"].strip(),))])
    assert f"prompt, truncated to 30 of {length.n_prompt_tokens} tokens:" in shown
    assert f"bad answer, truncated to 30 of {length.n_response_tokens[0]} tokens:" in shown
    assert "1 usable as rated answers" in shown


def test_folded_system_turns_and_merged_boundaries_are_shown(write_rows, gpt2_folder):
    """Changes that the encoder made to a prompt are listed after its number of tokens."""
    tokenizer = AutoTokenizer.from_pretrained(gpt2_folder)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "{{ m['role'] }}: {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    encoder = Encoder(tokenizer, max_prompt_tokens=100, max_tokens=200)
    row = {"system": "Be kind.", "prompt": "Who?", "completion": "the trophy"}
    columns = ColumnsConfig(prompt="prompt", system="system", chosen="completion")
    shown = inspect(DatasetConfig(str(write_rows("mine.jsonl", [row])), columns=columns), encoder)
    assert "system turn folded into the first user turn" in shown
    assert "its last tokens merge with the response" in shown
    assert "response, " in shown


def test_only_questions_cannot_be_trained_on(encoder):
    """The error says what a dataset of prompts offers."""
    with pytest.raises(DataError, match="has no examples; it offers questions"):
        inspect(DatasetConfig("embedded/prompts"), encoder)


def test_by_name_it_is_as_the_experiment_has_it(write_rows, gpt2_folder):
    """Model, limits and columns are the experiment's; other datasets are read as listed."""
    path = str(write_rows("mine.jsonl", [{"q": "Who?", "a": "Me.", "b": "You!"}]))
    columns = ColumnsConfig(prompt="q", chosen="a", rejected="b")
    data = DataConfig(DatasetConfig(path, columns=columns), {}, max_prompt_tokens=100, max_tokens=200)
    config = ExperimentConfig("x", data, model=ModelConfig(str(gpt2_folder), system_prompt="Be kind."))
    tokenizer = AutoTokenizer.from_pretrained(gpt2_folder)
    ensure_template(tokenizer, "auto")
    shown = inspect_dataset(path, None, config, n_rows=1, data_root=None)
    assert f"Be kind.\n\n### Instruction:\nWho?\n\n### Response:\n{BOUNDARY}" in shown
    listed = inspect_dataset("embedded/preferences", "test", config, n_rows=1, data_root=None)
    assert "embedded/preferences, split test" in listed
