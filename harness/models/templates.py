"""Choose the chat template: the base model's own, one that the configuration names, or that of the adapters."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from harness.config.schema import ModelConfig
from reports.errors import UserError
from reports.json_text import JsonError, parse_json
from reports.paths import PathError, expanded
from suites.engine.chat_template import asks_for_the_date, ensure_template, without_settings
from suites.inputs import content_id

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILE = "tokenizer_config.json"
_RECORD = "fixture.json"
TEMPLATE_FILES = (TEMPLATE_FILE, TOKENIZER_FILE)
"""Files of a folder that may hold its chat template; the first one counts where both do."""
_LARGEST_CHARACTERS = 1_000_000


class TemplateFileError(UserError):
    """A chat template that the configuration names, or that lies beside an adapter, cannot be read."""


def apply_template(tokenizer: Any, config: ModelConfig) -> tuple[str, list[str]]:
    """Set the configured chat template on a tokenizer.

    Returns:
        Which it is ("model", "given" or "instruction"), and messages for the user.

    Raises:
        TemplateFileError: there is no such file.
        TemplateError: the tokenizer has no such template, or it does not read a setting.
    """
    kind = ensure_template(
        tokenizer,
        config.template,
        template=_given(tokenizer, config.chat_template),
        settings=config.chat_template_kwargs,
        today=date.fromisoformat(config.chat_template_date),
    )
    note = (
        f"The chat template asks for today's date and is always told {config.chat_template_date} "
        f"(model.chat_template_date), so that prompts are the same on any day."
    )
    return kind, [note] if asks_for_the_date(tokenizer.chat_template) else []


def template_of_folder(folder: Path) -> str | None:
    """Return the chat template that a folder's tokenizer would have, the default one of several; None without any.

    Raises:
        TemplateFileError: a file cannot be read.
    """
    if (folder / TEMPLATE_FILE).is_file():
        return _read(folder / TEMPLATE_FILE)
    if not (folder / TOKENIZER_FILE).is_file():
        return None
    try:
        settings = parse_json(_read(folder / TOKENIZER_FILE))
    except JsonError as error:
        raise TemplateFileError(f"{folder / TOKENIZER_FILE}: {error}; it is damaged") from None
    found = settings.get("chat_template") if isinstance(settings, dict) else None
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    return found if isinstance(found, str) and found else None


def with_adapters_template(
    config: ModelConfig, own: str | None, adapters: Mapping[str, Path]
) -> tuple[ModelConfig, list[str]]:
    """Take the template that adapters were saved with, for base and adapters alike, where it is not the base's own.

    Args:
        config: a template that it names, other than auto, stays.
        own: the base model's own template; None without one.
        adapters: name -> folder.

    Returns:
        The configuration of the base model, and messages for the user.

    Raises:
        TemplateFileError: a file beside an adapter cannot be read.
    """
    found = {name: template for name, folder in adapters.items() if (template := template_of_folder(folder))}
    others = {name: template for name, template in found.items() if own is None or template.strip() != own.strip()}
    if not others:
        return config, []
    names = ", ".join(others)
    if config.template != "auto" or config.chat_template is not None:
        return config, [f"The chat template saved with {names} is not used: the configuration names another one."]
    without_own = own is None
    if len({template.strip() for template in found.values()}) > 1:
        taken = "the instruction template" if without_own else "the base model's template"
        several = (
            f"The adapters were saved with different chat templates ({', '.join(found)}), so all subjects are asked in "
            f"{taken}: measure them in runs of their own, or name a template as model.chat_template."
        )
        return config, [several]
    base = "the base model has none" if without_own else "it is not the base model's own"
    note = (
        f"All subjects, the base too, are asked in the chat template that was saved with {names} ({base}); "
        f"-o model.template={'instruction' if without_own else 'model'} takes the other one."
    )
    return replace(config, chat_template=str(adapters[next(iter(others))])), [note]


def notes_on_trained_template(template: str, adapters: Mapping[str, Path]) -> list[str]:
    """Return a message where the record of an adapter of this project names another template than this one.

    Args:
        template: text of the template that renders all prompts.
        adapters: name -> folder.
    """
    others = []
    for name, folder in adapters.items():
        try:
            trained_with = parse_json(_read(folder / _RECORD))["base"]["template"]
        except (TemplateFileError, ValueError, TypeError, LookupError):
            continue  # no record of this project, which says nothing about a template
        if trained_with != content_id(template):
            others.append(name)
    if not others:
        return []
    return [f"Trained with another chat template than all subjects are asked in: {', '.join(others)}."]


def _given(tokenizer: Any, named: str | None) -> str | None:
    """The text of the template that the configuration names, or its name where the model has one of that name."""
    if named is None or (isinstance(tokenizer.chat_template, dict) and named in tokenizer.chat_template):
        return named
    try:
        path = expanded(named)
    except PathError as error:
        raise TemplateFileError(f"model.chat_template: {error}") from None
    if path.is_dir():
        template = template_of_folder(path)
        if template is None:
            raise TemplateFileError(
                f"model.chat_template: {path} holds no chat template in {' or '.join(TEMPLATE_FILES)}"
            )
        return without_settings(template)
    if not path.is_file():
        names = ", ".join(map(str, tokenizer.chat_template)) if isinstance(tokenizer.chat_template, dict) else ""
        raise TemplateFileError(
            f"model.chat_template: there is no file {named!r}; give a file with a Jinja template, a folder of a "
            f"tokenizer or an adapter{f', or one of the names of the model: {names}' if names else ''}"
        )
    template = without_settings(_read(path))
    if not template.strip():
        raise TemplateFileError(f"model.chat_template: {path} is empty; give a file with a Jinja template")
    return template


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > 4 * _LARGEST_CHARACTERS:
            raise TemplateFileError(f"{path}: larger than {4 * _LARGEST_CHARACTERS:,} bytes, which no template is")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TemplateFileError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise TemplateFileError(f"{path}: cannot be read ({error.strerror or error})") from None
