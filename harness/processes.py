"""Refuse a command that a launcher started in several processes, before anything is loaded."""

from collections.abc import Mapping

from reports.errors import UserError

SEVERAL = frozenset[str]()
"""Names of the commands that share their work among the processes of a launcher; those that know how, once some do."""
_HARMLESS = frozenset({"doctor", "list", "show-config"})
"""Names of those that only print, whatever started them."""
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables of the number of processes; accelerate reads them, and waits for so many. torchrun sets the first,
launchers of MPI one of the others."""


class LaunchedError(UserError):
    """A launcher for several processes started this command, which runs in one."""


def check_one_process(command: str, environment: Mapping[str, str]) -> None:
    """Refuse what torchrun, accelerate launch, deepspeed or a launcher of MPI started.

    Each of their processes would wait for the others inside torch, while all but one wait for the lock of the adapter
    that the first one trains: none would go on. Tasks of srun without MPI know nothing of each other, and need no more
    than the locks.

    Args:
        command: name of the command.
        environment: variables of this process.

    Raises:
        LaunchedError: the command runs in one process, and a variable says that this is one of several, or that a
            launcher gave it a number (LOCAL_RANK), at which torch begins to look for the others.
    """
    if command in SEVERAL or command in _HARMLESS:
        return
    values = {name: environment.get(name, "").strip() for name in (*_SIZES, "LOCAL_RANK")}
    single = dict.fromkeys(_SIZES, ("", "0", "1")) | {"LOCAL_RANK": ("", "-1")}
    told = next((f"{name}={value}" for name, value in values.items() if value not in single[name]), None)
    if told is not None:
        raise LaunchedError(
            f"{told}: a launcher (torchrun, accelerate launch, mpirun) started this, but `harness {command}` runs in "
            f"one process, on one device; start `harness {command}` itself, or unset the variable"
        )
