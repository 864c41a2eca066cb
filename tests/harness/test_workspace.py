"""Workspaces: names of runs that never collide, whoever asks for them and when."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.workspace import Workspace, WorkspaceError

RESERVE = (
    "import sys\nfrom pathlib import Path\nfrom harness.workspace import Workspace\n"
    "with Workspace(Path(sys.argv[1])).reserve_run('tiny-smoke') as folder:\n"
    "    print(folder.name, flush=True)\n    sys.stdin.read()\n    folder.mkdir()\n"
)


def test_processes_that_begin_together_get_names_of_their_own(tmp_path: Path) -> None:
    """Four processes that reserve in the same moment write four run folders, and leave nothing else."""
    command = [sys.executable, "-c", RESERVE, str(tmp_path)]
    with ExitStack() as stack:
        jobs = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(4)
        ]
        names = [job.stdout.readline().strip() for job in jobs]
        for job in jobs:
            job.communicate()

    assert len(set(names)) == 4
    assert {path.name for path in (tmp_path / "runs").iterdir()} == set(names)


def test_a_reserved_name_is_not_given_again_and_is_free_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one second differ by a number; a run that was interrupted leaves no folder and no lock."""
    workspace = Workspace(tmp_path)
    stop_the_clock(monkeypatch)
    with workspace.reserve_run("tiny") as first, workspace.reserve_run("tiny") as second:
        assert second.name == f"{first.name}-2"
        second.mkdir()
    assert [path.name for path in workspace.runs.iterdir()] == [second.name]

    with pytest.raises(KeyboardInterrupt), workspace.reserve_run("tiny") as again:
        raise KeyboardInterrupt
    assert again == first
    with workspace.reserve_run("tiny") as once_more:
        once_more.mkdir()
    with workspace.reserve_run("tiny") as third:
        assert third.name == f"{first.name}-3"


def test_a_named_folder_is_reserved_as_well(tmp_path: Path) -> None:
    """A second job with the same --out is refused at its start, and taken when the first has ended."""
    workspace, out = Workspace(tmp_path / "w"), tmp_path / "out"
    with workspace.reserve_run("tiny", out) as folder:
        assert folder == out
        with (
            pytest.raises(WorkspaceError, match=r"--out: another process writes .*out now; name another folder"),
            workspace.reserve_run("tiny", out),
        ):
            pass
    with workspace.reserve_run("tiny", out):
        pass


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the way is an error with the option to change."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkspaceError, match=r"--workspace: .*file/w cannot be written .*name another folder"):
        Workspace(tmp_path / "file" / "w").prepare()
    with (
        pytest.raises(WorkspaceError, match="cannot be written"),
        Workspace(tmp_path / "file" / "w").reserve_run("tiny"),
    ):
        pass


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every moment the same second."""
    from datetime import UTC, datetime
    from types import SimpleNamespace

    now = datetime(2026, 11, 26, 4, 0, 0, tzinfo=UTC)
    monkeypatch.setattr("harness.workspace.datetime", SimpleNamespace(now=lambda _zone: now))


def test_an_interrupted_run_says_whether_its_folder_was_written(tmp_path: Path) -> None:
    """Until the folder is there, none was written; afterwards what was measured is in it."""
    workspace = Workspace(tmp_path)
    with pytest.raises(KeyboardInterrupt) as before, workspace.reserve_run("tiny"):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt) as after, workspace.reserve_run("tiny") as folder:
        raise KeyboardInterrupt(folder.mkdir())
    assert before.value.__notes__ == ["no run folder was written; the same command goes on from what is kept"]
    assert not hasattr(after.value, "__notes__")
