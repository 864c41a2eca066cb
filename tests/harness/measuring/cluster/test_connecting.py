"""Connecting, as far as it goes without Ray."""

import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.measuring.cluster import connecting
from harness.measuring.cluster.connecting import (
    NoClusterError,
    RayMissingError,
    connect,
    connected,
    forwarded,
    prepare_environment,
)
from harness.measuring.cluster.request import Request


def test_a_local_cluster_is_heard_by_this_machine_alone() -> None:
    """Loopback and a token of its own, which is in no file; nothing is sent to Ray's makers."""
    first, second = dict[str, str](), dict[str, str]()
    for environment in (first, second):
        prepare_environment("local", environment)
    assert first["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert first["RAY_USAGE_STATS_ENABLED"] == "0"
    assert first["RAY_AUTH_MODE"] == "token"
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
    assert first["RAY_task_oom_retries"] == "2"


def test_a_named_cluster_keeps_its_own_ways() -> None:
    """Where it listens and whom it lets in is not for a driver to say."""
    environment = {"RAY_AUTH_TOKEN": "theirs"}
    prepare_environment("10.0.0.1:6379", environment)
    assert environment == {
        "RAY_AUTH_TOKEN": "theirs",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_task_oom_retries": "2",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    }


def test_variables_that_mean_the_same_everywhere_are_sent_along() -> None:
    """Tokens and places of this machine are not."""
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HARNESS_DATA_ROOT": "/data",
        "HF_TOKEN": "secret",
        "RAY_AUTH_TOKEN": "secret",
        "PATH": "/bin",
    }
    assert forwarded(environment) == {"HF_HUB_OFFLINE": "1", "HARNESS_DATA_ROOT": "/data"}


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra of this project."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayMissingError, match=r"^--on ray: Ray is not installed .*: pip install .* -e '\.\[ray\]'$"):
        connect(Request(), {})


def test_an_address_that_nobody_answers_is_told_before_ray_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would try for a minute."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            NoClusterError, match=rf"^{address}: no Ray cluster answers \(Connection refused\); start it"
        ):
            connect(Request(address), {})


class FakeRay(SimpleNamespace):
    """Starts and ends nothing."""

    def __init__(self, fails: Exception | None = None) -> None:
        super().__init__(exceptions=SimpleNamespace(RayError=KeyError))
        self.fails, self.calls = fails, list[Any]()

    def init(self, **options: Any) -> None:
        """As Ray does it: takes the handler of SIGTERM for itself."""
        self.calls.append(options)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.handler = signal.getsignal(signal.SIGTERM)
        if self.fails is not None:
            raise self.fails

    def shutdown(self) -> None:
        """Is remembered."""
        self.calls.append("shutdown")

    def nodes(self) -> list[dict[str, Any]]:
        """Two nodes, one of them gone, and one with less in its account."""
        names = {"NodeManagerHostname": "b", "NodeID": "2"}
        return [
            {"Alive": True, "Resources": {"CPU": 2.0}, **names},
            {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0, "memory": 9.0}, **names, "NodeManagerHostname": "a"},
            {"Alive": False, "Resources": {}, **names},
        ]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeRay]]:
    """Puts such a Ray in the place of Ray, in an environment that is left as it was."""

    def put(**options: Any) -> FakeRay:
        ray = FakeRay(**options)
        monkeypatch.setattr(connecting, "_imported", lambda: ray)
        return ray

    before = dict(os.environ)
    yield put
    os.environ.clear()
    os.environ.update(before)


def test_a_cluster_is_left_behind_the_block_and_signals_stay_ours(fake: Callable[..., FakeRay]) -> None:
    """Once; its folder is gone, and the handler of SIGTERM is the one from before, also while Ray starts."""
    ray, handler = fake(), signal.getsignal(signal.SIGTERM)
    with connected(Request()) as cluster:
        assert ray.handler is signal.getsignal(signal.SIGTERM) is handler
        options = ray.calls[0]
        assert (options["address"], options["include_dashboard"]) == ("local", False)
        assert os.path.isdir(options["_temp_dir"])  # noqa: PTH112
        assert [(node.name, node.n_cpus, node.n_gpus) for node in cluster.nodes()] == [("a", 8, 1), ("b", 2, 0)]
        cluster.close()
    assert ray.calls[1:] == ["shutdown"]
    assert not os.path.isdir(options["_temp_dir"])  # noqa: PTH112


def test_what_takes_connections_and_is_no_cluster_is_told_in_one_line(
    fake: Callable[..., FakeRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would wait for minutes, and nothing is asked of it."""
    ray = fake()
    monkeypatch.setattr(connecting, "HEALTH_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(NoClusterError, match=rf"^{address}: no Ray cluster answers \(what is there .*; start it"):
            connect(Request(address), dict(os.environ))
    assert not ray.calls


def test_folders_of_a_local_cluster_lie_in_one_that_nobody_else_may_look_into(fake: Callable[..., FakeRay]) -> None:
    """Ray opens its own to everybody; what processes leave goes with the cluster."""
    ray = fake()
    with connected(Request()):
        own = Path(ray.calls[0]["_temp_dir"])
        of_processes = Path(ray.calls[0]["runtime_env"]["env_vars"]["TMPDIR"])
        assert own.parent == of_processes.parent
        assert stat.S_IMODE(own.parent.stat().st_mode) == 0o700
        (of_processes / "left").mkdir()
    assert not own.parent.exists()


def test_a_cluster_that_refuses_is_told_in_one_line(
    fake: Callable[..., FakeRay], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Ray's first words; nothing stays open."""
    ray = fake(fails=RuntimeError("Version mismatch: Ray 2.59\nand more"))
    monkeypatch.setattr(connecting, "_check_is_ray", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(
            NoClusterError, match=rf"^{address}: Ray there .*: Version mismatch: Ray 2.59; this command"
        ):
            connect(Request(address), {})
    assert ray.calls[1:] == ["shutdown"]
