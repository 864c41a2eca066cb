"""Whatever a chat template holds: it renders, or one line says why not; never a traceback."""

from pathlib import Path
from typing import Any

import pytest
from fuzzing import FUZZED
from hypothesis import given, seed
from hypothesis import strategies as st

from reports.errors import UserError
from suites.engine.chat_template import ensure_template
from suites.engine.encoding import Encoder
from suites.inputs import Turn

_PIECES = st.sampled_from(
    [
        "{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] }}", "{{ messages[0].content }}",
        "{{ messages[-1].content.split('</think>')[-1] }}", "{{ messages | tojson }}", "{{ tools | tojson }}",
        "{% if add_generation_prompt %}", "{% endif %}", "{{ raise_exception('no') }}", "{{ 1 / 0 }}",
        "{{ nope.x.y }}",
        "{{ m.content + 3 }}", "{{ strftime_now('%d %b') }}", "{{ strftime_now(3) }}", "{{ eos_token }}",
        "{% macro f(x) %}", "{% endmacro %}", "{{ f(m) }}", "{% set x = m %}", "{% include 'a' %}",
        "{{ ''.__class__ }}", "{{ bos_token }}",
        "{{ m.content | replace('a', 'b') }}", "{% generation %}", "{% endgeneration %}", "{{ m.content[::-1] }}",
        "{{ namespace(a=1).a }}", "{{ '%s %d' % ('a', 'b') }}", "{{ m.content | int + 1 }}", "{% break %}", "{{", "%}",
        "{# ", "\n  ", "<|assistant|>", "{{ [1, 2] | sort(attribute='x') }}",
        "{{ m.content.encode().decode('utf-7') }}",
    ]
)  # fmt: skip
_WORKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_TEMPLATES = st.one_of(
    st.lists(_PIECES | st.text(max_size=4), max_size=7).map("".join),
    st.tuples(st.integers(0, len(_WORKING)), _PIECES).map(lambda at: _WORKING[: at[0]] + at[1] + _WORKING[at[0] :]),
    st.tuples(st.integers(0, len(_WORKING)), st.integers(1, 9)).map(lambda at: _WORKING[: at[0]] + _WORKING[sum(at) :]),
)


@pytest.fixture(scope="module")
def tokenizer(llama_folder: Path) -> Any:
    """A tokenizer whose template is replaced for every input."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(llama_folder)


def assert_one_line(error: UserError) -> None:
    """The message is what a terminal shows as one line."""
    assert len(str(error).splitlines()) == 1


@pytest.mark.slow
@seed(15)
@FUZZED
@given(template=_TEMPLATES, texts=st.lists(st.text(min_size=1, max_size=9), min_size=2, max_size=4))
def test_any_template_renders_or_is_refused_in_one_line(tokenizer: Any, template: str, texts: list[str]) -> None:
    """Where it renders, every answer is written: its tokens spell it, white space aside."""
    question, *answers = texts
    try:
        ensure_template(tokenizer, "auto", template=template)
        encoder = Encoder(tokenizer, max_prompt_tokens=500, max_tokens=1000, system_prompt="Be brief.")
        encoded = encoder.encode((Turn("user", question),), answers)
    except UserError as error:
        assert_one_line(error)
        return
    for answer, each in zip(answers, encoded, strict=True):
        written = tokenizer.decode([*each.request.prompt_ids, *each.request.response_ids])
        assert "".join(answer.split()) in "".join(written.split())
