"""What a run folder says of its origin."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.config.schema import ModelConfig
from harness.models import provenance
from harness.models.base import BASELINE, load_model
from harness.models.provenance import (
    collect,
    git_state,
    package_versions,
    processor_name,
    score_context,
)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_state_of_a_repository(tmp_path: Path) -> None:
    """Commit and whether tracked files differ; a repository without a commit has no state."""
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path) is None
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")

    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path) == {"commit": commit, "dirty": True}


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is a failure."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert git_state(tmp_path) is None


def test_versions_of_what_is_and_is_not_installed() -> None:
    """A package that is not there is None."""
    assert package_versions(["torch", "no-such-package"]) == {"torch": torch.__version__, "no-such-package": None}


def test_the_processor_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the system's own file where there is one, else as Python knows it."""
    assert processor_name()
    monkeypatch.setattr(provenance.Path, "is_file", lambda _self: False)
    assert processor_name()


def test_everything_is_collected_and_fits_in_json(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base, seed, command, device and versions, as run.json takes them."""
    monkeypatch.setattr(sys, "argv", ["harness", "train-and-eval"])
    loaded = load_model(ModelConfig(name=str(llama_folder), quantization="none"))

    collected = collect(loaded, seed=7)

    assert (collected["seed"], collected["command"]) == (7, ["harness", "train-and-eval"])
    assert collected["base"]["fingerprint"] == loaded.fingerprint
    assert collected["device"] == "cpu"
    assert collected["packages"]["torch"] == torch.__version__
    assert json.loads(json.dumps(collected)) == collected


def test_scores_are_kept_apart_by_the_model_of_gpu(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace that an A100 and an H100 share holds the scores of both, each under its own key."""
    loaded = replace(load_model(ModelConfig(name=str(llama_folder), quantization="none")), device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    names = ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3")
    contexts = []
    for name in names:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        contexts.append(json.loads(score_context(loaded, BASELINE)))

    assert tuple(context["device"] for context in contexts) == names
    assert {context["instructions"] for context in contexts} == {None}


@pytest.mark.parametrize(
    ("types", "is_keyed"),
    [
        ({"dtype": "float32", "compute_dtype": "float32"}, False),
        ({"dtype": "float32", "compute_dtype": "bfloat16"}, True),
        ({"dtype": "bfloat16", "compute_dtype": "bfloat16"}, True),
    ],
)
def test_a_cpus_instructions_are_keyed_where_they_decide_a_number(
    types: dict[str, str], is_keyed: bool, llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below float32 an emulated product rounds otherwise than one in hardware; threads divide no sum and are no key."""
    loaded = replace(load_model(ModelConfig(name=str(llama_folder), quantization="none")), **types)
    monkeypatch.setattr(provenance, "cpu_multiplies_bfloat16", lambda: True)
    in_hardware = score_context(loaded, BASELINE)
    monkeypatch.setattr(provenance, "cpu_multiplies_bfloat16", lambda: False)

    assert (score_context(loaded, BASELINE) != in_hardware) is is_keyed
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert "thread" not in score_context(loaded, BASELINE)


def test_a_score_of_several_processes_would_have_another_key(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One computes it today, and the key says so."""
    loaded = load_model(ModelConfig(name=str(llama_folder), quantization="none"))
    alone = json.loads(score_context(loaded, BASELINE))
    assert (alone["ranks"], alone["key_version"]) == (1, provenance.KEY_VERSION)
    monkeypatch.setattr(provenance, "RANKS", 2)
    assert json.loads(score_context(loaded, BASELINE)) == alone | {"ranks": 2}
