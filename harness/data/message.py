"""One message of a conversation, in the forms that datasets have it, as a turn."""

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from harness.config.limits import problem_of_row
from harness.config.wording import listed, shown
from reports.json_text import DEEPEST_JSON, JsonError, JsonSyntaxError, has_halves, parse_json, unique_keys
from suites.inputs import Prompt, Speaker, Turn

SPEAKERS: dict[str, Speaker] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Role, in small letters -> speaker."""
_ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "text", "value")
_DETAIL_KEYS = ("tool_calls", "tool_call_id", "name", "reasoning_content", "thinking", "reasoning")
"""Keys that are handed to the chat template as they are."""
KEYS = (*_ROLE_KEYS, *TEXT_KEYS, *_DETAIL_KEYS)
"""All keys of a message that are used."""
PART_KEYS = ("type", "text")
"""All keys of a part of a message that are used."""
UNUSED_ANSWER_KEYS = ("tool_call_id", "name")
"""Keys that a template is handed for messages of a prompt, and not for an answer, of which the text alone is used."""
_CONTENT_KEYS = (
    "tool_calls",
    "function_call",
    "reasoning_content",
    "thinking",
    "reasoning",
    "audio",
    "images",
    "videos",
)
"""Keys beside the text that hold a part of what an answer says."""
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Columns of what a text model cannot read."""
_MEDIA_KEY = re.compile("image|picture|photo|video|audio|sound|file|document|media|pdf", re.IGNORECASE)
"""Keys of parts of what a text model cannot read, such as image_url, input_audio and file."""
_TOO_DEEP = f"nested deeper than {DEEPEST_JSON} levels"
_MESSAGES_TEXT = re.compile(r"\[\s*\{.*\}\s*\]", re.DOTALL)


class MessageError(Exception):
    """A message that is not understood; callers raise their own error with its place."""


class UnusableError(Exception):
    """A message that is understood and cannot be used; the text is the reason that rows are counted under."""


def is_missing(value: object) -> bool:
    """Whether a value is none at all: null, or not a number, as pandas writes missing values."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_media(key: object) -> bool:
    """Whether a key of a part holds what a text model cannot read, by its name."""
    return _MEDIA_KEY.search(str(key)) is not None


def is_empty(value: object) -> bool:
    """Whether a value is missing, or an empty text, list or mapping."""
    return is_missing(value) or (isinstance(value, str | list | tuple | dict) and not value)


def text_of(value: object) -> str | None:
    """A text, or a number as JSON writes it; None for anything else."""
    if isinstance(value, str):
        return value
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
    ):
        return str(value)
    return None


def as_messages(value: object) -> object:
    """A list of messages where the value is one as JSON or Python text or as a mapping of lists; else the value.

    Raises:
        MessageError: It is one as text, and JSON of a row could not be that.
    """
    if isinstance(value, str):
        text = value.strip()
        try:
            parsed = _parsed(text) if _MESSAGES_TEXT.fullmatch(text) else None
        except MessageError:
            if _names_one(text, _ROLE_KEYS) and _names_one(text, TEXT_KEYS):
                raise
            return value  # a text about something else, which is taken as it is
        is_messages = isinstance(parsed, list) and all(map(_is_message, parsed))
        return parsed if is_messages else value
    if isinstance(value, dict) and _is_message(value) and all(isinstance(each, list) for each in value.values()):
        n_messages = max(map(len, value.values()), default=0)
        if all(len(each) == n_messages for each in value.values()):
            return [{key: each[index] for key, each in value.items()} for index in range(n_messages)]
    return value


def turn_of(message: Mapping[str, Any]) -> Turn:
    """A message as a turn; its text is stripped.

    Its speaker is its `role` or `from`, in any case of letters. Its text is its `content`, `text` or `value`: a text,
    or a list of parts that are texts, which are joined as chat templates join them. Calls of tools, and reasoning
    beside the text, are kept for the chat template.

    Raises:
        MessageError: It has no known role, or no text and nothing in its place.
        UnusableError: A part of it is an image, a sound or a video.
    """
    media = next((key for key in MEDIA if not is_empty(message.get(key))), None)
    if media is not None:
        raise UnusableError(f"message with {media}, which a text model does not read")
    details = _details(message)
    return Turn(_speaker(message), _text(message, may_be_empty="tool_calls" in details).strip(), _as_text(details))


def answer_of(message: Mapping[str, Any]) -> str:
    """The stripped text of a message that is an answer.

    Raises:
        MessageError: It is no message.
        UnusableError: Someone else than the assistant says it, or it says more than a text, such as calls of tools.
    """
    beside = next((key for key in _CONTENT_KEYS if not is_empty(message.get(key))), None)
    if beside is not None:
        raise UnusableError(f"answer with {beside}, which is neither trained on nor scored")
    turn = turn_of(message)
    if turn.speaker != "assistant":
        raise UnusableError("answer that is not the assistant's")
    return turn.text


def tools_of(value: object) -> str:
    """A list of functions that a conversation may call, or that list as text, as JSON without empty keys.

    Raises:
        MessageError: It is something else.
    """
    tools = _parsed(value) if isinstance(value, str) else value
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise MessageError(f"must be a list of functions as JSON schemas, got {shown(value)}")
    return _as_text(_without_missing(tools))


def _speaker(message: Mapping[str, Any]) -> Speaker:
    key = next((key for key in _ROLE_KEYS if not is_missing(message.get(key))), None)
    if key is None:
        raise MessageError(f"a message needs a role; it has: {listed(message) or 'nothing'}")
    role = message[key]
    speaker = SPEAKERS.get(role.strip().casefold()) if isinstance(role, str) else None
    if speaker is None:
        raise MessageError(f"column {key!r} must be one of {', '.join(SPEAKERS)}, got {shown(role)}")
    return speaker


def _text(message: Mapping[str, Any], *, may_be_empty: bool) -> str:
    """The text of a message, from whichever of its keys holds one."""
    found = {key: message[key] for key in TEXT_KEYS if not is_missing(message.get(key))}
    if not found:
        if may_be_empty or any(key in message for key in TEXT_KEYS):
            return ""
        raise MessageError(f"the column 'content' is missing; the row has: {listed(message)}")
    texts = {key: _joined(key, value) for key, value in found.items()}
    filled = {text for text in texts.values() if text}
    if len(filled) > 1:
        raise MessageError(f"{' and '.join(map(repr, texts))} hold different texts; leave one of them out")
    return filled.pop() if filled else ""


def _joined(key: str, value: object) -> str:
    text = text_of(value)
    if text is not None:
        return text
    if not isinstance(value, list):
        raise MessageError(f"column {key!r} must be text, got {shown(value)}")
    return "".join(_text_of_part(key, part) for part in value)


def _text_of_part(key: str, part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise MessageError(f"column {key!r}: a part of a message must be a mapping, got {shown(part)}")
    kind = part.get("type", "text")
    media = next((each for each, item in part.items() if is_media(each) and not is_empty(item)), None)
    if kind != "text" or media is not None:
        raise UnusableError(f"message with a part that is no text ({shown(kind if kind != 'text' else media)[:40]})")
    text = text_of(part.get("text"))
    if text is None:
        raise MessageError(f"column {key!r}: a part of the type text needs a text, got {shown(part)}")
    return text


def _details(message: Mapping[str, Any]) -> dict[str, Any]:
    """What is handed to the template beside role and text; arguments of calls as mappings, as templates need them."""
    details = {key: _without_missing(message[key]) for key in _DETAIL_KEYS if not is_empty(message.get(key))}
    calls = details.get("tool_calls")
    if calls is None:
        return details
    if isinstance(calls, str):
        calls = _parsed(calls, "column 'tool_calls' ")
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise MessageError(f"column 'tool_calls' must be a list of mappings, got {shown(message['tool_calls'])}")
    return {**details, "tool_calls": [_with_arguments(call) for call in calls]}


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function", call)
    arguments = function.get("arguments") if isinstance(function, dict) else None
    parsed = _parsed(arguments, "column 'arguments' ") if isinstance(arguments, str) else None
    if not isinstance(parsed, dict):
        return call
    whole = {**function, "arguments": parsed}
    return {**call, "function": whole} if "function" in call else whole


def _without_missing(value: Any) -> Any:
    """A value without keys that hold null: Arrow gives every mapping of a column the keys of all others."""
    if isinstance(value, dict):
        return {key: _without_missing(item) for key, item in value.items() if item is not None}
    return [_without_missing(item) for item in value] if isinstance(value, list) else value


def _as_text(value: Any) -> str:
    """A value as JSON, in one form for equal values; "" for an empty one."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str) if value else ""


def _parsed(text: str, subject: str = "") -> object:
    """The value of a JSON text, or of the text that Python writes for one; None where it is neither.

    Raises:
        MessageError: A file whose row has that value would be refused; the message begins with the subject.
    """
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return _checked(_json_or_python(text.strip()))
    except JsonError as error:
        raise MessageError(f"{subject}holds JSON as a text, which cannot be used: {error}") from None


def _checked(value: object) -> object:
    """The value, within the limits of a row and without halves of characters."""
    problem = problem_of_row({"": value})  # first: the other check is recursive
    if problem is None and has_halves(value):
        problem = "half of a surrogate pair, which is no character"
    if problem is not None:
        raise JsonError(problem)
    return value


def _json_or_python(text: str) -> object:
    try:
        return parse_json(text, unique_keys)
    except JsonSyntaxError:
        return _python_value(text)


def _python_value(text: str) -> object:
    """The value of a text that Python writes for lists and mappings; None where it is none.

    Raises:
        JsonError: It is nested too deep, has a key twice, or a value that JSON has not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of a backslash that is no escape, and keeps it
            tree = ast.parse(text, mode="eval")
        value = ast.literal_eval(tree)
    except SyntaxError as error:
        if "too many nested" in error.msg:
            raise JsonError(_TOO_DEEP) from None
        return None
    except (ValueError, TypeError):
        return None
    except (RecursionError, MemoryError):  # the parser's own words for depth
        raise JsonError(_TOO_DEEP) from None
    # A dictionary has lost the first of two equal keys by now.
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [ast.literal_eval(key) for key in node.keys if key is not None]
            first: dict[Any, Any] = {}  # 1, 1.0 and True are one key
            unique_keys([(str(first.setdefault(key, key)), None) for key in keys])
    return _as_json(value)


def _as_json(value: Any) -> Any:
    """A value of Python with texts as keys and lists in place of tuples."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise JsonError(f"a value of Python that JSON has not ({type(value).__name__})")


def _names_one(text: str, keys: tuple[str, ...]) -> bool:
    return any(f'"{key}"' in text or f"'{key}'" in text for key in keys)


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict) and any(key in value for key in _ROLE_KEYS) and any(key in value for key in TEXT_KEYS)
    )


def first_turn_with(prompt: Prompt, tools: str) -> Prompt:
    """The prompt with the tools of the conversation on its first turn."""
    first, *others = prompt
    return (Turn(first.speaker, first.text, first.details, tools), *others)
