"""Refuse a command that a launcher started in several processes."""

from collections.abc import Mapping

from reports.errors import UserError


class LaunchedError(UserError):
    """A launcher for several processes started this command, which runs in one."""


def check_one_process(environment: Mapping[str, str]) -> None:
    """Refuse what torchrun, accelerate launch or deepspeed started.

    Each of their processes would wait for the others inside torch, while all but one wait for the lock of the adapter
    that the first one trains: none would go on.

    Args:
        environment: variables of this process.

    Raises:
        LaunchedError: LOCAL_RANK is set, or WORLD_SIZE is above 1.
    """
    size, rank = (environment.get(name, "").strip() for name in ("WORLD_SIZE", "LOCAL_RANK"))
    variable = f"WORLD_SIZE={size}" if size not in ("", "0", "1") else f"LOCAL_RANK={rank}"
    if size not in ("", "0", "1") or rank not in ("", "-1"):
        raise LaunchedError(
            f"{variable}: a launcher (torchrun, accelerate launch) started this, but harness runs in one process, on "
            f"one device; start `harness` itself, or unset the variable"
        )
