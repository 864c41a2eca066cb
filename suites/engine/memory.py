"""Memory that this process holds, and that it may still take: on a CPU within the limits of its control groups.

A container or a job of a cluster is ended where it exceeds its limit, however much memory the machine has left.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of control groups version 2 and 1: limit, use, and what of the use is files that the system can drop."""
_UNLIMITED_BYTES = 2**60
"""A limit as large as this is version 1's way to say that there is none."""


def free_bytes(device: str, gpus: Sequence[int] = ()) -> int:
    """Memory in bytes that is free on a device now.

    Args:
        device: "cpu", "cuda" or another one, which is treated like a CPU.
        gpus: GPUs whose free memory is summed; without any it is this process's own one.
    """
    import psutil
    import torch

    if device != "cuda":
        free, left = int(psutil.virtual_memory().available), left_in_groups()
        return free if left is None else min(free, left)
    return sum(int(torch.cuda.mem_get_info(gpu)[0]) for gpu in gpus or (None,))


def own_bytes(device: str) -> int:
    """Memory in bytes that this process holds on a device, on all GPUs together."""
    import psutil
    import torch

    if device != "cuda":
        return int(psutil.Process().memory_info().rss)
    return sum(torch.cuda.memory_reserved(gpu) for gpu in range(torch.cuda.device_count()))


def left_in_groups(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that this process's control groups may still take; None where none of them has a limit.

    Args:
        groups: Where the system shows control groups.
        own: Where it says which of them this process is in.
    """
    left = [n_bytes for folder in _own_groups(groups, own) if (n_bytes := _left(folder)) is not None]
    return min(left, default=None)


def _own_groups(groups: Path, own: Path) -> Iterator[Path]:
    """The folders of this process's groups and of those around them; a container may show the outermost one alone."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if number == "0" or "memory" in controllers.split(","):
            top = groups if number == "0" else groups / "memory"
            folder = top / path.lstrip("/")
            yield from (folder, *(parent for parent in folder.parents if parent == top or top in parent.parents))


def _left(folder: Path) -> int | None:
    """Bytes that one group may still take; None where it has no limit or does not say."""
    for limit_file, use_file, of_files in _FILES:
        try:
            limit = int((folder / limit_file).read_text(encoding="utf-8"))
            used = int((folder / use_file).read_text(encoding="utf-8"))
            counts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
            left = limit - used + int(counts.get(of_files, 0))
        except (OSError, ValueError):  # "max" is no number either
            continue
        return None if limit >= _UNLIMITED_BYTES else max(0, left)
    return None
