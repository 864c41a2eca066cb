"""What nodes say of themselves."""

from pathlib import Path

import pytest

from harness.measuring.cluster.handshake import (
    Account,
    UnsharedWorkspaceError,
    check_accounts,
    check_seen,
    differing,
    mark_of,
    marked,
)
from harness.measuring.cluster.request import Node
from harness.measuring.cluster.working import account, versions_here
from harness.measuring.units.engine import ForeignNodeError

NODE = Node("b", "2", 2, 0)


def test_a_node_that_is_alike_passes(tmp_path: Path) -> None:
    """It sees the workspace as long as the mark is there, which leaves nothing behind."""
    with marked(tmp_path) as mark:
        told = account(str(mark))
        assert told["sees_workspace"]
    assert not account(str(mark))["sees_workspace"]
    assert not [*tmp_path.iterdir()]
    check_accounts([Account(NODE, told["versions"])])


def test_a_workspace_keeps_its_mark(tmp_path: Path) -> None:
    """Which no other workspace has."""
    mark = mark_of(tmp_path)
    assert mark.is_file()
    assert mark_of(tmp_path) == mark
    (tmp_path / "other").mkdir()
    assert mark_of(tmp_path / "other").name != mark.name


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dpo-harness": "0.0.1"}, "dpo-harness 0.0.1, not "),
        ({"torch": None}, "torch is missing, not "),
        ({"code": "other"}, "other files of dpo-harness"),
    ],
)
def test_a_node_with_other_versions_is_named(changed: dict[str, str | None], words: str) -> None:
    """Also one with other files of the same version."""
    with pytest.raises(ForeignNodeError, match=f"^node b has other versions than the machine .*: {words}"):
        check_accounts([Account(NODE, versions_here()), Account(NODE, versions_here() | changed)])


def test_a_node_that_gives_no_answer_is_named() -> None:
    """With the reason."""
    with pytest.raises(ForeignNodeError, match=r"^node b gives no answer within 60 s; install"):
        check_accounts([Account(NODE, {}, problem="gives no answer within 60 s")])


def test_versions_that_differ_are_listed_without_the_hash_of_files() -> None:
    """Which says nothing more to anybody where a version differs too."""
    here = {"torch": "2", "peft": "1", "code": "x"}
    assert differing(here, here) == ""
    assert differing({"torch": "1", "peft": None, "code": "y"}, here) == "torch 1, not 2; peft is missing, not 1"


def test_a_node_that_does_not_see_the_workspace_is_named_where_processes_must_meet_there() -> None:
    """Before any of them is started."""
    seeing = Account(NODE, {}, sees_workspace=True)
    check_seen([seeing])
    with pytest.raises(UnsharedWorkspaceError, match=r"^--gpus-per-adapter: node b does not see the workspace"):
        check_seen([seeing, Account(NODE, {})])
