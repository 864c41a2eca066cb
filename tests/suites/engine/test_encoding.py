"""The encoder against TRL's own tokenisation, and its rules of boundary and truncation."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suites.engine.chat_template import TemplateError, ensure_template
from suites.engine.encoding import (
    EmptyResponseError,
    EncodedResponse,
    Encoder,
    TokenLimitError,
    count_touched,
)
from suites.inputs import Pair, Prompt, Turn

QUESTION: Prompt = (Turn("user", "What happens if you eat watermelon seeds?"),)
SYSTEM_QUESTION: Prompt = (Turn("system", "Answer in one sentence."), *QUESTION)
CONVERSATION: Prompt = (
    Turn("user", "Hello, who are you?"),
    Turn("assistant", "I am a telescope."),
    Turn("user", "Which party do you\nbelong to?"),
)
SPACED_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] | trim }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer_of(folder: Path, template: str | None = None) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if template is None:
        ensure_template(tokenizer, "auto")
    else:
        tokenizer.chat_template = template
    return tokenizer


def encoder_of(tokenizer: Any, max_prompt_tokens: int = 1000, max_tokens: int = 2000, **options: Any) -> Encoder:
    return Encoder(tokenizer, max_prompt_tokens=max_prompt_tokens, max_tokens=max_tokens, **options)


def pair(prompt: Prompt, chosen: str, rejected: str) -> Pair:
    return Pair("id", "group", "source", prompt, chosen, rejected)


@pytest.fixture(params=["llama", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """A Llama's with its own template, a GPT-2's with the instruction template."""
    return tokenizer_of(request.getfixturevalue(f"{request.param}_folder"))


@pytest.mark.parametrize("template", [None, SPACED_TEMPLATE], ids=["own", "spaced"])
def test_ids_equal_those_of_the_trainer(tokenizer: Any, template: str | None) -> None:
    """Prompt, chosen and rejected ids are TRL's for every shape of conversation, boundaries that merge included."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    tokenizer.chat_template = template or tokenizer.chat_template
    answers = [("Nothing.", "They grow."), (" A spaced one", "\n\nTwo lines\n"), ("naïve 😀", "日本語"), ("a", "a b")]
    pairs = [pair(prompt, *sides) for prompt in (QUESTION, SYSTEM_QUESTION, CONVERSATION) for sides in answers]
    rows = [
        {
            "prompt": [{"role": turn.speaker, "content": turn.text} for turn in pair.prompt],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in pairs
    ]
    expected = DPOTrainer._prepare_dataset(
        SimpleNamespace(_tokenizer=tokenizer), Dataset.from_list(rows), tokenizer, DPOConfig(bf16=False), "train"
    )
    encoder = encoder_of(tokenizer)

    for row, one in zip(expected, pairs, strict=True):
        encoded = encoder.encode_pairs([one])[0]
        assert row["prompt_ids"] == list(encoded.prompt_ids)
        assert row["chosen_ids"] == list(encoded.chosen_ids)
        assert row["rejected_ids"] == list(encoded.rejected_ids)


def test_bos_stands_once_where_the_tokenizer_adds_one_and_nowhere_else(llama_folder: Path, gpt2_folder: Path) -> None:
    """Neither a template that writes BOS nor the instruction template doubles it; GPT-2 gets none."""
    for template, n_expected in ((None, 1), ("instruction", 1)):
        llama = tokenizer_of(llama_folder)
        if template:
            ensure_template(llama, "instruction")
        ids = encoder_of(llama).encode(QUESTION, ["No."])[0].request.prompt_ids
        assert (n_expected, llama.bos_token_id) == (ids.count(llama.bos_token_id), ids[0])
    gpt2 = tokenizer_of(gpt2_folder)
    assert gpt2.bos_token_id not in encoder_of(gpt2).encode(QUESTION, ["No."])[0].request.prompt_ids


def test_choice_of_template(llama_folder: Path, gpt2_folder: Path) -> None:
    """The choice auto prefers the model's own; a model without one is an error only where its own is asked for."""
    from transformers import AutoTokenizer

    llama, gpt2 = AutoTokenizer.from_pretrained(llama_folder), AutoTokenizer.from_pretrained(gpt2_folder)
    own = llama.chat_template

    assert ("model", own) == (ensure_template(llama, "auto"), llama.chat_template)
    assert ensure_template(llama, "model") == "model"
    with pytest.raises(TemplateError, match="no chat template"):
        ensure_template(gpt2, "model")
    assert ensure_template(gpt2, "auto") == "instruction"
    assert ensure_template(llama, "instruction") == "instruction"
    assert llama.chat_template != own


def test_instruction_template_has_the_wording_of_alpaca(gpt2_folder: Path) -> None:
    """One turn reads as Alpaca's prompt; a system turn replaces its first sentences; EOS ends every answer."""
    encoder = encoder_of(tokenizer_of(gpt2_folder))

    one = encoder.encode(QUESTION, ["Nothing."])[0].request
    many = encoder.encode((Turn("system", "Be brief."), *CONVERSATION), ["None."])[0].request

    decode = encoder.tokenizer.decode
    assert decode(one.prompt_ids) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nWhat happens if you eat watermelon seeds?\n\n### Response:\n"
    )
    assert decode(one.response_ids) == "Nothing.<|endoftext|>"
    assert decode(many.prompt_ids + many.response_ids) == (
        "Be brief.\n\n### Instruction:\nHello, who are you?\n\n### Response:\nI am a telescope.<|endoftext|>"
        "\n\n### Instruction:\nWhich party do you\nbelong to?\n\n### Response:\nNone.<|endoftext|>"
    )


@pytest.mark.parametrize("response", ["Nothing.", "naïve 😀 日本語", " spaced ", "two\nlines"])
def test_terminator_and_bytes_are_split_from_the_content(llama_folder: Path, response: str) -> None:
    """What the template writes behind the answer (EOS and a line break) is the terminator; the rest is the content."""
    encoder = encoder_of(tokenizer_of(llama_folder))

    encoded = encoder.encode(QUESTION, [response])[0]

    content = encoded.request.response_ids[: encoded.n_content_tokens]
    assert response == encoder.tokenizer.decode(content)
    assert encoder.tokenizer.decode(encoded.request.response_ids[encoded.n_content_tokens :]) == "</s>\n"
    assert len(response.encode()) == encoded.n_content_bytes
    assert encoded == EncodedResponse(encoded.request, 2, encoded.n_content_bytes)


def test_a_template_that_trims_still_ends_the_content_where_its_terminator_begins(llama_folder: Path) -> None:
    """White space that the template takes away is no content."""
    encoded = encoder_of(tokenizer_of(llama_folder, GEMMA_TEMPLATE)).encode(QUESTION, ["  Nothing. \n"])[0]

    assert (len("Nothing."), 1) == (encoded.n_content_bytes, encoded.n_terminator_tokens)


def test_boundary_is_the_common_prefix_with_all_responses_of_the_run(gpt2_folder: Path) -> None:
    """A response that merges with the prompt's last token moves the boundary of every response to that prompt."""
    encoder = encoder_of(tokenizer_of(gpt2_folder, SPACED_TEMPLATE))
    alone = encoder.encode(QUESTION, ["\tTab."])[0]
    items = [(QUESTION, ["\tTab."]), (CONVERSATION, ["the"]), (QUESTION, ["the", "\tTab."])]

    [first], [other], [merging, second] = encoder.encode_all(items)

    assert not alone.boundary_moved
    assert merging.boundary_moved
    assert other.boundary_moved
    assert alone.request.prompt_ids[:-1] == first.request.prompt_ids == merging.request.prompt_ids
    assert first == second
    assert len(first.request.response_ids) == len(alone.request.response_ids) + 1
    assert count_touched([[alone], [merging, first], [other]]) == {"boundary moved": 2}


def test_long_prompts_lose_their_beginning_but_not_bos_and_system_turn(llama_folder: Path) -> None:
    """What stands before the first user's text is kept, and the end of the prompt; both sides see the same ids."""
    tokenizer = tokenizer_of(llama_folder)
    prompt = (Turn("system", "Be brief."), Turn("user", "water " * 200 + "the end"))
    whole = encoder_of(tokenizer).encode(prompt, ["Yes."])[0]

    encoded = encoder_of(tokenizer, max_prompt_tokens=50).encode_pairs([pair(prompt, "Yes.", "No, never.")])[0]

    text = tokenizer.decode(encoded.prompt_ids)
    assert text.startswith("<s><|system|>\nBe brief.\n<|user|>\n")
    assert text.endswith("the end\n<|assistant|>\n")
    assert len(encoded.prompt_ids) == 50
    assert encoded.prompt_ids == encoded.rejected.request.prompt_ids
    assert whole.request.response_ids == encoded.chosen_ids
    assert encoded.chosen.prompt_truncated
    assert not whole.prompt_truncated
    assert encoded.prompt_ids == encoder_of(tokenizer, max_prompt_tokens=50).prompt_ids(prompt)


def test_a_system_turn_that_fills_the_limit_is_cut_down_to_bos(llama_folder: Path) -> None:
    """Then only BOS and the end of the prompt are kept."""
    tokenizer = tokenizer_of(llama_folder)
    prompt = (Turn("system", "water " * 100), Turn("user", "the end"))

    ids = encoder_of(tokenizer, max_prompt_tokens=20).prompt_ids(prompt)

    assert (20, tokenizer.bos_token_id) == (len(ids), ids[0])
    assert tokenizer.decode(ids).endswith("the end\n<|assistant|>\n")


def test_long_responses_lose_their_end_and_with_it_the_terminator(llama_folder: Path) -> None:
    """A response is cut from the right within max_tokens; one that just fits keeps its terminator."""
    tokenizer = tokenizer_of(llama_folder)
    whole = encoder_of(tokenizer).encode(QUESTION, ["It grows."])[0]
    n_tokens = len(whole.request.prompt_ids) + len(whole.request.response_ids)

    fits = encoder_of(tokenizer, len(whole.request.prompt_ids), n_tokens).encode(QUESTION, ["It grows."])[0]
    cut = encoder_of(tokenizer, len(whole.request.prompt_ids), n_tokens - 1).encode(QUESTION, ["It grows."])[0]
    short = encoder_of(tokenizer, len(whole.request.prompt_ids), n_tokens - 4).encode(QUESTION, ["It grows."])[0]

    assert whole == fits
    assert (True, 0, whole.n_content_bytes) == (cut.response_truncated, cut.n_terminator_tokens, cut.n_content_bytes)
    assert whole.request.response_ids[: whole.n_content_tokens] == cut.request.response_ids
    assert cut.request.response_ids[: len(short.request.response_ids)] == short.request.response_ids
    assert len(tokenizer.decode(short.request.response_ids)) == short.n_content_bytes < cut.n_content_bytes
    assert count_touched([[whole, cut, short], [fits]]) == {"response truncated": 1}


def test_truncation_does_not_split_a_character(llama_folder: Path) -> None:
    """The tokens of a character that does not fit wholly are left out, so that bytes are those of the scored tokens."""
    tokenizer = tokenizer_of(llama_folder)
    encoder = encoder_of(tokenizer)
    n_prompt = len(encoder.prompt_ids(QUESTION))

    for room in range(1, 12):
        encoded = encoder_of(tokenizer, n_prompt, n_prompt + room).encode(QUESTION, ["ab😀日本"])[0]
        if room > 1:
            assert "�" not in tokenizer.decode(encoded.request.response_ids)
            text = tokenizer.decode(encoded.request.response_ids[: encoded.n_content_tokens])
            assert len(text.encode()) == encoded.n_content_bytes


@pytest.mark.parametrize("response", ["", "  \n\t"])
def test_an_empty_response_is_an_error(llama_folder: Path, response: str) -> None:
    """There is nothing to score, and the message names the prompt."""
    with pytest.raises(EmptyResponseError, match="watermelon"):
        encoder_of(tokenizer_of(llama_folder)).encode(QUESTION, ["fine", response])


def test_a_system_prompt_stands_before_prompts_that_have_none(llama_folder: Path) -> None:
    """A prompt's own system turn is kept."""
    tokenizer = tokenizer_of(llama_folder)
    plain, encoder = encoder_of(tokenizer), encoder_of(tokenizer, system_prompt="Answer in one sentence.")

    assert plain.encode(SYSTEM_QUESTION, ["No."]) == encoder.encode(QUESTION, ["No."])
    other = (Turn("system", "Be brief."), *QUESTION)
    assert plain.encode(other, ["No."]) == encoder.encode(other, ["No."])


@pytest.mark.parametrize(
    "template",
    [GEMMA_TEMPLATE, GEMMA_TEMPLATE.replace("{{ raise_exception('System role not supported') }}", "")],
    ids=["refuses", "cannot alternate"],
)
def test_a_template_without_a_place_for_the_system_turn_gets_it_in_the_first_user_turn(
    llama_folder: Path, template: str
) -> None:
    """The system prompt is folded, counted, and survives truncation as a system turn does."""
    tokenizer = tokenizer_of(llama_folder, template)
    encoder = encoder_of(tokenizer, max_prompt_tokens=60, system_prompt="Be brief.")

    encoded = encoder.encode(QUESTION, ["No."])[0]
    long = encoder.encode((Turn("user", "water " * 200),), ["No."])[0]

    assert "<s><|user|>Be brief.\n\nWhat happens" in tokenizer.decode(encoded.request.prompt_ids)
    assert tokenizer.decode(long.request.prompt_ids).startswith("<s><|user|>Be brief.\n\n")
    assert count_touched([[encoded], [long]]) == {"system prompt folded": 2, "prompt truncated": 1}
    assert not encoder_of(tokenizer).encode(QUESTION, ["No."])[0].system_folded


def test_errors_name_what_is_wrong(llama_folder: Path) -> None:
    """Limits without room, a template that refuses the turns, a template that changes everything, a slow tokenizer."""
    tokenizer = tokenizer_of(llama_folder, GEMMA_TEMPLATE)
    with pytest.raises(TokenLimitError, match="20 of 20"):
        encoder_of(tokenizer, 20, 20)
    with pytest.raises(TemplateError, match="user, user: Conversation roles must alternate"):
        encoder_of(tokenizer).prompt_ids((*QUESTION, *QUESTION))
    with pytest.raises(TemplateError, match="fast"):
        encoder_of(SimpleNamespace(is_fast=False))
    changing = tokenizer_of(llama_folder, "{{ messages | length }}{{ messages[-1]['content'] }}")
    with pytest.raises(TemplateError, match="differently"):
        encoder_of(changing).encode(QUESTION, ["No."])


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=40).filter(str.strip)


@given(question=TEXTS, responses=st.lists(TEXTS, min_size=1, max_size=3), limits=st.tuples(*[st.integers(1, 40)] * 2))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_encoded_completely_or_within_its_limits(
    tokenizer: Any, question: str, responses: list[str], limits: tuple[int, int]
) -> None:
    """Untruncated ids spell the rendered text; truncated ones keep to the limits, and nothing becomes empty."""
    prompt = (Turn("user", question),)

    for response, encoded in zip(responses, encoder_of(tokenizer).encode(prompt, responses), strict=True):
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
        expected = tokenizer.apply_chat_template(messages, tokenize=False)
        assert expected == tokenizer.decode(encoded.request.prompt_ids + encoded.request.response_ids)
        assert encoded.n_content_bytes >= len(response.encode())

    max_prompt_tokens, room = limits
    for encoded in encoder_of(tokenizer, max_prompt_tokens, max_prompt_tokens + room).encode(prompt, responses):
        assert 1 <= len(encoded.request.prompt_ids) <= max_prompt_tokens
        assert len(encoded.request.response_ids) >= 1
        assert len(encoded.request.prompt_ids) + len(encoded.request.response_ids) <= max_prompt_tokens + room
        assert encoded.n_content_tokens >= 1
        assert encoded.n_content_bytes >= 1


def test_lengths_are_those_of_what_is_encoded_where_nothing_is_cut(tokenizer: Any) -> None:
    """Without truncation, lengths are the numbers of encoded tokens, boundaries that other responses move included."""
    tokenizer.chat_template = SPACED_TEMPLATE
    items = [
        (QUESTION, ["Nothing.", " A spaced one"]),
        (CONVERSATION, ["a", "naïve 😀"]),
        (QUESTION, ["They grow."]),
    ]
    encoder = encoder_of(tokenizer)

    encoded, lengths = encoder.encode_all(items), encoder.lengths(items)

    for responses, length in zip(encoded, lengths, strict=True):
        assert {len(response.request.prompt_ids) for response in responses} == {length.n_prompt_tokens}
        assert tuple(len(response.request.response_ids) for response in responses) == length.n_response_tokens


def test_lengths_do_not_know_the_limits(tokenizer: Any) -> None:
    """An encoder that cuts tells the same lengths as one that does not."""
    items = [(CONVERSATION, ["A long answer, " * 20, "A short one."])]

    assert encoder_of(tokenizer, 10, 20).lengths(items) == encoder_of(tokenizer).lengths(items)
