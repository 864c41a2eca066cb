"""Tests of which chat template is taken: the base model's, one that is named, or that of the adapters."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config.schema import ModelConfig
from harness.models.templates import (
    TemplateFileError,
    apply_template,
    notes_on_trained_template,
    template_of_folder,
    with_adapters_template,
)
from suites.engine.chat_template import TemplateError
from suites.inputs import content_id

OWN = "{% for m in messages %}{{ m.content }}{% endfor %}"
OTHER = "other" + OWN


@pytest.fixture
def tokenizer(llama_folder: Path) -> Any:
    """A tokenizer with a template of its own."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(llama_folder)


def folder_with(folder: Path, *, file: str | None = None, settings: object = None) -> Path:
    """An adapter's folder, as training libraries save it."""
    folder.mkdir(exist_ok=True)
    if file is not None:
        (folder / "chat_template.jinja").write_text(file, encoding="utf-8")
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({}, None),
        ({"file": OWN}, OWN),
        ({"settings": {"chat_template": OWN}}, OWN),
        ({"file": OTHER, "settings": {"chat_template": OWN}}, OTHER),
        (
            {"settings": {"chat_template": [{"name": "rag", "template": OTHER}, {"name": "default", "template": OWN}]}},
            OWN,
        ),
        ({"settings": {"chat_template": [{"name": "rag", "template": OTHER}]}}, None),
        ({"settings": {"chat_template": 3}}, None),
        ({"settings": [1]}, None),
    ],
)
def test_the_template_of_a_folder(tmp_path: Path, files: dict[str, Any], template: str | None) -> None:
    """A file of its own goes before the tokenizer's settings; of several the default counts."""
    assert template_of_folder(folder_with(tmp_path, **files)) == template


def test_an_adapters_template_is_taken_for_all_where_the_base_has_another_or_none(tmp_path: Path) -> None:
    """And said in one line; the base's own is no news, and a template that is named wins."""
    adapters = {"a": folder_with(tmp_path / "a", file=OTHER), "b": folder_with(tmp_path / "b")}

    for own, words in ((None, "the base model has none"), (OWN, "not the base model's own")):
        config, (note,) = with_adapters_template(ModelConfig(), own, adapters)
        assert config.chat_template == str(tmp_path / "a")
        assert "All subjects, the base too" in note
        assert words in note
    assert with_adapters_template(ModelConfig(), OTHER + "\n", adapters) == (ModelConfig(), [])
    for named in (ModelConfig(template="instruction"), ModelConfig(chat_template="x.jinja")):
        config, (note,) = with_adapters_template(named, OWN, adapters)
        assert config == named
        assert "is not used: the configuration names another one" in note


def test_adapters_with_different_templates_are_asked_in_the_bases(tmp_path: Path) -> None:
    """One comparison has one template; the line says which is taken and what to do."""
    adapters = {"a": folder_with(tmp_path / "a", file=OTHER), "b": folder_with(tmp_path / "b", file=OWN)}

    for own, taken in ((OWN, "the base model's template"), (None, "the instruction template")):
        config, (note,) = with_adapters_template(ModelConfig(), own, adapters)
        assert config == ModelConfig()
        assert "different chat templates (a, b)" in note
        assert taken in note


def test_a_named_template_is_a_file_a_folder_or_a_name(tmp_path: Path, tokenizer: Any) -> None:
    """Each is set on the tokenizer; what is none of them is one line."""
    file = tmp_path / "own.jinja"
    file.write_text(OTHER, encoding="utf-8")
    for named in (str(file), str(folder_with(tmp_path / "a", file=OTHER))):
        assert apply_template(tokenizer, ModelConfig(chat_template=named)) == ("given", [])
        assert tokenizer.chat_template == OTHER
    tokenizer.chat_template = {"rag": OWN, "default": OTHER}
    assert apply_template(tokenizer, ModelConfig(chat_template="rag")) == ("model", [])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jinja").write_text(" \n", encoding="utf-8")
    (tmp_path / "latin.jinja").write_bytes(b"\xe9")
    for name, words in (
        ("nope.jinja", "there is no file"), ("~nobody-here/own.jinja", "there is no file"),
        ("x" * 5000, "is no path"), ("empty", "holds no chat template"), ("empty.jinja", "is empty"),
        ("latin.jinja", "not UTF-8 text"),
    ):  # fmt: skip
        with pytest.raises(TemplateFileError, match=words):
            apply_template(tokenizer, ModelConfig(chat_template=str(tmp_path / name)))


def test_a_date_is_said_and_a_setting_that_is_not_read_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    """The line names the date and the key that changes it."""
    dated = folder_with(tmp_path, file="{{ strftime_now('%Y') }}" + OWN)
    kind, (note,) = apply_template(tokenizer, ModelConfig(chat_template=str(dated), chat_template_date="2025-01-02"))
    assert kind == "given"
    assert "always told 2025-01-02 (model.chat_template_date)" in note
    with pytest.raises(TemplateError, match="reads no enable_thinking"):
        apply_template(tokenizer, ModelConfig(chat_template_kwargs={"enable_thinking": False}))


def test_an_adapter_of_this_project_trained_in_another_template_is_named(tmp_path: Path) -> None:
    """Its record has the hash of the template; a folder without a record says nothing."""
    for name, template in (("same", OWN), ("other", OTHER), ("none", None)):
        (tmp_path / name).mkdir()
        if template is not None:
            record = {"base": {"template": content_id(template)}}
            (tmp_path / name / "fixture.json").write_text(json.dumps(record), encoding="utf-8")
    adapters = {name: tmp_path / name for name in ("same", "other", "none")}
    (note,) = notes_on_trained_template(OWN, adapters)
    assert note == "Trained with another chat template than all subjects are asked in: other."
    assert notes_on_trained_template(OWN, {"same": tmp_path / "same"}) == []
