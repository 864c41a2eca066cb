"""Chat templates as outside code: what they leave out, what they ask for, and what goes wrong inside them."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from suites.engine.chat_template import ChatTemplate, TemplateError, ensure_template, without_settings
from suites.engine.encoding import Encoder, UnwrittenAnswerError, count_touched
from suites.inputs import Prompt, Turn

QUESTION: Prompt = (Turn("user", "What is 2 + 4?"),)
PLAIN = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CUTS_REASONING = (
    "{% for m in messages %}{% set text = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}"
    "<|{{ m.role }}|>{{ text }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)
"""As DeepSeek-R1's: what stands before </think> is cut, and the generation prompt opens a new thought."""
LAYS_OUT_REASONING = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if '</think>' in m.content %}{% set parts = m.content.split('</think>') %}"
    "<think>\n{{ parts[0].split('<think>')[-1].strip() }}\n</think>\n\n{{ parts[1].strip() }}"
    "{% else %}{{ m.content }}{% endif %}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""As Qwen3's: white space around the reasoning is the template's own."""
READS_PARTS = (
    "{% for m in messages %}<|{{ m.role }}|>{% for part in m.content %}{{ part.text }}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
READS_TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}" + PLAIN.replace(
    "{{ m.content }}", "{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
)
CALL = '{"tool_calls": [{"function": {"arguments": {"a": 1}, "name": "add"}, "type": "function"}]}'
TOOLS = '[{"function": {"name": "add"}, "type": "function"}]'


@pytest.fixture
def tokenizer(llama_folder: Path) -> Any:
    """A tokenizer whose template tests replace."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(llama_folder)


def encoder_of(tokenizer: Any, template: str, **options: Any) -> Encoder:
    """An encoder with this template in place of the tokenizer's own."""
    ensure_template(tokenizer, "auto", template=template, **options)
    return Encoder(tokenizer, max_prompt_tokens=1000, max_tokens=2000)


def test_an_answer_that_the_template_cuts_is_refused_with_its_number(tokenizer: Any) -> None:
    """Scoring `Six.` in place of an answer with its reasoning would measure something else."""
    encoder = encoder_of(tokenizer, CUTS_REASONING)
    eaten = "<think>another</think>Six."

    with pytest.raises(UnwrittenAnswerError, match=r"leaves out part or all of 1 of 3 answers, such as '<think>anoth"):
        encoder.encode_all([(QUESTION, ["Six.", eaten]), ((Turn("user", "And 3 + 3?"),), ["Six."])])
    with pytest.raises(UnwrittenAnswerError, match=r"name a template that writes them as model\.chat_template"):
        encoder.encode(QUESTION, [eaten])
    (whole,) = encoder.encode(QUESTION, ["Six."])
    assert tokenizer.decode(whole.request.response_ids).startswith("Six.")


def test_an_answer_that_already_stands_in_the_prompt_is_still_missed(tokenizer: Any) -> None:
    """That the question quotes the answer does not make up for an answer that is not written."""
    encoder = encoder_of(tokenizer, PLAIN.replace("{{ m.content }}", "{{ m.content[:6] }}"))

    with pytest.raises(UnwrittenAnswerError):
        encoder.encode((Turn("user", "No way"),), ["No way, sir."])
    with pytest.raises(UnwrittenAnswerError):
        encoder_of(tokenizer, CUTS_REASONING).encode((Turn("user", "Say <think>x</think>Hi"),), ["<think>x</think>Hi"])


def test_white_space_around_reasoning_is_the_templates_own(tokenizer: Any) -> None:
    """A template that lays the answer out otherwise writes it."""
    encoder = encoder_of(tokenizer, LAYS_OUT_REASONING)

    (encoded,) = encoder.encode(QUESTION, ["<think>2 and 4</think>Six."])

    assert tokenizer.decode(encoded.request.response_ids) == "<think>\n2 and 4\n</think>\n\nSix.</s>"


def test_parts_of_the_prompt_that_the_template_leaves_out_are_counted(tokenizer: Any) -> None:
    """Reasoning of earlier answers, tools, and calls of tools; what is written is not counted."""
    thought = (*QUESTION, Turn("assistant", "<think>a</think>Six."), Turn("user", "And?"))
    tools = (Turn("user", "Add.", tools=TOOLS), Turn("assistant", "", details=CALL), Turn("tool", "5"))

    def touched(template: str, prompt: Prompt) -> dict[str, int]:
        return count_touched([encoder_of(tokenizer, template).encode(prompt, ["Yes."])])

    counted = {"part of the prompt not written by the template": 1}
    assert touched(CUTS_REASONING, thought) == counted | {"boundary moved": 1}
    assert touched(PLAIN, thought) == {}
    assert touched(PLAIN, tools) == touched(PLAIN, tools[:1]) == counted
    assert touched(READS_TOOLS, tools) == {}


def test_tools_and_calls_are_rendered_by_the_template(tokenizer: Any) -> None:
    """They reach it as transformers' own call would hand them over."""
    encoder = encoder_of(tokenizer, READS_TOOLS)
    prompt = (Turn("user", "Add.", tools=TOOLS), Turn("assistant", "", details=CALL), Turn("tool", "5"))

    text = tokenizer.decode(encoder.prompt_ids(prompt))

    function = {"name": "add"}
    messages = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": {"a": 1}, **function},
                                                             "type": "function"}]},
        {"role": "tool", "content": "5"},
    ]  # fmt: skip
    tools = [{"function": function, "type": "function"}]
    assert text == tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    assert '"name": "add"' in text


def test_control_tokens_in_texts_are_counted(tokenizer: Any) -> None:
    """A text that spells EOS becomes EOS."""
    encoder = encoder_of(tokenizer, PLAIN)

    rows = [encoder.encode(QUESTION, ["Six.</s>"]), encoder.encode((Turn("user", "a <s>"),), ["b"])]

    assert count_touched(rows) == {"control tokens in a text": 2}
    assert count_touched([encoder.encode(QUESTION, ["Six."])]) == {}


def test_a_template_that_reads_parts_gets_parts(tokenizer: Any) -> None:
    """As templates of vision models do; the ids are those of a template that reads texts."""
    parts, texts = encoder_of(tokenizer, READS_PARTS), None
    encoded = parts.encode(QUESTION, ["Six."])
    texts = encoder_of(tokenizer, PLAIN)

    assert encoded == texts.encode(QUESTION, ["Six."])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "does not write an assistant's answer"),
        ("{{ messages", "cannot render the turns user, assistant: unexpected end of template"),
        ("{{ messages[0].content + 1 }}", "cannot render the turns user, assistant: TypeError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages[0]['content'] | nofilter }}", "No filter named 'nofilter'"),
        ("{{ raise_exception('only\nfor\nyou') }}", "cannot render the turns user, assistant: only"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "OverflowError"),
        ("{{ ''.__class__.__mro__ }}", "is unsafe"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ 'x' | int(base=99) }}{{ '%d' | format('a') }}", "TypeError"),
        ("{{ messages[99].content }}", "does not write|has no element|UndefinedError|no element"),
        ("{% include 'x' %}", "cannot render the turns"),
    ],
)
def test_whatever_goes_wrong_inside_a_template_is_one_line(tokenizer: Any, template: str, words: str) -> None:
    """It is outside code, which may raise anything."""
    with pytest.raises(TemplateError, match=words) as caught:
        encoder_of(tokenizer, template)
    assert len(str(caught.value).splitlines()) == 1


def test_named_templates_are_chosen_by_name(tokenizer: Any) -> None:
    """The one called default, or the one that is named; without either the line lists them."""
    tokenizer.chat_template = {"rag": "rag" + PLAIN, "tool_use": PLAIN}
    with pytest.raises(TemplateError, match=r"none is called 'default': name one of rag, tool_use as model\.chat_te"):
        ensure_template(tokenizer, "auto")
    assert ensure_template(tokenizer, "auto", template="rag") == "model"
    assert tokenizer.chat_template == "rag" + PLAIN
    tokenizer.chat_template = {"rag": "rag", "default": PLAIN}
    ensure_template(tokenizer, "model")
    assert tokenizer.chat_template == PLAIN
    tokenizer.chat_template = {"rag": 3}
    with pytest.raises(TemplateError, match="must be text"):
        ensure_template(tokenizer, "auto")


def test_the_date_is_the_configured_one_on_any_day(tokenizer: Any) -> None:
    """All codes are those of `strftime`; lm-eval renders with the same tokenizer, and so is told the same."""
    today = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y, %A %-d/%m/%y') }}{% endif %}"

    def rendered(**options: Any) -> str:
        encoder_of(tokenizer, today + PLAIN, **options)
        messages = [{"role": "user", "content": "Q"}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False)).partition("<|")[0]

    assert rendered() == "26 Jul 2024, Friday 26/07/24"
    assert rendered(today=date(2025, 1, 2)) == date(2025, 1, 2).strftime("%d %b %Y, %A %-d/%m/%y")
    first = tokenizer.chat_template
    ensure_template(tokenizer, "auto", today=date(2025, 1, 3))
    assert tokenizer.chat_template != first
    assert without_settings(tokenizer.chat_template) == without_settings(first) == today + PLAIN


def test_settings_are_read_by_the_template(tokenizer: Any) -> None:
    """As keywords of transformers' own call; the rest of the template renders as before, white space included."""
    template = "\n  {% if thinking is defined and not thinking %}no thought{% endif %}\n{{ name }}|" + PLAIN
    name = "x\"'\\n{{ 1 }} é😀"
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    expected = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, thinking=False, name=name
    )

    ensure_template(tokenizer, "auto", template=template, settings={"thinking": False, "name": name})

    assert tokenizer.apply_chat_template(messages, tokenize=False) == expected
    assert ChatTemplate(tokenizer).render([Turn("user", "Q"), Turn("assistant", "A")]) == expected
    with pytest.raises(TemplateError, match="reads no thinkin;"):
        ensure_template(tokenizer, "auto", settings={"thinkin": False})


def test_a_template_that_asks_for_nothing_is_left_as_it_is(tokenizer: Any) -> None:
    """So that its hash, which names fixtures, stays."""
    own = tokenizer.chat_template
    ensure_template(tokenizer, "auto")
    assert tokenizer.chat_template == own


def test_a_system_prompt_is_folded_into_the_first_user_turn(tokenizer: Any) -> None:
    """Also where an assistant's greeting stands before it."""
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
    encoder = encoder_of(tokenizer, template)
    prompt = (Turn("system", "Be brief."), Turn("assistant", "Hello!"), *QUESTION)

    text = tokenizer.decode(encoder.prompt_ids(prompt))

    assert text.startswith("<|assistant|>Hello!</s><|user|>Be brief.\n\nWhat is 2 + 4?")
