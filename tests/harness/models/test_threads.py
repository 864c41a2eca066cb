"""Threads follow what the environment asks for, else the idle cores."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.models import threads
from harness.models.threads import (
    ThreadChoice,
    ThreadsError,
    apply_threads,
    asked_threads,
    choose_threads,
    measure_loads,
    quota_cores,
    threads_for_load,
)


@pytest.mark.parametrize(
    ("loads", "quota", "expected"),
    [
        ([0.0, 0.0], None, 2),
        ([0.02, 0.97], None, 1),
        ([0.9, 0.9], None, 1),
        ([0.0] * 8, 2.5, 2),
        ([0.0] * 8, 0.5, 1),
        ([0.0, 0.0, 1.0, 0.1], 16.0, 3),
    ],
)
def test_a_thread_for_every_idle_core(loads: list[float], quota: float | None, expected: int) -> None:
    """Busy cores and the quota of a container take threads away, never the last one."""
    assert threads_for_load(loads, quota).n_threads == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=64), st.none() | st.floats(0.1, 128))
def test_threads_stay_within_bounds(loads: list[float], quota: float | None) -> None:
    """At least one thread, at most one a core, and the sentence says how many."""
    choice = threads_for_load(loads, quota)

    assert 1 <= choice.n_threads <= len(loads)
    assert choice.sentence.startswith(f"{choice.n_threads} thread")


def test_the_sentence_tells_why() -> None:
    """Idle cores, all cores and the quota where it decides."""
    assert threads_for_load([0.0, 1.0], None).sentence.startswith("1 thread: 1 of 2 cores idle when")
    assert ", and this process may use 1.5 when" in threads_for_load([0.0, 0.0], 1.5).sentence


def test_a_configured_number_is_taken_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the configuration counts whatever the load, and the environment's before it."""
    for name in ("HARNESS_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    said = "2 threads, as model.threads says (HARNESS_THREADS overrides)."
    monkeypatch.setattr(threads, "measure_loads", lambda: [0.0, 0.1])
    assert choose_threads(2) == ThreadChoice(2, said)

    monkeypatch.setattr(threads, "measure_loads", lambda: [0.9, 0.9])
    busy = choose_threads(2)
    assert busy.n_threads == 2
    assert busy.sentence.startswith(f"{said} Only 0 of 2 cores idle when this started")
    assert "HARNESS_THREADS=1 may be much faster" in busy.sentence
    assert choose_threads(1).sentence == "1 thread, as model.threads says (HARNESS_THREADS overrides)."

    monkeypatch.setenv("HARNESS_THREADS", "1")
    assert choose_threads(2).n_threads == 1


def test_the_environment_decides() -> None:
    """HARNESS_THREADS before OMP_NUM_THREADS, of which the first level counts."""
    assert asked_threads({}) is None
    assert asked_threads({"OMP_NUM_THREADS": "4,2"}) == ThreadChoice(4, "4 threads, as OMP_NUM_THREADS says.")
    assert asked_threads({"OMP_NUM_THREADS": "4", "HARNESS_THREADS": "1"}) == ThreadChoice(
        1, "1 thread, as HARNESS_THREADS says."
    )


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1025", "9" * 5000])
def test_what_is_no_number_of_threads_is_an_error(value: str) -> None:
    """The variable and what it holds are named."""
    with pytest.raises(
        ThreadsError, match=f"HARNESS_THREADS must be a whole number from 1 to 1024, not '{value[:40]}'"
    ):
        asked_threads({"HARNESS_THREADS": value})


def test_choosing_measures_only_where_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment spares the measurement; without it loads and quota decide."""
    monkeypatch.setattr(threads, "measure_loads", lambda: [0.0, 0.0, 0.9])
    monkeypatch.setattr(threads, "quota_cores", lambda: None)
    monkeypatch.setenv("HARNESS_THREADS", "7")
    assert choose_threads().n_threads == 7

    monkeypatch.delenv("HARNESS_THREADS")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert choose_threads().n_threads == 2


def test_loads_are_measured_on_the_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One share from 0 to 1 for every core that this process may use."""
    monkeypatch.setattr(threads, "MEASURED_SECONDS", 0.01)

    loads = measure_loads()

    assert len(loads) == len(os.sched_getaffinity(0))
    assert all(0 <= load <= 1 for load in loads)


def test_quota_of_a_control_group(tmp_path: Path) -> None:
    """Version 2 and version 1 files, limited and unlimited, and none."""
    assert quota_cores(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert quota_cores(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    assert quota_cores(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert quota_cores(tmp_path) == 2.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert quota_cores(tmp_path) is None


def test_the_choice_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch computes with as many threads as chosen, and so does the tokenizer, unless the environment says more."""
    before = torch.get_num_threads()
    monkeypatch.setenv("RAYON_NUM_THREADS", "")
    monkeypatch.delenv("RAYON_NUM_THREADS")
    try:
        apply_threads(ThreadChoice(2, ""))
        assert (torch.get_num_threads(), os.environ["RAYON_NUM_THREADS"]) == (2, "2")
        apply_threads(ThreadChoice(1, ""))
        assert os.environ["RAYON_NUM_THREADS"] == "2"
    finally:
        torch.set_num_threads(before)
