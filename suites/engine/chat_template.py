"""Chat templates: which one renders conversations, and one line for whatever goes wrong inside it.

A template is outside code: it may ask for today's date, read settings, or leave out what it is given. Settings and date
are written into the template's own text, so that all who render with it (the encoder, lm-eval) write the same, and its
hash says so.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Literal

from suites.inputs import SuiteError, Turn

INSTRUCTION_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
    "{% else %}Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '\n\n### Instruction:\n' + message['content'] + '\n\n### Response:\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
"""Chat template for models that have none, in Alpaca's words; a system turn replaces its first two sentences.

Every user turn ends with the generation prompt. `ensure_template` adds BOS in front where the tokenizer adds one.
"""
DEFAULT_DATE = date(2024, 7, 26)
"""What templates get for today, unless the configuration says otherwise: the date that Llama's own falls back on."""
GIVEN_NAMES = ("messages", "tools", "documents", "add_generation_prompt", "strftime_now")
"""Names that a template is always given; no setting can have one of them."""
_DATE_FUNCTION = "strftime_now"
_DATE_CODES = (*"aAbBcdHIjmMpSUwWxXyYzZ", *(f"-{code}" for code in "dmHIMSjy"), *"eDFRT")
_HEAD = "{# settings of this project #}"
"""Begins the first line of a template that has settings or a date in it."""
_CHOICES = "set model.template to 'instruction', or name another template as model.chat_template"


class TemplateError(SuiteError):
    """A model has no chat template, or its template cannot render a conversation."""


Setting = float | str | bool


def ensure_template(
    tokenizer: Any,
    choice: Literal["auto", "model", "instruction"],
    *,
    template: str | None = None,
    settings: Mapping[str, Setting] | None = None,
    today: date = DEFAULT_DATE,
) -> str:
    """Sets the chosen chat template on the tokenizer and returns which it is: "model", "given" or "instruction".

    Args:
        tokenizer: A tokenizer of transformers.
        choice: auto is the model's own template, or the instruction template where it has none.
        template: Text of a template in place of the model's own, or the name of one where the model has several.
        settings: Name -> value that the template reads, such as enable_thinking.
        today: The date for templates that ask for today's.

    Raises:
        TemplateError: There is no such template, or it does not read a setting.
    """
    own = tokenizer.chat_template
    is_given = template is not None and not (isinstance(own, dict) and template in own)
    text = template if is_given else _own_template(own, template) if choice != "instruction" else None
    if choice == "model" and not text:
        raise TemplateError(
            "model.template is 'model', but the tokenizer has no chat template: set it to 'auto' or 'instruction'"
        )
    if not text:
        text = ("{{ bos_token }}" if adds_bos(tokenizer) else "") + INSTRUCTION_TEMPLATE
        kind = "instruction"
    else:
        kind = "given" if is_given else "model"
    tokenizer.chat_template = _with_settings(text, settings or {}, today)
    return kind


def asks_for_the_date(template: str) -> bool:
    """Whether a template asks for today's date."""
    return _DATE_FUNCTION in template


def without_settings(template: str) -> str:
    """The template as it was before `ensure_template` wrote settings and date into it."""
    first, _, rest = template.partition("\n")
    return rest if first.startswith(_HEAD) else template


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts BOS in front of a plain text."""
    return bool(tokenizer("a").input_ids[0] == tokenizer.bos_token_id)


class ChatTemplate:
    """The template that is set on a tokenizer, with the form in which it takes the text of a message."""

    def __init__(self, tokenizer: Any) -> None:
        """Finds out whether the template takes texts, or lists of parts as templates of vision models do.

        Raises:
            TemplateError: It writes the answer to a plain question in neither form.
        """
        self._tokenizer = tokenizer
        self._takes_parts = False
        probe = (Turn("user", "A question?"), Turn("assistant", "yes"))
        try:
            problem = "" if "yes" in self.render(probe) else "it does not write an assistant's answer"
        except TemplateError as error:
            problem = str(error)
        if not problem:
            return
        self._takes_parts = True
        try:
            works = "yes" in self.render(probe)
        except TemplateError:
            works = False
        if not works:
            is_ours = problem.startswith("the chat template")
            raise TemplateError(problem if is_ours else f"the chat template cannot be used: {problem}; {_CHOICES}")

    def render(self, turns: Sequence[Turn], *, add_generation_prompt: bool = False) -> str:
        """The text of a conversation, with BOS and all else that the template writes.

        Raises:
            TemplateError: Anything goes wrong inside the template.
        """
        from jinja2 import TemplateError as JinjaError

        messages = self._messages(turns)
        tools = next((json.loads(turn.tools) for turn in turns if turn.tools), None)
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except (
            JinjaError, ArithmeticError, AttributeError, LookupError, MemoryError,
            RuntimeError, SyntaxError, TypeError, ValueError
        ) as error:  # fmt: skip
            roles = ", ".join(turn.speaker for turn in turns)
            raise TemplateError(f"the chat template cannot render the turns {roles}: {_reason(error)}") from error
        return text

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, Any]]:
        texts = [[{"type": "text", "text": turn.text}] if self._takes_parts else turn.text for turn in turns]
        details = [json.loads(turn.details) if turn.details else {} for turn in turns]
        return [
            {"role": turn.speaker, "content": text, **more}
            for turn, text, more in zip(turns, texts, details, strict=True)
        ]


def _own_template(own: Any, name: str | None) -> str | None:
    """The tokenizer's only template, or the one of that name, or the one that is called default."""
    if own is None or isinstance(own, str):
        return own
    if not isinstance(own, dict) or not all(isinstance(text, str) for text in own.values()):
        raise TemplateError(f"the tokenizer's chat template must be text, got {type(own).__name__}; {_CHOICES}")
    wanted = "default" if name is None else name
    if own and wanted not in own:
        raise TemplateError(
            f"the tokenizer has several chat templates and none is called {wanted!r}: name one of "
            f"{', '.join(map(str, own))} as model.chat_template"
        )
    return own.get(wanted)


def _with_settings(template: str, settings: Mapping[str, Setting], today: date) -> str:
    """The template, with a first line that sets what it reads; unchanged where it reads nothing of it.

    The line ends in a block, whose line break Jinja removes, so that the rest renders as before.
    """
    template = without_settings(template)
    unread = [name for name in settings if not re.search(rf"\b{re.escape(name)}\b", template)]
    if unread:
        raise TemplateError(
            f"model.chat_template_kwargs: the chat template reads no {', '.join(unread)}; leave it out, or check its "
            f"spelling"
        )
    head = "".join(f"{{% set {name} = {_literal(value)} %}}" for name, value in settings.items())
    if asks_for_the_date(template):
        head += _date_macro(today)
    return f"{_HEAD}{head}\n{template}" if head else template


def _literal(value: Setting) -> str:
    """A value as Jinja reads it; JSON escapes are Jinja's too, and what is not ASCII stands as it is."""
    return json.dumps(value, ensure_ascii=False)


def _date_macro(today: date) -> str:
    """A macro in place of the function that asks for the date: it replaces each code of a format by a fixed text."""
    moment = datetime.combine(today, time())
    values = {f"%{code}": moment.strftime(f"%{code}") for code in _DATE_CODES}
    replaced = "".join(f" | replace({_literal(code)}, {_literal(value)})" for code, value in values.items())
    return f"{{% macro {_DATE_FUNCTION}(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}"


def _reason(error: Exception) -> str:
    """The first line of an error, after its kind where the text alone says little."""
    from jinja2 import TemplateError as JinjaError

    line = " ".join(str(error).split("\n", 1)[0].split())
    if isinstance(error, JinjaError) and line:
        return line
    return f"{type(error).__name__}{': ' if line else ''}{line}"
