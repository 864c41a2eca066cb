"""HF_HUB_OFFLINE=1: no request leaves this machine."""

import subprocess
import sys

import pytest

from harness.offline import is_here

TRIES = (
    "import socket, urllib.request\nfrom harness.offline import forbid_requests\n"
    "forbid_requests({'HF_HUB_OFFLINE': 'VALUE'})\n"
    "server = socket.create_server(('127.0.0.1', 0))\n"
    "socket.create_connection(server.getsockname()).close()\n"
    "left, right = socket.socketpair()\n"
    "left.sendall(b'here')\n"
    "for call in (lambda: socket.getaddrinfo('rows.invalid', 80), lambda: socket.socket().connect(('192.0.2.1', 9)),\n"
    "             lambda: urllib.request.urlopen('http://rows.invalid/x.json', timeout=1),\n"
    "             lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))):\n"
    "    try:\n        call()\n        print('went out')\n"
    "    except OSError as error:\n        print('no request is sent' in str(error))\n"
)


@pytest.mark.parametrize(("value", "refused"), [("1", True), ("true", True), ("ON", True)])
def test_no_library_sends_a_request(value: str, *, refused: bool) -> None:
    """Neither a lookup of a name, a connection nor a datagram; connections within this machine go on."""
    done = subprocess.run(
        [sys.executable, "-c", TRIES.replace("VALUE", value)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(refused)] * 4


@pytest.mark.parametrize(
    ("host", "here"),
    [(None, True), ("", True), ("localhost", True), (b"localhost", True), ("127.0.0.1", True), ("::1", True),
     ("10.0.0.1", False), ("localhost.example.org", False), ("2130706434", False)],
)  # fmt: skip
def test_this_machine_is_told_from_others(host: object, *, here: bool) -> None:
    """By its own names and addresses alone."""
    assert is_here(host) == here
