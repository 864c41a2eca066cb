"""What is asked of a cluster, and whether it has that: arithmetic on processors and GPUs, without Ray."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.config.wording import listed
from reports.errors import UserError
from reports.plain_text import one_line

LOCAL = "local"
"""The address of a cluster of this machine alone, which is started for one command and ends with it."""
_BY_RAY = (LOCAL, "auto")
"""Addresses that Ray knows without a host."""
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
_LARGEST_PORT = 65535
_SHOWN = 6
"""Nodes that a message lists."""


class RequestError(UserError):
    """What was asked of a cluster cannot be understood."""


class DoesNotFitError(UserError):
    """No node of the cluster has what one unit needs, so that it would wait for ever."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks of a cluster."""

    address: str | None = None
    """HOST:PORT of the cluster; None is the one that RAY_ADDRESS names, else this machine alone."""
    gpus_per_unit: float | None = None
    """GPUs of a unit, below 1 a share of one; None is 1 where the base is on a GPU, else 0."""
    workers: int | None = None
    """Units that are worked on at a time, at most."""
    gpus_per_adapter: int | None = None
    """GPUs that an adapter is trained on, by a process each; None is one process, with the GPUs of a unit."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster, as it was lent to Ray."""

    name: str
    id: str
    n_cpus: float
    n_gpus: float
    n_bytes: float = 0.0
    """Memory of its processes."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one unit occupies while it is worked on."""

    n_cpus: int = 1
    n_gpus: float = 0.0

    @property
    def of_rank(self) -> "Needs":
        """What one of several processes occupies that train an adapter together: a whole GPU, or as many CPUs."""
        return Needs(self.n_cpus, 1.0 if self.n_gpus else 0.0)

    def __str__(self) -> str:
        cpus = _count(self.n_cpus, "CPU")
        return f"{cpus} and {_count(self.n_gpus, 'GPU')}" if self.n_gpus else cpus


def address_of(request: Request, environment: Mapping[str, str]) -> str:
    """The cluster's address: the option's, else that of RAY_ADDRESS, else `LOCAL`.

    Args:
        request: What the command line asks.
        environment: Variables of this process.

    Raises:
        RequestError: It is no address that can be used.
    """
    named = environment.get("RAY_ADDRESS", "").strip()
    name, address = ("--address", request.address) if request.address is not None else ("RAY_ADDRESS", named or LOCAL)
    if address in _BY_RAY:
        return address
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None or not 1 <= int(found[2]) <= _LARGEST_PORT:
        raise RequestError(
            f"{name}: must be HOST:PORT of the cluster's first node, such as 10.0.0.1:6379, not "
            f"'{one_line(address)[:80]}'"
        )
    return address


def host_and_port(address: str) -> tuple[str, int] | None:
    """The parts of an address; None where Ray finds the host itself."""
    if address in _BY_RAY:
        return None
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def check_gpus(n_gpus: float | None) -> None:
    """Checks a number of GPUs that was typed.

    Raises:
        RequestError: It is neither a share nor a whole number of GPUs.
    """
    if n_gpus is None:
        return
    is_share = 0 <= n_gpus < 1 and math.isclose(n_gpus * 100, round(n_gpus * 100), abs_tol=1e-9)
    is_number = math.isfinite(n_gpus) and n_gpus.is_integer() and 0 <= n_gpus <= 1024  # noqa: PLR2004 - of one machine
    if not is_share and not is_number:
        raise RequestError(
            f"--gpus-per-unit: must be a whole number, or a share of one GPU in hundredths such as 0.5, not {n_gpus:g}"
        )


def needs_of(request: Request, device: str, n_threads: int, n_gpus_of_base: int = 1) -> Needs:
    """What a unit needs where it computes as the driver does.

    Args:
        request: What the command line asks.
        device: "cpu", "cuda" or "mps".
        n_threads: Threads of a unit; on a GPU they wait for it, and one CPU will do.
        n_gpus_of_base: GPUs that the base is spread over.
    """
    chosen = request.gpus_per_unit
    n_gpus = float(n_gpus_of_base if device == "cuda" else 0) if chosen is None else chosen
    return Needs(n_threads if device == "cpu" else 1, n_gpus)


def n_at_a_time(nodes: Sequence[Node], needs: Needs, workers: int | None = None) -> int:
    """Units that the nodes have room for at the same time, or as many workers as were asked for where that is less."""
    fits = sum(_n_on(node, needs) for node in nodes)
    return fits if workers is None else min(fits, workers)


def _n_on(node: Node, needs: Needs) -> int:
    by_cpus = int(node.n_cpus // needs.n_cpus)
    if not needs.n_gpus:
        return by_cpus
    if needs.n_gpus < 1:  # a unit's share is of one GPU
        return min(by_cpus, int(node.n_gpus) * int(1 / needs.n_gpus + 1e-9))
    return min(by_cpus, int(node.n_gpus // needs.n_gpus))


def check_fits(nodes: Sequence[Node], needs: Needs, request: Request) -> None:
    """Checks that at least one node has what a unit needs.

    Raises:
        DoesNotFitError: None has; says what there is.
    """
    lack = lack_of(nodes, needs)
    if not lack:
        return
    if not nodes:
        raise DoesNotFitError("the Ray cluster is gone: none of its nodes is left; the same command begins again")
    option = "" if request.gpus_per_unit is None else f"--gpus-per-unit {request.gpus_per_unit:g}: "
    gpus_fit = any(node.n_gpus >= needs.n_gpus for node in nodes)
    advice = (
        "HARNESS_THREADS sets the threads, and with them the CPUs, of a unit"
        if gpus_fit
        else "ask for fewer with --gpus-per-unit, leave it out where the base is on a CPU, or add nodes"
    )
    raise DoesNotFitError(f"{option}{lack}; {advice}")


def check_ranks_fit(nodes: Sequence[Node], needs: Needs, request: Request, n_gpus_of_base: int = 1) -> None:
    """Checks that all nodes together have what the processes of one adapter need.

    Args:
        nodes: The nodes of the cluster.
        needs: What one process needs.
        request: What the command line asks.
        n_gpus_of_base: GPUs that the base is spread over.

    Raises:
        DoesNotFitError: They have not, and it says what there is; or one GPU does not hold the base.
    """
    asked = request.gpus_per_adapter or 1
    if asked > 1 and n_gpus_of_base > 1:
        raise DoesNotFitError(
            f"--gpus-per-adapter {asked}: the base is spread over {n_gpus_of_base} GPUs, and each process of a "
            f"training needs it on one of its own: quantise it (model.quantization=nf4), or leave the option out"
        )
    if lack := lack_of_ranks(nodes, needs, asked):
        raise DoesNotFitError(f"--gpus-per-adapter {asked}: {lack}; ask for fewer, or add nodes")


def lack_of_ranks(nodes: Sequence[Node], needs: Needs, n_ranks: int) -> str:
    """A clause on what is missing now for the processes of one adapter; empty where there is one, or they fit.

    Args:
        nodes: The nodes of the cluster.
        needs: What one process needs.
        n_ranks: How many there are.
    """
    if n_ranks == 1 or n_at_a_time(nodes, needs) >= n_ranks:
        return ""
    return f"{n_ranks} processes need {needs} each, which is more than there is: {what_there_is(nodes)}"


def lack_of(nodes: Sequence[Node], needs: Needs) -> str:
    """A clause on what is missing now, as nodes were lost or left; empty where units fit."""
    if n_at_a_time(nodes, needs):
        return ""
    return f"a unit needs {needs}, which no node has: {what_there_is(nodes)}"


def what_there_is(nodes: Sequence[Node]) -> str:
    """The nodes with what each has."""
    texts = [f"{node.name} has {_count(node.n_cpus, 'CPU')} and {_count(node.n_gpus, 'GPU')}" for node in nodes]
    more = [f"{len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
    return listed([*texts[:_SHOWN], *more]) if texts else "there is no node"


def room_line(nodes: Sequence[Node], needs: Needs, request: Request) -> str:
    """A line that says where units are computed, and how many at a time."""
    n_units = n_at_a_time(nodes, needs, request.workers)
    more = " (more with fewer threads: HARNESS_THREADS=1)" if needs.n_cpus > 1 and not needs.n_gpus else ""
    idle = ""
    if not needs.n_gpus and any(node.n_gpus for node in nodes):
        idle = " No GPU is used, because the base is on a CPU here: start the command on a node that has one."
    return f"Ray: {_count(n_units, 'unit')} at a time, each with {needs}{more}; {what_there_is(nodes)}.{idle}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" + ("" if number == 1 else "s")
