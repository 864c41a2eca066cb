"""The tokenizer of a base model: its files are checked and read here, so that nothing behind it meets an odd type."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config.wording import shown
from harness.models.base_files.config import check_numbers
from harness.models.base_files.folder import ModelError
from reports.errors import first_line
from reports.json_text import parse_json
from suites.bounded_templates import bound_chat_templates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_WHOLE = "tokenizer.json"
_SETTINGS = "tokenizer_config.json"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TEXT = "Is it so? Yes, it is."
"""Text that any tokenizer has tokens for, if only the one of unknown characters."""
_SAY_THEMSELVES = (ValueError, OSError, RuntimeError, ImportError)
"""Errors whose text says enough without their kind; those of tokenizers, which are of no kind, do so too."""


def load_tokenizer(folder: Path, name: str) -> "PreTrainedTokenizerFast":
    """Load the tokenizer of a model folder.

    Args:
        folder: the model's folder.
        name: the model's name, for messages.

    Raises:
        ModelError: it cannot be read, has no fast version, or has no tokens for a text.
    """
    from transformers import AutoTokenizer

    bound_chat_templates()
    check_numbers(name, folder)
    begin = f"model.name {name!r}: its tokenizer in {folder}"
    problem = next(_problems(folder), "")
    if problem:
        raise ModelError(f"{begin} cannot be loaded: {problem}; it is damaged")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        token_ids = tokenizer(_TEXT, add_special_tokens=False)["input_ids"]
    except Exception as error:  # tokenizers raises its errors as plain Exception, of no class of their own
        kind = "" if type(error) is Exception or isinstance(error, _SAY_THEMSELVES) else f"{type(error).__name__}: "
        raise ModelError(f"{begin} cannot be loaded: {kind}{first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"{begin} has no fast version ({_WHOLE}); choose a model that has one")
    if not token_ids:
        raise ModelError(f"{begin} has no tokens for a text: its vocabulary is missing, empty or damaged")
    return tokenizer


def _problems(folder: Path) -> Iterator[str]:
    """Name what the files of a tokenizer hold that transformers reads late, takes for something else or passes over."""
    if (folder / _WHOLE).is_file():
        content = parse_json((folder / _WHOLE).read_bytes())
        added = content.get("added_tokens") if isinstance(content, Mapping) else None
        if not isinstance(added, list) or not all(isinstance(each, Mapping) for each in added):
            yield f"{_WHOLE} must be an object whose added_tokens are a list of objects"
    else:
        yield from (f"{file.name} is empty" for file in sorted(folder.glob("*.model")) if not file.stat().st_size)
    for name in (_SETTINGS, "special_tokens_map.json"):
        if not (folder / name).is_file():
            continue
        settings = parse_json((folder / name).read_bytes())
        if not isinstance(settings, Mapping):
            yield f"{name} must be an object"
            continue
        for key in _SPECIAL_TOKENS:
            if not _is_token(settings.get(key)):
                yield f"{name}: {key} must be a text, or an object with a text as content, not {shown(settings[key])}"
        if name == _SETTINGS:
            yield from _problems_of_settings(settings)


def _problems_of_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    """Name values of tokenizer_config.json that are of another type than what reads them."""
    for key in ("model_max_length", "max_len"):
        length = settings.get(key)
        if length is not None and (isinstance(length, bool) or not isinstance(length, int | float)):
            yield f"{_SETTINGS}: {key} must be a number, not {shown(length)}"
    kind = settings.get("tokenizer_class")
    if kind is not None and not (isinstance(kind, str) and ("Tokenizer" in kind or kind.endswith("Backend"))):
        yield f"{_SETTINGS}: tokenizer_class must name a class of tokenizers, not {shown(kind)}"
    template = settings.get("chat_template")
    named = template if isinstance(template, list) else [{"name": "default", "template": template}]
    is_text = [
        isinstance(each, Mapping) and isinstance(each.get("name"), str) and isinstance(each.get("template"), str)
        for each in named
    ]
    if template is not None and not all(is_text):
        yield f"{_SETTINGS}: chat_template must be a text, or a list of objects with name and template, not " + shown(
            template
        )
    added = settings.get("added_tokens_decoder", {})
    if not isinstance(added, Mapping) or not all(each is not None and _is_token(each) for each in added.values()):
        yield f"{_SETTINGS}: added_tokens_decoder must be an object of objects with a text as content"


def _is_token(value: Any) -> bool:
    """Return whether a value stands for a special token, or for none."""
    return value is None or isinstance(value.get("content") if isinstance(value, Mapping) else value, str)
