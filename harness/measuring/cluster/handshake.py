"""Ask every node of a cluster what it is, before anything is computed there."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from harness.measuring.cluster.connecting import Cluster
from harness.measuring.cluster.request import Node
from harness.measuring.cluster.working import account, versions_here
from harness.measuring.units.engine import ForeignNodeError
from reports.errors import UserError, first_line

ANSWER_SECONDS = 60.0
"""Time that a node has to start a process and to answer."""


class UnsharedWorkspaceError(UserError):
    """Processes of one training need the workspace, and a node does not see it."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a node says of itself."""

    node: Node
    versions: Mapping[str, str | None]
    """Package -> version; empty where it gave no answer."""
    sees_workspace: bool = False
    problem: str = ""
    """Why it gave no answer."""

    @property
    def differing(self) -> str:
        """The versions that are not those of this process, as a list; empty where all are equal."""
        return differing(self.versions, versions_here())


def mark_of(folder: Path) -> Path:
    """The file by which a workspace is known on other machines, with a random name; it is made once and stays."""
    made = sorted(folder.glob(".workspace-*"))
    if made:
        return made[0]
    mark = folder / f".workspace-{token_hex(8)}"
    mark.touch()
    return mark


@contextmanager
def marked(folder: Path) -> Iterator[Path]:
    """A file in a folder that is no workspace yet, for as long as others are asked whether they see it."""
    mark = folder.absolute() / f".seen-{token_hex(8)}"
    mark.touch()
    try:
        yield mark
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def accounts(cluster: Cluster, mark: Path) -> list[Account]:
    """Asks all nodes at once; takes seconds, since each starts a process.

    Args:
        cluster: Whose nodes are asked.
        mark: A file that the nodes are asked for.
    """
    ray = cluster.ray
    asked = ray.remote(num_cpus=0, max_retries=1)(account)
    nodes = cluster.nodes()
    answers = [
        asked.options(scheduling_strategy=cluster.on_node(node.id, or_elsewhere=False)).remote(str(mark.absolute()))
        for node in nodes
    ]
    ray.wait(answers, num_returns=len(answers), timeout=ANSWER_SECONDS)
    return [_answered(ray, node, answer) for node, answer in zip(nodes, answers, strict=True)]


def _answered(ray: Any, node: Node, answer: Any) -> Account:
    try:
        told = ray.get(answer, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        return Account(node, {}, problem=f"gives no answer within {ANSWER_SECONDS:g} s")
    except ray.exceptions.RayTaskError as error:
        return Account(node, {}, problem=f"cannot run this project: {first_line(error.cause)}")
    except ray.exceptions.RayError as error:
        return Account(node, {}, problem=f"cannot run this project: {first_line(error)}")
    return Account(node, told["versions"], told["sees_workspace"])


def check_accounts(told: list[Account]) -> None:
    """Checks that every node can compute as this process does.

    Raises:
        ForeignNodeError: One gives no answer, or has other versions; names it.
    """
    for each in told:
        if each.problem:
            raise ForeignNodeError(f"node {each.node.name} {each.problem}; install the same dpo-harness on all nodes")
        if each.differing:
            raise ForeignNodeError(
                f"node {each.node.name} has other versions than the machine where this was started: {each.differing}; "
                f"install the same on all nodes"
            )


def check_seen(told: Sequence[Account]) -> None:
    """Checks that every node sees the workspace, in which the processes of one training meet.

    Raises:
        UnsharedWorkspaceError: One does not; names it.
    """
    unseen = [each.node.name for each in told if not each.sees_workspace]
    if unseen:
        raise UnsharedWorkspaceError(
            f"--gpus-per-adapter: node {unseen[0]} does not see the workspace, in which the processes of one training "
            f"meet; give --workspace a folder that all nodes share, or leave the option out"
        )


def differing(there: Mapping[str, str | None], here: Mapping[str, str | None]) -> str:
    """The versions that differ, as "torch 2.12, not 2.13"; other files of one version of this project count too."""
    names = [name for name in here if name != "code" and there.get(name) != here[name]]
    texts = [f"{name} {there.get(name) or 'is missing'}, not {here[name]}" for name in names]
    if not texts and there.get("code") != here.get("code"):
        return "other files of dpo-harness"
    return "; ".join(texts)
