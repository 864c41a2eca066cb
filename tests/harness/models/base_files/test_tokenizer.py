"""A tokenizer whose files are damaged is one line that names the folder and what is wrong, before a text is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config.schema import ModelConfig
from harness.models.base import ensure_pad_token, load_model
from harness.models.base_files.folder import ModelError
from harness.models.base_files.tokenizer import load_tokenizer

WHOLE, SETTINGS, SPECIAL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
Spoil = Callable[[Path], object]


@pytest.fixture
def copied(llama_folder: Path, tmp_path: Path) -> Path:
    """A copy of the Llama that a test may spoil."""
    return Path(shutil.copytree(llama_folder, tmp_path / "llama"))


def change(folder: Path, name: str, **changes: Any) -> None:
    content = json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
    (folder / name).write_text(json.dumps(content | changes))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_tokenizer(folder, "mine")
    message = str(caught.value)
    assert message.startswith(f"model.name 'mine': its tokenizer in {folder} ")
    assert len(message.splitlines()) == 1
    return message


def _added(**changes: Any) -> list[dict[str, Any]]:
    token = {"id": 0, "content": "<pad>", "special": True, "normalized": False}
    return [{**token, "single_word": False, "lstrip": False, "rstrip": False, **changes}]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (WHOLE, {"model": {}}, "cannot be loaded: data did not match any variant of untagged enum ModelUntagged"),
        (WHOLE, {"post_processor": {"type": "X"}}, "untagged enum PostProcessorWrapper"),
        (WHOLE, {"decoder": 5}, "untagged enum PyDecoderWrapper"),
        (WHOLE, {"truncation": 5}, "expected struct TruncationParams"),
        (WHOLE, {"version": "9"}, "Unknown tokenizer version '9'"),
        (WHOLE, {"added_tokens": _added(id="x")}, "expected u32"),
        *((WHOLE, {"added_tokens": odd}, "an object whose added_tokens are a list") for odd in (5, None, {}, [5])),
        *((SETTINGS, {"model_max_length": odd}, "model_max_length must be a number, not ") for odd in ("x", [], True)),
        *((SETTINGS, {"eos_token": odd}, "eos_token must be a text, or an object") for odd in (5, True, [], {})),
        (SETTINGS, {"eos_token": {"__type": "AddedToken"}}, "eos_token must be a text, or an object with a text as"),
        (SETTINGS, {"pad_token": {"content": 5}}, "pad_token must be a text, or an object with a text as content"),
        (SPECIAL, {"bos_token": 5}, "special_tokens_map.json: bos_token must be a text"),
        (SPECIAL, {"eos_token": {}}, "special_tokens_map.json: eos_token must be a text"),
        *(
            (SETTINGS, {"chat_template": odd}, "chat_template must be a text, or a list of")
            for odd in (5, [5], {}, True)
        ),
        (SETTINGS, {"chat_template": [{"name": "default", "template": 5}]}, "chat_template must be a text, or a list"),
        *((SETTINGS, {"added_tokens_decoder": odd}, "added_tokens_decoder must be") for odd in (5, [], {"5": {}})),
        (SETTINGS, {"additional_special_tokens": [5]}, "cannot be loaded: "),
        *((SETTINGS, {"tokenizer_class": odd}, "tokenizer_class must name a class") for odd in (5, [], "GPT2Model")),
        (SETTINGS, {"tokenizer_class": "BertTokenizer"}, "cannot be loaded: WordPiece error"),
        (SETTINGS, {"model_input_names": 5}, "cannot be loaded: TypeError: 'int' object is not iterable"),
    ],
    ids=str,
)
def test_a_damaged_value_is_one_line(name: str, changes: dict[str, Any], said: str, copied: Path) -> None:
    """What tokenizers raises as a plain Exception, and what nothing but a text would show, or not even that."""
    change(copied, name, **changes)
    assert said in refusal(copied)


@pytest.mark.parametrize("content", ["[]", "5", '"x"', "null"])
@pytest.mark.parametrize("name", [WHOLE, SETTINGS, SPECIAL])
def test_a_file_of_a_tokenizer_is_an_object(name: str, content: str, copied: Path) -> None:
    """Each of the three, in the same words."""
    (copied / name).write_text(content)
    assert f"{name} must be an object" in refusal(copied)


@pytest.mark.parametrize(
    ("kind", "files", "said"),
    [
        ("GPT2Tokenizer", {"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\na"}, "Merges text file invalid"),
        ("GPT2Tokenizer", {"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\nx y\n"}, "`x` out of vocabulary"),
        ("GPT2Tokenizer", {"vocab.json": "[]", "merges.txt": ""}, "Bad vocabulary json file"),
        ("GPT2Tokenizer", {"vocab.json": '{"a": 0}'}, "cannot be loaded: "),
        (
            "GPT2Tokenizer",
            {"vocab.json": "{}", "merges.txt": ""},
            "has no tokens for a text: its vocabulary is missing",
        ),
        ("LlamaTokenizer", {"tokenizer.model": ""}, "cannot be loaded: tokenizer.model is empty; it is damaged"),
        ("T5Tokenizer", {"spiece.model": ""}, "cannot be loaded: spiece.model is empty; it is damaged"),
        ("LlamaTokenizer", {}, "has no tokens for a text: its vocabulary is missing"),
        ("NoSuchTokenizer", {}, "cannot be loaded: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else value[:20],
)
def test_files_that_are_cut_off_are_one_line(kind: str, files: dict[str, str], said: str, copied: Path) -> None:
    """Where there is no tokenizer.json; transformers makes an empty tokenizer of no files at all."""
    (copied / WHOLE).unlink()
    (copied / SETTINGS).write_text(json.dumps({"tokenizer_class": kind}))
    for name, content in files.items():
        (copied / name).write_text(content)
    assert said in refusal(copied)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_max_length": None},
        {"model_max_length": 1e30},
        {"eos_token": {"__type": "AddedToken", "content": "</s>"}, "unk_token": None},
        {"chat_template": [{"name": "default", "template": "x"}]},
        {"tokenizer_class": "NoSuchTokenizer"},
    ],
    ids=str,
)
def test_values_as_models_have_them_are_read(changes: dict[str, Any], copied: Path) -> None:
    """No number, a very large one, a token with its properties, several templates, a class that is not needed."""
    change(copied, SETTINGS, **changes)
    assert load_tokenizer(copied, "mine")("Is it?")["input_ids"]


def test_an_empty_padding_token_is_none(copied: Path) -> None:
    """Another token of the vocabulary takes its place."""
    change(copied, SETTINGS, pad_token="")
    assert load_model(ModelConfig(str(copied), quantization="none")).pad_token_id == 0


def test_a_tokenizer_without_any_token_to_pad_with_is_one_line(copied: Path) -> None:
    """Neither padding nor EOS, nor another special token."""
    change(copied, WHOLE, added_tokens=[], post_processor=None)
    change(copied, SETTINGS, pad_token=None, eos_token=None, bos_token=None)
    tokenizer = load_tokenizer(copied, "mine")
    with pytest.raises(ModelError, match="has no padding token and no EOS; name one as pad_token or eos_token"):
        ensure_pad_token(tokenizer, 400)


def test_a_chat_template_without_end_is_one_error(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer that this project loads compiles its template with bounds."""
    import suites.bounded_templates
    from suites.bounded_templates import TemplateBoundError

    monkeypatch.setattr(suites.bounded_templates, "MOST_STEPS", 20_000)
    tokenizer = load_tokenizer(copied, "copied")
    tokenizer.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TemplateBoundError, match="more than 20,000 steps"):
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
