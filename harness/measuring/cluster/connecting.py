"""Connect to a Ray cluster: one that is named, or one of this machine alone that ends with the command."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from harness.measuring.cluster.request import LOCAL, Node, Request, address_of, host_and_port
from harness.offline import allow
from reports.errors import UserError, first_line
from reports.whole import scratch_folder

ANSWER_SECONDS = 5.0
"""Time that a named host has to take a connection."""
HEALTH_SECONDS = 20.0
"""Time that Ray's own question has, whether a cluster is alive; Python and Ray start anew for it."""
_LONGEST_FOLDER = 13
"""Characters of a temporary folder in which names of sockets stay below the system's limit."""
_FORWARDED = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT")
"""Variables that mean the same in every process of a job, besides those of this project; tokens are none of them."""
_OURS = "HARNESS_"
_NO_GPU = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
"""Variable that hides GPUs from what asked for none, which would otherwise compute on the first one unseen."""


class RayMissingError(UserError):
    """Ray is not installed."""


class NoClusterError(UserError):
    """There is no cluster at the address, or it does not take this process."""


@dataclass(slots=True)
class Cluster:
    """A cluster that this process is connected to."""

    ray: Any
    """Ray's module."""
    address: str
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def own_node(self) -> str:
        """Identifier of the node that this process is on."""
        return str(self.ray.get_runtime_context().get_node_id())

    @property
    def is_local(self) -> bool:
        """Whether it is of this machine alone, and ends with the command."""
        return self.address == LOCAL

    def nodes(self) -> list[Node]:
        """The nodes that are there, as far as Ray knows; it notices that one is gone after some seconds."""
        found = []
        for each in self.ray.nodes():
            if each["Alive"]:
                has = each["Resources"]
                numbers = [float(has.get(name, 0)) for name in ("CPU", "GPU", "memory")]
                found.append(Node(each["NodeManagerHostname"], each["NodeID"], *numbers))
        return sorted(found, key=lambda node: (node.name, node.id))

    def on_node(self, identifier: str, *, or_elsewhere: bool) -> Any:
        """Where Ray is to run something: on one node, or on another one where that has no room."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(identifier, soft=or_elsewhere)

    def close(self) -> None:
        """Ends the job's processes, and the cluster where it is this command's own; a second call does nothing."""
        self._open.close()


@contextmanager
def connected(request: Request) -> Iterator[Cluster]:
    """Connects to the cluster that is asked for within the block.

    Raises:
        RayMissingError: Ray is not installed.
        RequestError: The address is none.
        NoClusterError: Nobody answers there, or not to this process.
    """
    cluster = connect(request, os.environ)
    try:
        yield cluster
    finally:
        cluster.close()


def connect(request: Request, environment: MutableMapping[str, str]) -> Cluster:
    """Connects to the cluster that is asked for; see `connected`."""
    address = address_of(request, environment)
    _check_listens(address)
    prepare_environment(address, environment)
    with ExitStack() as stack, _handlers_kept():
        ray = _imported()
        options: dict[str, Any] = {"address": address, "logging_level": "error", "log_to_driver": False}
        if address == LOCAL:
            of_ray, of_processes = stack.enter_context(_folders())
            options |= {"include_dashboard": False, "_temp_dir": str(of_ray)}
            # Ray ends its processes without a last word, so that what they leave has to lie here.
            variables = {"TMPDIR": str(of_processes)}
        else:
            _check_is_ray(address, environment)
            variables = forwarded(environment)
        options["runtime_env"] = {"env_vars": variables}
        stack.callback(ray.shutdown)
        try:
            ray.init(**options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise NoClusterError(_refused(address, error)) from error
        return Cluster(ray, address, stack.pop_all())


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise RayMissingError(
            f"--on ray: Ray is not installed ({first_line(error)}); in the checkout: "
            f"pip install -c constraints.txt -e '.[ray]'"
        ) from error
    return ray


def prepare_environment(address: str, environment: MutableMapping[str, str]) -> None:
    """Sets what Ray reads when it is imported; what the user has set stays, but for what a local cluster is kept by.

    Args:
        address: As `address_of` returns it.
        environment: Variables of this process.
    """
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment.setdefault("RAY_task_oom_retries", "2")  # else what never fits is begun for ever
    environment[_NO_GPU] = "1"
    if address == LOCAL:
        # On Linux too: everything listens on 127.0.0.1 in place of all interfaces.
        environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Without it, Ray writes one into the home folder.
        environment["RAY_AUTH_MODE"] = "token"
        environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def forwarded(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that processes on other nodes get."""
    return {
        name: value for name, value in environment.items() if name in (*_FORWARDED, _NO_GPU) or name.startswith(_OURS)
    }


def _check_listens(address: str) -> None:
    """Checks that somebody takes connections at an address, before Ray is imported.

    Raises:
        NoClusterError: Nobody does.
    """
    place = host_and_port(address)
    if place is None:
        return
    allow(place[0])  # the user named it, so that HF_HUB_OFFLINE does not mean it
    try:
        socket.create_connection(place, timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise NoClusterError(_silent(address, error.strerror or first_line(error))) from error


def _check_is_ray(address: str, environment: Mapping[str, str]) -> None:
    """Checks that a cluster answers at an address; Ray itself would try for minutes, and print every try.

    Raises:
        NoClusterError: None does.
    """
    question = [sys.executable, "-m", "ray.scripts.scripts", "health-check", f"--address={address}"]
    try:
        answer = subprocess.run(  # noqa: S603 - an address has neither options nor a shell's characters
            question, env=dict(environment), timeout=HEALTH_SECONDS, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoClusterError(_silent(address, "what is there does not speak as Ray does")) from error
    if answer.returncode:
        what = "what is there is" if host_and_port(address) else "there is none, or it is"
        raise NoClusterError(_silent(address, f"{what} no Ray of this version, or wants another token"))


def _silent(address: str, reason: str) -> str:
    """That no cluster answers, and what to do."""
    return (
        f"{address}: no Ray cluster answers ({reason}); start it with `ray start --head` and the token of here, or "
        f"leave out --address and RAY_ADDRESS to use this machine alone"
    )


def _refused(address: str, error: BaseException) -> str:
    """Why a cluster does not take this process, and what to do."""
    if address == LOCAL:
        return f"--on ray: Ray does not start on this machine: {first_line(error)}"
    return (
        f"{address}: Ray there does not take this process: {first_line(error)}; this command has to run on a "
        f"node of the cluster, with its versions of Ray and Python, and with its token (RAY_AUTH_TOKEN) if it has one"
    )


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    """A folder of Ray's sockets and logs, which Ray opens to everybody, and one of its processes.

    They lie in one that nobody else may look into, and that is removed after the block; what a killed command left of
    its own is removed before it.
    """
    parent = tempfile.gettempdir()
    place = parent if len(parent) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108 - a folder of its own is made there
    with scratch_folder(Path(place) / "ray") as private:
        folders = private / "r", private / "t"
        for folder in folders:
            folder.mkdir()
        yield folders


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keeps what Ray replaces when it is imported and started: the handlers of SIGTERM, and `sys.excepthook`.

    Signals then end a command as `harness.signals` says, before and after. Below Python, Ray puts a handler of its own
    before ours, which prints addresses as of a crash: ours is put in its place again.
    """
    hook, put = sys.excepthook, signal.signal

    def put_others(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number == signal.SIGTERM else put(number, handler)

    signal.signal = put_others  # type: ignore[assignment]  # also while Ray starts, which takes seconds
    try:
        yield
    finally:
        signal.signal, sys.excepthook = put, hook
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, handler)
