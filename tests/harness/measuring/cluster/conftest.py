"""Two Ray nodes on this machine, heard by this machine alone."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "2",
    "HARNESS_THREADS": "1",
}
"""What Ray reads when it is imported and its nodes are started: loopback alone, a token, nothing sent."""
STORE = {"object_store_memory": 80 * 2**20}
QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 2,
}
"""How soon a node counts as lost."""


@pytest.fixture(scope="session")
def ray_environment() -> Iterator[dict[str, str]]:
    """The variables of this process and of all that it starts; skipped where Ray is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.delenv("OMP_NUM_THREADS", raising=False)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
        yield dict(os.environ)


@pytest.fixture(scope="session")
def two_nodes(ray_environment: dict[str, str]) -> Iterator[Any]:  # noqa: ARG001
    """A cluster of two nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE, **STORE}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, **STORE)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()
