"""The processes that a launcher started for one command: refused, or joined through accelerate to train together.

One process is one GPU, or a share of a CPU. The first one decides, reads and writes for all; the others follow it.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from reports.errors import UserError, first_line

Result = TypeVar("Result")

SEVERAL = frozenset({"train"})
"""Names of the commands that share their work among the processes of a launcher."""
_HARMLESS = frozenset({"doctor", "list", "show-config"})
"""Names of those that only print, whatever started them."""
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables of the number of processes; accelerate reads them, and waits for so many. torchrun sets the first,
launchers of MPI one of the others."""
_PLACES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables that say which process this is, and where all of them meet; torchrun and accelerate launch set them."""
_ONLY = {
    "ACCELERATE_USE_DEEPSPEED": ("", "false"),
    "ACCELERATE_USE_FSDP": ("", "false"),
    "ACCELERATE_USE_MEGATRON_LM": ("", "false"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("", "false"),
    "ACCELERATE_MIXED_PRECISION": ("", "no"),
    "ACCELERATE_DYNAMO_BACKEND": ("", "no"),
}
"""Settings of accelerate launch -> their values that leave a training as its recipe describes it."""
_ALL_COME = timedelta(minutes=10)
"""Longest time from the first process's start to the last one's."""
LONGEST_WAIT = timedelta(hours=12)
"""Longest time that processes wait for what one does for all: it scores the reference, or waits for a lock."""
_FIRST_SPEAKS_SECONDS = 30.0
"""Longest time that a process which says nothing stays for the first one to say why all of them end."""


class LaunchedError(UserError):
    """A launcher of several processes started this command, and it cannot run so."""


class StoppedError(UserError):
    """Another process of the same command failed, which says why."""


class OneProcessError(UserError):
    """One of several processes failed, and no other says why."""


class FollowedExit(SystemExit):
    """A process ends because the first one of several does, which says why."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process of how many this is."""

    n: int = 1
    index: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process decides, writes and speaks for all."""
        return self.index == 0


def check_launch(command: str, environment: Mapping[str, str]) -> None:
    """Refuse what torchrun, accelerate launch, deepspeed or a launcher of MPI started, if it cannot run in parts.

    Each of their processes would wait for the others inside torch, while all but one wait for the lock of the adapter
    that the first one trains: none would go on. Tasks of srun that set none of these variables know nothing of each
    other, and need no more than the locks.

    Args:
        command: name of the command.
        environment: variables of this process.

    Raises:
        LaunchedError: the command runs in one process, and a variable says that this is one of several, or that a
            launcher gave it a number (LOCAL_RANK), at which torch begins to look for the others; or it shares its work,
            and variables are missing or ask for what it does not do.
    """
    told = _told_by(environment)
    if told is None or command in _HARMLESS:
        return
    if command not in SEVERAL:
        raise LaunchedError(
            f"{told}: a launcher (torchrun, accelerate launch, mpirun) started this, but `harness {command}` runs in "
            f"one process, on one device; start `harness {command}` itself, or unset the variable"
        )
    missing = [name for name in ("WORLD_SIZE", *_PLACES) if not environment.get(name, "").strip()]
    if missing:
        raise LaunchedError(
            f"{told}: a launcher of several processes started this, and did not set {', '.join(missing)}; start it by "
            f"torchrun or accelerate launch, which do, or unset {told.partition('=')[0]}"
        )
    numbers = [environment[name].strip() for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    if not all(number.isdecimal() for number in numbers) or int(numbers[0]) >= int(numbers[1]):
        raise LaunchedError(
            f"RANK={numbers[0]}, WORLD_SIZE={numbers[1]}, LOCAL_RANK={numbers[2]}: must be whole numbers, RANK below "
            f"WORLD_SIZE; start it by torchrun or accelerate launch, which set them"
        )
    for name, allowed in _ONLY.items():
        value = environment.get(name, "").strip().lower()
        if value not in allowed:
            raise LaunchedError(
                f"{name}={value}: every process holds the whole model and computes as the recipe says; start torchrun, "
                f"or accelerate launch with `--multi_gpu --mixed_precision no`"
            )


def is_launched(environment: Mapping[str, str]) -> bool:
    """Return whether a launcher of several processes started this one."""
    return _told_by(environment) is not None


def speaks(error: BaseException, environment: Mapping[str, str]) -> bool:
    """Return whether this process prints an error: of several on a machine the first, and one that fails alone."""
    return isinstance(error, OneProcessError) or environment.get("LOCAL_RANK", "").strip() in ("", "-1", "0")


def let_the_first_speak() -> None:
    """Wait, in a process that says nothing of its error, until the launcher ends it, or for some seconds.

    torchrun ends all processes as soon as one of them fails, also a first one that has not come as far.
    """
    with suppress(KeyboardInterrupt):
        time.sleep(_FIRST_SPEAKS_SECONDS)


def _told_by(environment: Mapping[str, str]) -> str | None:
    """Variable and value that say that a launcher started this process; None where none does."""
    values = {name: environment.get(name, "").strip() for name in (*_SIZES, "LOCAL_RANK")}
    single = dict.fromkeys(_SIZES, ("", "0", "1")) | {"LOCAL_RANK": ("", "-1")}
    return next((f"{name}={value}" for name, value in values.items() if value not in single[name]), None)


def ranks() -> Ranks:
    """Return which process this is: the only one, unless several are joined."""
    torch: Any = sys.modules.get("torch")  # importing it takes seconds, and nothing is joined without it
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return Ranks()
    from accelerate import PartialState

    state = PartialState()
    return Ranks(state.num_processes, state.process_index)


def n_together(planned: int) -> int:
    """Return how many processes train an adapter together: those that are joined, or that are planned to be."""
    return max(ranks().n, planned)


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes of a launcher within the block, or the only one; yield which one this is.

    Args:
        device: "cpu", "cuda" or "mps".

    Raises:
        LaunchedError: the processes do not find each other, or there is no GPU for this one.
        StoppedError: the first process alone: another one failed.
        OneProcessError: any but the first: this one failed alone.
        FollowedExit: any but the first: the first one says why all of them end.
    """
    if not is_launched(os.environ):
        yield Ranks()
        return
    import torch
    from accelerate import PartialState

    is_ours = not torch.distributed.is_initialized()
    state = _joined_state(device)
    this, is_done = Ranks(state.num_processes, state.process_index), False
    try:
        yield this
        PartialState().wait_for_everyone()
        is_done = True
    except (UserError, OSError) as error:
        if this.is_first:
            raise
        if isinstance(error, StoppedError):
            raise FollowedExit(2) from error
        raise OneProcessError(f"process {this.index + 1} of {this.n}: {error}") from error
    except RuntimeError as error:
        if not _is_of_a_lost_process(error):
            raise
        if not this.is_first:
            raise FollowedExit(2) from error
        raise StoppedError(
            f"another of the {this.n} processes of this training ended ({first_line(error)}); its checkpoints are "
            f"kept, and the same command goes on from the newest"
        ) from error
    finally:
        # NCCL may wait here for a process that is gone; gloo does not, and aborts a process that ends without it.
        if is_ours and (is_done or torch.distributed.get_backend() == "gloo"):
            torch.distributed.destroy_process_group()
        PartialState._reset_state()  # noqa: SLF001 - there is no public one, and a later call would take it for its own


def _joined_state(device: str) -> Any:
    """Return accelerate's state of the processes, whole or not at all."""
    import warnings

    import torch
    from accelerate import PartialState
    from torch.distributed.rendezvous import rendezvous

    local, size = int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])
    n_here = max(local + 1, int(os.environ.get("LOCAL_WORLD_SIZE") or 0))
    if device == "cuda" and n_here > torch.cuda.device_count():
        raise LaunchedError(
            f"{n_here} processes run on this machine, but this one sees {torch.cuda.device_count()} GPU(s): let every "
            f"process see all GPUs, and start as many processes as there are GPUs"
        )
    options: dict[str, Any] = {"timeout": LONGEST_WAIT}
    try:
        if not torch.distributed.is_initialized():  # as Ray Train leaves it
            store, rank, n_ranks = next(rendezvous("env://", timeout=_ALL_COME))
            options |= {"store": store, "rank": rank, "world_size": n_ranks}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "OMP_NUM_THREADS/MKL_NUM_THREADS unset", UserWarning)
            state = PartialState(cpu=device == "cpu", **options)
    except (RuntimeError, ValueError, NotImplementedError, OSError) as error:
        PartialState._reset_state()  # noqa: SLF001 - half of it would be taken for the whole
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise LaunchedError(
            f"the {size} processes of this training could not be joined at {place} ({first_line(error)})"
        ) from error
    if state.num_processes != size:
        PartialState._reset_state()  # noqa: SLF001
        raise LaunchedError(f"WORLD_SIZE={size}, but accelerate cannot join processes on {device}; unset the variable")
    if device == "cpu":  # or each new state would choose the number of threads once more
        os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    return state


def _is_of_a_lost_process(error: RuntimeError) -> bool:
    """Return whether torch could not reach another process; gloo's errors have no class of their own."""
    import torch

    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def told(value: Result) -> Result:
    """Return the first process's value in every process."""
    if ranks().n == 1:
        return value
    from accelerate.utils import broadcast_object_list

    values: list[Result] = broadcast_object_list([value])
    return values[0]


def gathered(value: Result) -> list[Result]:
    """Return the values of all processes, in order, in every process."""
    if ranks().n == 1:
        return [value]
    from accelerate.utils import gather_object

    values: list[Result] = gather_object([value])
    return values


def by_the_first(do: Callable[[], Result]) -> Result:
    """Do something in the first process alone, and return its result in every process.

    Raises:
        StoppedError: it failed there, where the error is raised as it is.
    """
    value, failure = None, None
    if ranks().is_first:
        try:
            value = do()
        except Exception as error:
            told((None, first_line(error)))
            raise
    value, failure = told((value, failure))
    if failure is not None:
        raise StoppedError(failure)
    return value  # type: ignore[return-value]


def by_all(do: Callable[[], Result]) -> Result:
    """Do something in every process, none of which may wait for another one meanwhile; none goes on if one failed.

    Raises:
        StoppedError: it failed elsewhere. An error of the first process, and one that is no user's mistake, is raised
            as it is where it happened.
    """
    here, value, error = ranks(), None, None
    try:
        value = do()
    except Exception as caught:
        if here.n == 1:
            raise
        error = caught
    failures = gathered(None if error is None else first_line(error))
    if error is not None and (here.is_first or not isinstance(error, UserError | OSError)):
        raise error
    for index, failure in enumerate(failures):
        if failure is not None:
            raise StoppedError(f"process {index + 1} of {here.n}: {failure}") from error
    return value  # type: ignore[return-value]
