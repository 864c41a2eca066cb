"""Checks of the nodes of a Ray cluster for `harness doctor`: what each has, and whether it can join in a job."""

from pathlib import Path

from harness.commands.examination import Check, gib
from harness.measuring.cluster.connecting import NoClusterError, RayMissingError, connected
from harness.measuring.cluster.handshake import Account, accounts, marked
from harness.measuring.cluster.request import Request, RequestError

_SHOWN_PACKAGES = ("dpo-harness", "torch", "transformers", "Python")


def examine_nodes(address: str | None, workspace: Path) -> tuple[Check, ...]:
    """Asks every node of a cluster what it is; takes seconds, and leaves nothing behind.

    Args:
        address: HOST:PORT; None is the cluster of RAY_ADDRESS, else this machine alone.
        workspace: Folder of trained adapters and runs, which need not exist yet.
    """
    folder = workspace.absolute()
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    try:
        with connected(Request(address)) as cluster, marked(there) as mark:
            return tuple(check_node(each, workspace) for each in accounts(cluster, mark))
    except (NoClusterError, RayMissingError, RequestError) as error:
        finding, _, advice = str(error).partition("; ")
        return (Check("cluster", "problem", finding, advice or "correct or leave out --address"),)


def check_node(told: Account, workspace: Path) -> Check:
    """What a node has, its versions, and whether it sees the workspace."""
    node = told.node
    has = f"{node.n_cpus:g} CPUs, {node.n_gpus:g} GPUs, {gib(int(node.n_bytes))} of memory"
    name = f"node {node.name}"
    if told.problem:
        return Check(name, "problem", f"{has}; {told.problem}", "install the same dpo-harness on all nodes")
    if told.differing:
        return Check(name, "problem", f"{has}; {told.differing}", "install the same versions on all nodes")
    versions = ", ".join(f"{package} {told.versions[package]}" for package in _SHOWN_PACKAGES)
    if told.sees_workspace:
        return Check(name, "ok", f"{has}; {versions}; sees {workspace}")
    return Check(
        name,
        "warning",
        f"{has}; {versions}; does not see {workspace}",
        "a training that dies there begins anew; a workspace that all nodes share keeps its checkpoints",
    )
