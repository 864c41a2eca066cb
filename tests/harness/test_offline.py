"""HF_HUB_OFFLINE=1: no request leaves this machine."""

import subprocess
import sys

import pytest

from harness import offline
from harness.config.schema import TrainingConfig
from harness.config.strict import InvalidValuesError, build
from harness.offline import forbid_requests, is_here

CALLS = {
    "lookup": "socket.getaddrinfo('rows.invalid', 80)",
    "lookup of a name": "socket.gethostbyname('rows.invalid')",
    "lookup of all names": "socket.gethostbyname_ex('rows.invalid')",
    "lookup of an address": "socket.gethostbyaddr('192.0.2.1')",
    "name of an address": "socket.getnameinfo(('192.0.2.1', 80), 0)",
    "connection": "socket.socket().connect(('192.0.2.1', 9))",
    "connection with a code": "socket.socket().connect_ex(('192.0.2.1', 9))",
    "IPv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 9))",
    "HTTP": "urllib.request.urlopen('http://rows.invalid/x.json', timeout=1)",
    "datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "datagram with flags": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', 0, ('192.0.2.1', 9))",
    "datagram in parts": "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 9))",
    "connected datagrams": "socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))",
    "broadcast": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('<broadcast>', 9))",
}
"""Every way in which the module `socket` reaches another machine."""
HERE = (
    "server = socket.create_server(('127.0.0.1', 0))\n"
    "socket.create_connection(server.getsockname()).close()\n"
    "left, right = socket.socketpair()\n"
    "left.sendall(b'here')\n"
    "left.sendmsg([b'here'])\n"
    "udp = socket.socket(type=socket.SOCK_DGRAM)\n"
    "udp.bind(('127.0.0.1', 0))\n"
    "udp.sendto(b'here', udp.getsockname())\n"
    "socket.gethostbyname('localhost')\n"
    "socket.getnameinfo(('127.0.0.1', 80), 0)\n"
)


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_no_library_sends_a_request(value: str) -> None:
    """Neither a lookup, a connection nor a datagram; what stays within this machine goes on."""
    tries = "".join(
        f"try:\n    {call}\n    print({name!r}, 'went out')\n"
        f"except OSError as error:\n    print({name!r}, *['went out'] * ('no request is sent' not in str(error)))\n"
        for name, call in CALLS.items()
    )
    code = (
        "import socket, urllib.request\nfrom harness.offline import forbid_requests\n"
        f"forbid_requests({{'HF_HUB_OFFLINE': {value!r}}})\n{HERE}{tries}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(CALLS)


@pytest.mark.parametrize(
    ("given", "mode"),
    [({}, "offline"), ({"WANDB_MODE": "online"}, "offline"), ({"WANDB_MODE": "disabled"}, "disabled")],
)
def test_loggers_with_processes_of_their_own_are_offline_too(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], mode: str
) -> None:
    """W&B sends from a process that no hook binds; the other logger that an experiment can name writes files."""
    monkeypatch.setattr(sys, "addaudithook", lambda _: None)
    monkeypatch.setattr(offline, "find_spec", lambda _: "installed")
    environment = {"HF_HUB_OFFLINE": "1"} | given
    forbid_requests(environment)
    assert environment["WANDB_MODE"] == mode
    with pytest.raises(InvalidValuesError, match="report_to"):
        build(TrainingConfig, {"report_to": ["trackio"]})


def test_a_logger_that_is_not_installed_needs_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that transformers prints no line on W&B in a training that does not name it."""
    monkeypatch.setattr(sys, "addaudithook", lambda _: None)
    monkeypatch.setattr(offline, "find_spec", lambda _: None)
    environment = {"HF_HUB_OFFLINE": "1"}
    forbid_requests(environment)
    assert environment == {"HF_HUB_OFFLINE": "1"}


def test_without_the_variable_nothing_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE=0 is as none."""
    monkeypatch.setattr(sys, "addaudithook", lambda _: pytest.fail("a hook"))
    environment = {"HF_HUB_OFFLINE": "0"}
    forbid_requests(environment)
    assert environment == {"HF_HUB_OFFLINE": "0"}


@pytest.mark.parametrize(
    ("host", "here"),
    [(None, True), ("", True), ("localhost", True), (b"localhost", True), ("127.0.0.1", True), ("::1", True),
     ("10.0.0.1", False), ("localhost.example.org", False), ("2130706434", False)],
)  # fmt: skip
def test_this_machine_is_told_from_others(host: object, *, here: bool) -> None:
    """By its own names and addresses alone."""
    assert is_here(host) == here


def test_a_host_that_was_named_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """It alone, by the name that was typed."""
    monkeypatch.setattr(offline, "_named", set())
    offline.allow("head.cluster")
    assert is_here("head.cluster")
    assert not is_here("other.cluster")
