"""Processes that load libraries before there is a unit to do."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.measuring.cluster import warming
from harness.measuring.cluster.request import Node, Request
from harness.measuring.cluster.warming import load_libraries, warm

CPUS, GPUS = Node("a", "1", 4, 0), Node("b", "2", 4, 1)


def started(*nodes: Node, workers: int | None = None, is_local: bool = True, **environment: str) -> list[Any]:
    """What each process that is started occupies."""

    def remote(num_cpus: int, **_options: int) -> Callable[[object], Any]:
        return lambda _task: SimpleNamespace(remote=lambda _folder: num_cpus)

    cluster = SimpleNamespace(ray=SimpleNamespace(remote=remote), is_local=is_local, nodes=lambda: list(nodes))
    return warm(cluster, Request(workers=workers), environment)  # type: ignore[arg-type]


def test_as_many_processes_are_started_as_will_compute() -> None:
    """As far as the threads of one are known, else one that takes all cores; never more than are asked for."""
    assert started(CPUS, HARNESS_THREADS="2") == [2, 2]
    assert started(CPUS, HARNESS_THREADS="2", workers=1) == [2]
    assert started(CPUS, HARNESS_THREADS="64") == [4]
    assert started(CPUS) == [4]


def test_nothing_is_started_where_it_could_be_in_the_way() -> None:
    """A process that began without a GPU would see none later; on a cluster others may need the room."""
    assert started(GPUS, HARNESS_THREADS="1") == []
    assert started(CPUS, HARNESS_THREADS="1", is_local=False) == []


def test_what_cannot_be_loaded_is_left_to_the_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They tell what is missing."""
    monkeypatch.setattr(warming, "set_up", lambda _folder: None)
    monkeypatch.setattr(warming, "_LIBRARIES", ("a_library_that_is_nowhere", "colorsys"))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    load_libraries(str(tmp_path))
    assert "colorsys" in sys.modules
