"""An adapter is found in a folder, a branch or a folder of a hub repository; what is none is named as what it is."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from harness.models.adapter_files.folder import CONFIG_FILE, WEIGHTS_FILE, AdapterError, locate_adapter
from harness.models.adapters import named_adapters
from harness.models.hub import HubPlace

COMMITS = {"main": "a" * 40, "v2": "b" * 40}


@pytest.fixture
def cached_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, offline, with two revisions of org/a, the second of which has a checkpoint's folder."""
    repository = tmp_path / "hub" / "models--org--a"
    (repository / "refs").mkdir(parents=True)
    for revision, commit in COMMITS.items():
        (repository / "refs" / revision).write_text(commit)
        for folder in ("", "checkpoint-10") if revision == "v2" else ("",):
            snapshot = repository / "snapshots" / commit / folder
            snapshot.mkdir(parents=True, exist_ok=True)
            (snapshot / CONFIG_FILE).write_text("{}")
            (snapshot / WEIGHTS_FILE).write_bytes(b"")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return repository / "snapshots"


@pytest.mark.parametrize(
    ("named", "folder"),
    [
        ("org/a", COMMITS["main"]),
        ("org/a@v2", COMMITS["v2"]),
        ("org/a/checkpoint-10@v2", f"{COMMITS['v2']}/checkpoint-10"),
    ],
)
def test_a_branch_and_a_folder_of_a_repository(named: str, folder: str, cached_repository: Path) -> None:
    """Offline they come from the cache."""
    assert locate_adapter(named) == cached_repository / folder


def test_a_folder_that_the_repository_lacks_is_said(cached_repository: Path) -> None:
    """By the name that was asked for."""
    with pytest.raises(AdapterError, match=rf"'org/a/checkpoint-10' has no {WEIGHTS_FILE} in {cached_repository}"):
        locate_adapter("org/a/checkpoint-10")


@pytest.mark.parametrize("named", ["org/a@", "org/../a", "org//a", "org/a@v 2", "org/a/../../x", "a b/c", "org/a@../x"])
def test_a_text_that_is_no_place_on_the_hub_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked for."""
    monkeypatch.setattr("harness.models.adapter_files.folder.fetch", lambda *_a, **_k: pytest.fail("asked"))
    with pytest.raises(AdapterError, match="is not a folder and no hub id; give a folder"):
        locate_adapter(named)


def test_places_of_the_hub() -> None:
    """Repository, revision with slashes, and folder."""
    assert HubPlace.named("gpt2") == HubPlace("gpt2")
    assert HubPlace.named("org/a@refs/pr/3") == HubPlace("org/a", "refs/pr/3")
    assert HubPlace.named("org/a/runs/last@v2") == HubPlace("org/a", "v2", "runs/last")


def test_candidates_are_called_by_folder_and_revision() -> None:
    """So that two revisions of one adapter are two candidates."""
    assert list(named_adapters(["org/a@v2", "org/a@v3", "org/a/checkpoint-10"])) == ["a@v2", "a@v3", "checkpoint-10"]


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("adapter_model.bin", r"adapter_model\.bin, which is a pickle; write it again as safetensors"),
        ("lora-q8.gguf", r"a GGUF file, which llama\.cpp reads"),
        ("adapters.safetensors", "an adapter of MLX"),
        ("adapters.npz", "an adapter of MLX"),
        ("pytorch_lora_weights.safetensors", "an adapter of diffusers"),
        ("lit_model.pth.lora", "an adapter of LitGPT"),
        ("config.json", "a full model; give it with --candidate NAME=PATH"),
        ("checkpoint-10", "checkpoints; give one of them"),
    ],
)
def test_what_is_no_adapter_of_peft_is_named(file: str, named: str, tmp_path: Path) -> None:
    """A folder that holds one, and the file itself."""
    (tmp_path / file).write_bytes(b"x")
    (tmp_path / CONFIG_FILE).write_text("{}")
    with pytest.raises(AdapterError, match=rf"has no {WEIGHTS_FILE} in .*, but it holds {named}"):
        locate_adapter(str(tmp_path))
    with pytest.raises(AdapterError, match=rf"{file}' is {named}"):
        locate_adapter(str(tmp_path / file))


def test_a_file_of_an_adapter_is_no_folder(tmp_path: Path) -> None:
    """Its folder is what to give."""
    (tmp_path / WEIGHTS_FILE).write_bytes(b"x")
    with pytest.raises(AdapterError, match=f"is not a folder; give the folder {tmp_path}"):
        locate_adapter(str(tmp_path / WEIGHTS_FILE))
