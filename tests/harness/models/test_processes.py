"""A launcher of several processes is refused before its processes can wait for each other."""

import pytest

from harness.models.processes import LaunchedError, check_one_process


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "0", "RANK": "0"}, "WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1"),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "1"}, "LOCAL_RANK=0"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE=many"),
    ],
)
def test_several_processes_are_refused_in_one_line(environment: dict[str, str], named: str) -> None:
    """The line names the variable that gave it away, and what to start instead."""
    with pytest.raises(LaunchedError, match=rf"^{named}: a launcher .*; start `harness` itself"):
        check_one_process(environment)


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "", "LOCAL_RANK": "-1"}])
def test_one_process_goes_on(environment: dict[str, str]) -> None:
    """Also where a scheduler says that there is one."""
    check_one_process(environment)
