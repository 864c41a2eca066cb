"""A folder of the user's own that is named like a package of this project is one line, not a traceback."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.own_packages import in_the_way

ROOT = Path(__file__).parents[2]


def call(folder: Path, *command: str, search: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs Python in a folder, with others before this project's among those that packages are searched in."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*search, ROOT)))}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("package", "file"),
    [("reports", "reports/__init__.py"), ("suites", "suites/__init__.py"), ("reports", "reports.py")],
)
def test_the_file_in_the_working_folder_is_named(package: str, file: str, tmp_path: Path) -> None:
    """`python -m harness` beside it: which file, what to do, and exit code 2."""
    theirs = tmp_path / file
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("raise RuntimeError('theirs ran')\n")

    called = call(tmp_path, "-m", "harness", "list", "suites")

    assert called.returncode == 2
    assert called.stdout == ""
    (line,) = called.stderr.splitlines()
    assert line.startswith(f"error: {theirs} stands in the way of harness's own package {package}: ")
    assert "rename it, or call harness from another folder" in line


def test_a_folder_of_pythonpath_is_named_by_the_installed_command(tmp_path: Path) -> None:
    """The entry point that pip writes begins with the same check, whatever the working folder is."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "__init__.py").touch()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["harness"].partition(":")
    (tmp_path / "elsewhere").mkdir()

    called = call(tmp_path / "elsewhere", "-c", f"from {module} import {function}; {function}()", search=(tmp_path,))

    assert called.returncode == 2
    assert called.stderr.startswith(f"error: {tmp_path / 'reports' / '__init__.py'} stands in the way")
    assert called.stderr.count("\n") == 1


def test_a_folder_without_code_is_in_nobodys_way(tmp_path: Path) -> None:
    """Reports that a user keeps in a folder `reports` are no package."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "suites").mkdir()

    called = call(tmp_path, "-m", "harness", "list", "suites", search=(tmp_path,))

    assert (called.returncode, called.stderr) == (0, "")
    assert "alignment" in called.stdout


def test_nothing_stands_in_the_way_here() -> None:
    """The packages that these tests import are the project's own."""
    assert in_the_way() is None
