"""How much memory is left within control groups, which a container's machine knows nothing of."""

from pathlib import Path

import pytest

from suites.engine import memory
from suites.engine.memory import free_bytes, left_in_groups

GIB = 2**30


def write(folder: Path, **files: object) -> None:
    """Writes files of a group, a dot for each double underscore."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_the_tightest_group_around_the_process_counts(tmp_path: Path) -> None:
    """Version 2: a job within a slice; files that the system can drop are free."""
    groups, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("0::/slice/job\n")
    write(groups, memory__stat="inactive_file 0")
    write(groups / "slice", memory__max=8 * GIB, memory__current=7 * GIB, memory__stat="anon 5\ninactive_file 0")
    write(groups / "slice" / "job", memory__max="max", memory__current=GIB, memory__stat="inactive_file 0")
    assert left_in_groups(groups, own) == GIB

    write(
        groups / "slice" / "job", memory__max=4 * GIB, memory__current=4 * GIB, memory__stat=f"inactive_file {GIB // 2}"
    )
    assert left_in_groups(groups, own) == GIB // 2


def test_version_1_is_read_too(tmp_path: Path) -> None:
    """A container shows its own group where the machine's outermost one would be; a huge limit is none."""
    groups, own = tmp_path / "cgroup", tmp_path / "own"
    own.write_text("3:cpu,cpuacct:/docker/a\n5:memory:/docker/a\n")
    top = groups / "memory"
    write(
        top, memory__limit_in_bytes=2 * GIB, memory__usage_in_bytes=GIB, memory__stat=f"total_inactive_file {GIB // 4}"
    )
    assert left_in_groups(groups, own) == GIB + GIB // 4

    write(top, memory__limit_in_bytes=2**63 - 4096)
    assert left_in_groups(groups, own) is None


@pytest.mark.parametrize("text", ["0::/\n", "", "nonsense"])
def test_without_a_limit_the_machine_decides(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system says nothing."""
    (tmp_path / "own").write_text(text)
    assert left_in_groups(tmp_path / "cgroup", tmp_path / "own") is None
    assert left_in_groups(tmp_path / "cgroup", tmp_path / "nowhere") is None

    monkeypatch.setattr(memory, "left_in_groups", lambda: None)
    assert free_bytes("cpu") > 0
    monkeypatch.setattr(memory, "left_in_groups", lambda: 7)
    assert free_bytes("cpu") == 7
