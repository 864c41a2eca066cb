"""Let processes of a cluster load libraries while the driver still reads, so that the first units need not wait."""

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.measuring.cluster.connecting import Cluster
from harness.measuring.cluster.request import Needs, Request, n_at_a_time
from harness.measuring.cluster.working import set_up
from harness.models.threads import asked_threads

_LIBRARIES = ("peft", "trl.trainer.dpo_trainer", "suites.lm_eval.model")
"""Modules that load what units compute with; it takes seconds."""


def warm(cluster: Cluster, request: Request, environment: Mapping[str, str]) -> list[Any]:
    """Starts as many processes as will compute, on a cluster of this machine alone; returns at once.

    Nothing depends on it. Where there are GPUs it does nothing, because a process that was lent none would not see one
    later, and where the driver is not alone on the cluster others may need the room.

    Args:
        cluster: Whose processes are started.
        request: What the command line asks.
        environment: Variables of this process, which say how many threads a unit has, if anything says it yet.

    Returns:
        Ray's references to what those processes do until they are ready.
    """
    nodes, asked = cluster.nodes(), asked_threads(environment)
    if not cluster.is_local or any(node.n_gpus for node in nodes):
        return []
    n_cpus = max(int(node.n_cpus) for node in nodes)
    n_threads = n_cpus if asked is None else min(asked.n_threads, n_cpus)
    task = cluster.ray.remote(num_cpus=n_threads, max_calls=0, max_retries=0)(load_libraries)
    n_processes = n_at_a_time(nodes, Needs(max(1, n_threads)), request.workers)
    return [task.remote(str(Path.cwd())) for _ in range(n_processes)]


def load_libraries(folder: str) -> None:
    """Loads what units compute with; what cannot be loaded, the first unit tells.

    Args:
        folder: The driver's working folder.
    """
    set_up(folder)
    for name in _LIBRARIES:
        with suppress(ImportError):
            import_module(name)
