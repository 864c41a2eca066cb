"""What no run of a workspace needs."""

import os
from pathlib import Path

import pytest

from harness.prunable import SECONDS_A_DAY, prunable, remove_all
from reports.locks import hold
from reports.whole import in_use, whole_folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with three adapters, a run, and one of everything that a killed process leaves."""
    place = tmp_path / "w"
    for days, name in enumerate(("aaaa", "bbbb", "cccc")):
        folder = place / "fixtures" / name
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"x" * 100)
        (folder / "fixture.json").write_text("{}")
        for path in (folder / "adapter_model.safetensors", folder / "fixture.json", folder):
            when = path.stat().st_mtime - 10 * days * SECONDS_A_DAY
            os.utime(path, (when, when))
    for left in ("fixtures/dddd.partial/checkpoints", "fixtures/aaaa.damaged", "runs/.r.0123abcd.partial", "runs/r",
                 "merged/.m.0123abcd.partial", "merged/m-float16.77.partial"):  # fmt: skip
        (place / left).mkdir(parents=True)
    for file in ("fixtures/.eeee.lock", "runs/r/.report.md.0123abcd.partial", "scores.sqlite", "scores.sqlite.lock",
                 "scores.sqlite.corrupt-1", "runs/notes.txt", ".ranks.0123abcd.partial"):  # fmt: skip
        (place / file).touch()
    return place


LEFT = {
    "fixtures/dddd.partial", "fixtures/aaaa.damaged", "runs/.r.0123abcd.partial", "merged/.m.0123abcd.partial",
    "merged/m-float16.77.partial", "fixtures/.eeee.lock", "runs/r/.report.md.0123abcd.partial", "scores.sqlite.lock",
    "scores.sqlite.corrupt-1", ".ranks.0123abcd.partial",
}  # fmt: skip


def names(workspace: Path, **options: float) -> set[str]:
    """What can be removed."""
    return {str(each.path.relative_to(workspace)) for each in prunable(workspace, **options)}


def test_only_what_was_left_behind_goes_by_itself(workspace: Path) -> None:
    """Runs, adapters, scores and files of the user stay."""
    assert names(workspace) == LEFT
    assert prunable(workspace / "nowhere") == []


def test_adapters_go_by_number_and_by_age(workspace: Path) -> None:
    """The one used last stays; with both options an adapter goes that both let go."""
    assert names(workspace, keep=1) - LEFT == {"fixtures/bbbb", "fixtures/cccc"}
    assert names(workspace, older_than_days=15) - LEFT == {"fixtures/cccc"}
    assert names(workspace, keep=1, older_than_days=5) - LEFT == {"fixtures/bbbb", "fixtures/cccc"}
    assert names(workspace, keep=3, older_than_days=5) - LEFT == set()


def test_what_a_process_uses_now_stays(workspace: Path) -> None:
    """A training under way, an adapter that is being read, a run that is being written."""
    fixtures = workspace / "fixtures"
    with (
        hold(fixtures / ".dddd.lock"),
        hold(fixtures / ".cccc.lock"),
        whole_folder(workspace / "runs" / "now"),
        hold(workspace / "runs" / ".now.lock"),
    ):
        assert names(workspace, keep=0) == LEFT - {"fixtures/dddd.partial"} | {"fixtures/aaaa", "fixtures/bbbb"}


def test_an_adapter_that_is_measured_stays(workspace: Path) -> None:
    """Also where the command that measures it began after it was listed."""
    used = workspace / "fixtures" / "bbbb"
    listed = prunable(workspace, keep=0)
    with in_use([used, workspace / "nowhere"]):
        assert names(workspace, keep=0) - LEFT == {"fixtures/aaaa", "fixtures/cccc"}
        with in_use([used]):
            assert [each.path for each in remove_all(listed)] == [used]
        assert "fixtures/bbbb" not in names(workspace, keep=0)
    assert names(workspace, keep=0) == {"fixtures/bbbb"}


def test_folders_and_links_of_the_user_are_left_alone(workspace: Path, tmp_path: Path) -> None:
    """A folder among the adapters that is none stays; of a link what it leads to stays, and counts no bytes."""
    (workspace / "fixtures" / "mine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "large").write_bytes(b"x" * 1_000_000)
    (workspace / "fixtures" / "link.damaged").symlink_to(tmp_path / "elsewhere")
    found = prunable(workspace, keep=0)

    assert "fixtures/mine" not in names(workspace, keep=0)
    assert next(each.n_bytes for each in found if each.path.name == "link.damaged") < 1000
    assert remove_all(found) == []
    assert (tmp_path / "elsewhere" / "large").exists()
    assert (workspace / "fixtures" / "mine").is_dir()


def test_the_command_lists_asks_and_removes(workspace: Path, harness) -> None:
    """Nothing goes before it was listed; afterwards nothing is left to remove."""
    asked = harness("prune", "--workspace", workspace)
    assert asked.exit_code == 0
    assert "add --yes" in asked.out  # nobody could answer here
    assert names(workspace) == LEFT
    assert "fixtures/dddd.partial" in asked.out
    assert "10 in all" in asked.out

    done = harness("prune", "--yes", "--workspace", workspace)
    assert done.exit_code == 0
    assert done.out.endswith("removed 10 of 10\n")
    assert names(workspace) == set()
    assert {path.name for path in (workspace / "fixtures").iterdir()} == {"aaaa", "bbbb", "cccc"}
    assert (workspace / "runs" / "r").is_dir()
    assert "nothing to remove" in harness("prune", "--workspace", workspace).out
