"""How many threads torch computes with: as many as there are idle cores when it starts.

A thread too many is dear: with a neighbour on the cores a training step took 14 to 18 times longer with 2 threads than
alone, because every thread waits for the slowest.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.errors import UserError

IDLE_BELOW = 0.3
"""A core is idle while others use less than this share of it."""
MEASURED_SECONDS = 0.3
_SWITCHES = ("HARNESS_THREADS", "OMP_NUM_THREADS")


class ThreadsError(UserError):
    """A number of threads that is no number of threads."""


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """How many threads, and why, in one sentence."""

    n_threads: int
    sentence: str


def choose_threads() -> ThreadChoice:
    """What the environment asks for, or one thread for every core that is idle now.

    Raises:
        ThreadsError: the environment asks for what is no positive whole number.
    """
    return asked_threads(os.environ) or threads_for_load(measure_loads(), quota_cores())


def apply_threads(choice: ThreadChoice) -> None:
    """Make torch compute with so many threads."""
    import torch

    torch.set_num_threads(choice.n_threads)


def asked_threads(environment: Mapping[str, str]) -> ThreadChoice | None:
    """The number that HARNESS_THREADS, else OMP_NUM_THREADS (its first level) asks for, if any."""
    for name in _SWITCHES:
        value = environment.get(name, "").strip()
        if value:
            first = value.split(",")[0].strip()
            if not first.isdecimal() or int(first) < 1:
                raise ThreadsError(f"{name} must be a whole number from 1 up, not {value!r}")
            return ThreadChoice(int(first), f"{_count(int(first), 'thread')}, as {name} says.")
    return None


def threads_for_load(loads: Sequence[float], quota: float | None) -> ThreadChoice:
    """One thread for every idle core, within the quota, and at least one.

    Args:
        loads: share of each available core that others use, 0 to 1.
        quota: cores' worth of time that this process may use, where it is limited.
    """
    n_idle = sum(load < IDLE_BELOW for load in loads)
    n_allowed = len(loads) if quota is None else int(quota)
    n_threads = max(1, min(n_idle, n_allowed))
    why = f"{n_idle} of {_count(len(loads), 'core')} idle"
    if quota is not None and n_allowed < n_idle:
        why += f", and this process may use {quota:g}"
    return ThreadChoice(
        n_threads, f"{_count(n_threads, 'thread')}: {why} when this started (HARNESS_THREADS overrides)."
    )


def measure_loads() -> list[float]:
    """Share of each core available to this process that others use, over a moment in which it sleeps itself."""
    import psutil

    loads = [percent / 100 for percent in psutil.cpu_percent(interval=MEASURED_SECONDS, percpu=True)]
    if sys.platform != "linux":
        return loads
    return [loads[core] for core in sorted(os.sched_getaffinity(0)) if core < len(loads)]


def quota_cores(groups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores' worth of time a container may use, from version 2 or 1 of control groups; None where unlimited."""
    try:
        quota, period = (groups / "cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            quota = (groups / "cpu" / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (groups / "cpu" / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        except OSError:
            return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
