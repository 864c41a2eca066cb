"""The nox session that docs/gates.md offers to other repositories, run in a scratch project as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "gates.md"
MEASURE = ("harness", "eval", "--suite", "alignment", "--adapter", "adapter=adapters/mine", "--out", "reference-run")


@pytest.fixture(scope="module")
def project(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own with an adapter, gates, the session of that page, and a reference run of that adapter."""
    pytest.importorskip("nox", reason="nox is not installed")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (session,) = [block for block in blocks if "@nox.session" in block]
    folder = tmp_path_factory.mktemp("project")
    (folder / "noxfile.py").write_text(session)
    shutil.copytree(reference.ADAPTER, folder / "adapters" / "mine")
    shutil.copy(reference.GATES, folder / "gates.yaml")
    assert run(folder, *MEASURE).returncode == 0
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in a project, with what is installed beside this Python."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HARNESS_", "GITHUB_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def gate(folder: Path) -> subprocess.CompletedProcess[str]:
    """The session, in the environment that is there instead of one of its own, because nothing can be downloaded."""
    return run(folder, sys.executable, "-m", "nox", "--no-venv", "--no-install", "-s", "gate")


def test_the_same_adapter_passes(project: Path) -> None:
    """The session is successful and leaves a test report and a summary."""
    done = gate(project)

    assert done.returncode == 0, done.stdout + done.stderr
    suite = ET.parse(project / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("4", "0")
    assert (project / "summary.md").read_text().startswith("### Not stopped")


def test_a_regression_stops_it(project: Path, swapped_adapter: Path) -> None:
    """With an adapter that was trained on swapped pairs in its place the session fails."""
    shutil.rmtree(project / "adapters" / "mine")
    shutil.copytree(swapped_adapter, project / "adapters" / "mine")
    done = gate(project)

    assert done.returncode != 0
    assert "exit code 3" in done.stdout + done.stderr
    assert "fail         preferences/reward_accuracy" in done.stdout
