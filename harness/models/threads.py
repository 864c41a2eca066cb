"""Choose the number of threads of torch and the tokenizer: the configured one, or one for each core that is idle now.

The number of threads changes the order of sums and with it the last digits of a training, so a preset whose figures are
published fixes it.

One thread too many is expensive, because every thread waits for the slowest: with another process on the same cores, a
training step with 2 threads took 14 to 18 times as long as on an idle machine.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.limits import MOST_THREADS
from reports.errors import UserError

IDLE_BELOW = 0.3
"""A core counts as idle while other processes use less than this share of it."""
MEASURED_SECONDS = 0.3
_SWITCHES = ("HARNESS_THREADS", "OMP_NUM_THREADS")


class ThreadsError(UserError):
    """HARNESS_THREADS or OMP_NUM_THREADS is not a number of threads."""


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """A number of threads and the reason for it."""

    n_threads: int
    sentence: str
    """Sentence for the user with the number and the reason."""


def choose_threads(configured: int | None = None) -> ThreadChoice:
    """Return the number that the environment asks for, else the configured one, else one for each core that is idle.

    Of a configured number the sentence says where fewer cores are idle.

    Raises:
        ThreadsError: the environment's number is not one of threads.
    """
    asked = asked_threads(os.environ)
    if asked is not None:
        return asked
    if configured is None:
        return threads_for_load(measure_loads(), quota_cores())
    return configured_threads(configured, measure_loads() if configured > 1 else [])  # one thread waits for no other


def apply_threads(choice: ThreadChoice) -> None:
    """Set the number of threads of torch, and of the tokenizer unless the environment says it."""
    import torch

    torch.set_num_threads(choice.n_threads)
    os.environ.setdefault("RAYON_NUM_THREADS", str(choice.n_threads))  # read when it first tokenises several texts


def asked_threads(environment: Mapping[str, str]) -> ThreadChoice | None:
    """Return the number in HARNESS_THREADS, else the first one in OMP_NUM_THREADS, or None where neither is set."""
    for name in _SWITCHES:
        value = environment.get(name, "").strip()
        if value:
            first = value.split(",")[0].strip()
            if not first.isdecimal() or len(first) > len(str(MOST_THREADS)) or not 1 <= int(first) <= MOST_THREADS:
                raise ThreadsError(
                    f"{name} must be a whole number from 1 to {MOST_THREADS}, not {value[:40]!r}; mend or unset it"
                )
            return ThreadChoice(int(first), f"{_count(int(first), 'thread')}, as {name} says.")
    return None


def configured_threads(number: int, loads: Sequence[float]) -> ThreadChoice:
    """Return the configured number, whatever the load.

    Args:
        number: threads.
        loads: share of each available core that other processes use, 0 to 1.
    """
    sentence = f"{_count(number, 'thread')}, as model.threads says (HARNESS_THREADS overrides)."
    n_idle = _n_idle(loads)
    n_fitting = max(1, n_idle)
    if n_fitting < number:
        sentence += (
            f" Only {n_idle} of {_count(len(loads), 'core')} idle when this started, and threads wait for each other: "
            f"HARNESS_THREADS={n_fitting} may be much faster."
        )
    return ThreadChoice(number, sentence)


def threads_for_load(loads: Sequence[float], quota: float | None) -> ThreadChoice:
    """Return one thread for each idle core, at most the quota and at least one.

    Args:
        loads: share of each available core that other processes use, 0 to 1.
        quota: limit of this process's CPU time in cores; None is unlimited.
    """
    n_idle = _n_idle(loads)
    n_allowed = len(loads) if quota is None else int(quota)
    n_threads = max(1, min(n_idle, n_allowed))
    why = f"{n_idle} of {_count(len(loads), 'core')} idle"
    if quota is not None and n_allowed < n_idle:
        why += f", and this process may use {quota:g}"
    return ThreadChoice(
        n_threads, f"{_count(n_threads, 'thread')}: {why} when this started (HARNESS_THREADS overrides)."
    )


def measure_loads() -> list[float]:
    """Sleep for `MEASURED_SECONDS` and return the share of each available core that other processes used, 0 to 1."""
    import psutil

    loads = [percent / 100 for percent in psutil.cpu_percent(interval=MEASURED_SECONDS, percpu=True)]
    if sys.platform != "linux":
        return loads
    return [loads[core] for core in sorted(os.sched_getaffinity(0)) if core < len(loads)]


def quota_cores(groups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return a container's limit of CPU time in cores, from control groups version 2 or 1; None where unlimited."""
    try:
        quota, period = (groups / "cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            quota = (groups / "cpu" / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (groups / "cpu" / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        except OSError:
            return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)


def _n_idle(loads: Sequence[float]) -> int:
    return sum(load < IDLE_BELOW for load in loads)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
