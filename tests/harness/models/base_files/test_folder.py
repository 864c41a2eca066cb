"""A base model is found in a folder, or on the hub at a revision that may stand behind its name."""

from pathlib import Path
from typing import Any

import pytest

from harness.config.schema import ModelConfig
from harness.models.base_files.folder import ModelError, ModelFolder, locate_weights, model_folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the hub was asked for."""
    found: dict[str, Any] = {}

    def fetched(_what: str, repository: str, **options: object) -> Path:
        found.update(options, repository=repository)
        return tmp_path

    monkeypatch.setattr("harness.models.base_files.folder.fetch", fetched)
    return found


@pytest.mark.parametrize(
    ("config", "revision"),
    [
        (ModelConfig("org/model"), None),
        (ModelConfig("org/model@v2"), "v2"),
        (ModelConfig("org/model", revision="v2"), "v2"),
        (ModelConfig("org/model@v2", revision="v2"), "v2"),
        (ModelConfig("org/model@refs/pr/3"), "refs/pr/3"),
    ],
)
def test_a_revision_may_stand_behind_the_name(
    config: ModelConfig, revision: str | None, asked: dict[str, Any], tmp_path: Path
) -> None:
    """The model is called by its name without it."""
    assert model_folder(config) == ModelFolder("org/model", tmp_path, revision)
    assert (asked["repository"], asked["revision"]) == ("org/model", revision)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig("org/model@v2", revision="v1"), "name two revisions"),
        (ModelConfig("org/model@"), "there is no folder 'org/model@'"),
        (ModelConfig("org/../model"), "there is no folder"),
        (ModelConfig("./model-q4.gguf"), r"it is a GGUF file, which llama\.cpp reads"),
    ],
)
def test_a_name_that_is_no_place_is_one_line(config: ModelConfig, message: str, asked: dict[str, Any]) -> None:
    """Nothing is asked of the hub."""
    with pytest.raises(ModelError, match=message):
        model_folder(config)
    assert not asked


def test_a_folder_with_a_gguf_file_alone_is_named(tmp_path: Path) -> None:
    """It has a configuration and no weights that are read here."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model-q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"has no weights \(\*\.safetensors\), but a GGUF file"):
        locate_weights(ModelConfig(str(tmp_path)))
