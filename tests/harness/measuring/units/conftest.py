"""A small experiment of the embedded model, prepared once, and workspaces in which its adapters are trained already."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.measuring.experiment import Experiment
from harness.measuring.lineup import TrainedAdapter, train
from harness.measuring.preparation import Options, prepare
from harness.models.adapters import detach_adapters
from harness.workspace import Workspace

SUITE = """\
name: units
description: A little of every kind.
evaluations:
  - {name: preferences, kind: reward, role: preferences}
  - {name: safety, kind: perplexity, role: safety}
  - {name: lm_eval, kind: lm_eval, role: lm_eval_tasks}
  - {name: answers, kind: generations, role: prompts, limit: 2, max_new_tokens: 4}
  - {name: drift, kind: drift, role: prompts, limit: 2, max_new_tokens: 4}
"""
QUICK = ("data.training.limit=24", "training.max_steps=2", "training.batch_size=4")


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """What a command line says: two seeds and a control, few steps and few rows, one evaluation of each kind."""
    folder = tmp_path_factory.mktemp("units")
    (folder / "suite.yaml").write_text(SUITE)
    return Options(
        suite=str(folder / "suite.yaml"),
        workspace=folder / "workspace",
        overrides=QUICK,
        limit=4,
        seeds=2,
        controls="sft",
    )


@pytest.fixture(scope="session")
def prepared(options: Options) -> Experiment:
    """The experiment with its base loaded, in one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_THREADS", "1")
        return prepare(options)


@pytest.fixture(scope="session")
def trained(prepared: Experiment) -> tuple[TrainedAdapter, ...]:
    """Its adapters, trained by the ordinary command's function."""
    return train(prepared)


@pytest.fixture
def in_workspace(prepared: Experiment, tmp_path: Path) -> Callable[..., Experiment]:
    """Moves the experiment into a workspace of the test's own, with the adapters of `trained` where they are given."""

    def move(name: str, adapters: tuple[TrainedAdapter, ...] = ()) -> Experiment:
        detach_adapters(prepared.loaded)  # which a run leaves on the base
        workspace = Workspace(tmp_path / name)
        workspace.prepare()
        for each in adapters:
            shutil.copytree(each.fixture.folder, workspace.fixtures / each.fixture.fingerprint)
        return replace(prepared, workspace=workspace)

    return move
