"""A workspace: where adapters, merged models, runs, logs and scores are kept, and the names of new runs."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from filelock import Timeout

from reports.errors import UserError
from reports.locks import hold
from reports.run_folder import check_run_folder
from reports.whole import leftovers_in, remove


class WorkspaceError(UserError):
    """A workspace, or a run folder, that cannot be written."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder, and the paths in it."""

    folder: Path

    @property
    def fixtures(self) -> Path:
        """Trained adapters, each in a folder named by its fingerprint."""
        return self.folder / "fixtures"

    @property
    def merged(self) -> Path:
        """Adapters merged into their base."""
        return self.folder / "merged"

    @property
    def runs(self) -> Path:
        """Run folders without a place of their own (`--out`)."""
        return self.folder / "runs"

    @property
    def logs(self) -> Path:
        """Logs of wandb and tensorboard, in a folder for each fixture."""
        return self.folder / "logs"

    @property
    def scores(self) -> Path:
        """The score cache."""
        return self.folder / "scores.sqlite"

    def prepare(self) -> None:
        """Makes the folders of adapters and runs, proves that they can be written, and clears what was half-written.

        What killed processes left of runs and merged models has a name that no later one repeats, so that nothing else
        would remove it.

        Raises:
            WorkspaceError: they cannot.
        """
        for folder in (self.fixtures, self.runs):
            probe = folder / f".writable-{os.getpid()}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise WorkspaceError(
                    f"--workspace: {self.folder} cannot be written ({error.strerror}); name another folder"
                ) from error
        for folder in (self.runs, self.merged):
            for leftover in leftovers_in(folder):
                remove(leftover)

    @contextmanager
    def reserve_run(self, name: str, out: Path | None = None) -> Iterator[Path]:
        """Reserves the folder of a new run, so that no other process takes the name while this one measures.

        The folder itself appears when the run is written. Until then a lock beside it holds the name, which is free
        again when the process ends, however it ends.

        Args:
            name: first part of the folder's name; the time is added, and a number where another run has that name.
            out: folder that the user named instead.

        Raises:
            WorkspaceError: another process has reserved `out`, or nothing can be written there.
            RunFolderError: `out` exists already.
        """
        with ExitStack() as stack:
            folder = self._free_run(f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}", out, stack)
            if out is not None:
                check_run_folder(out)  # under the lock: the process that held it before may have written it
            try:
                yield folder
            except KeyboardInterrupt as error:
                if not folder.exists():
                    error.add_note("no run folder was written; the same command goes on from what is kept")
                raise

    def _free_run(self, stem: str, out: Path | None, stack: ExitStack) -> Path:
        """A run folder that nobody writes; the lock that keeps it so is put on the stack."""
        for number in count(1):
            folder = out or self.runs / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                lock = ExitStack()
                lock.enter_context(hold(folder.with_name(f".{folder.name}.lock")))
            except Timeout:
                if out is not None:
                    raise WorkspaceError(f"--out: another process writes {out} now; name another folder") from None
                continue
            except OSError as error:
                raise WorkspaceError(f"{folder.parent} cannot be written ({error.strerror})") from error
            if out is not None or not folder.exists():
                stack.push(lock.pop_all())
                return folder
            lock.close()
        raise AssertionError  # count() has no end
