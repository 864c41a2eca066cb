"""HF_HUB_OFFLINE=1 holds for everything: no library sends a request, whatever a file names."""

import ipaddress
import sys
from collections.abc import MutableMapping
from importlib.util import find_spec
from typing import Any

_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = ("1", "on", "yes", "true")
"""What the hub's client takes for true, in any case of letters."""
_ALSO_OFFLINE = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
"""Variables of libraries that send requests from processes of their own, which no hook of this one binds."""
_LOCAL_MODES = ("offline", "dryrun", "disabled")
"""Values of WANDB_MODE that send nothing."""
_HOST_FIRST = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_ADDRESS_FIRST = ("socket.getnameinfo",)
_ADDRESS_SECOND = ("socket.connect", "socket.sendto", "socket.sendmsg")
"""Events of the interpreter, by what they tell of the other side."""
_named: set[str] = set()
"""Hosts that the user named for something else than a hub."""


class OfflineError(ConnectionError):
    """A library tried to send a request although the user works offline."""


def forbid_requests(environment: MutableMapping[str, str]) -> None:
    """Lets every lookup of a host and every connection to another machine fail, if the user works offline.

    The interpreter itself asks this hook before it opens a connection, so that no library needs to know of it. A hook
    stays until the process ends. It binds this process alone, so that W&B, which sends from another, is set offline.

    Args:
        environment: Variables of this process.
    """
    if any(environment.get(name, "").strip().lower() in _TRUE for name in _VARIABLES):
        # Where it is not installed, transformers would print a line for the variable alone.
        if environment.get("WANDB_MODE") not in _LOCAL_MODES and find_spec("wandb") is not None:
            environment.update(_ALSO_OFFLINE)
        sys.addaudithook(_refuse_connections)


def allow(host: str) -> None:
    """Lets connections to a host through: the user named it, and it is no hub but a part of what computes."""
    _named.add(host)


def _refuse_connections(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _HOST_FIRST:
        host = arguments[0]
    elif event in _ADDRESS_FIRST:
        host = arguments[0][0]
    elif event in _ADDRESS_SECOND and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return  # also sockets between processes, whose address is a path
    if not is_here(host):
        raise OfflineError(f"HF_HUB_OFFLINE is set: no request is sent to {host}")


def is_here(host: object) -> bool:
    """Whether a host is this machine itself, or one that was named (`allow`)."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name is None or name in ("", "localhost") or name in _named:
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        return False
