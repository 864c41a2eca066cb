"""What tests of joined processes run in each of them: `torchrun in_ranks.py JOBS FOLDER`, or `python` for one process.

JOBS is a pickle: the folder of a base model, and of each job its workspace, its rows (or those of each process), its
recipe, and the steps at which the last process is killed and at which the first one's disk is full, or None. FOLDER
receives the workspaces, and what every process has of every job.
"""

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from errno import ENOSPC
from functools import partial
from pathlib import Path
from typing import Any

from harness.config.schema import ModelConfig
from harness.models.base import LoadedModel, load_model
from harness.processes import by_all, joined, ranks
from harness.training import resumable, trainer
from harness.training.fixture import Workplace, build_or_reuse
from harness.training.recipe import EncodedRows, Recipe
from harness.training.resumable import save_adapter
from reports.errors import UserError

Job = tuple[str, EncodedRows | tuple[EncodedRows, ...], Recipe, int | None, int | None]


def main(jobs: Path, folder: Path) -> None:
    """Does all jobs, and writes what became of each."""
    base, listed = pickle.loads(jobs.read_bytes())
    with joined("cpu"):
        loaded = by_all(lambda: load_model(ModelConfig(name=str(base), quantization="none", device="cpu")))
        for number, job in enumerate(listed):
            try:
                outcome = train_one(loaded, job, folder / job[0])
            except UserError as error:
                outcome = {"error": str(error), "kind": type(error).__name__}
            (folder / f"{number}-{ranks().index}.json").write_text(json.dumps(outcome))


def train_one(loaded: LoadedModel, job: Job, folder: Path) -> dict[str, Any]:
    """Trains or finds one adapter; leaves a copy of this process's own weights beside the workspace."""
    _, rows, recipe, killed_at, full_at = job
    folder.mkdir(exist_ok=True)
    here, said = ranks(), list[str]()
    own_rows = rows[here.index] if isinstance(rows, tuple) else rows

    def listen(done: int, _n_steps: int, line: dict[str, Any]) -> None:
        if (done, line["kind"], here.index) == (killed_at, "train", here.n - 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def own_copy(take_steps: Callable[..., bool], training: Any, *others: Any) -> bool:
        is_whole = take_steps(training, *others)
        save_adapter(training.model, folder / f"process-{here.index}")
        return is_whole

    def full_disk(write: Callable[..., None], checkpoints: Path, step: int, fill: Callable[[Path], None]) -> None:
        def fail(_folder: Path) -> None:
            raise OSError(ENOSPC, "No space left on device")

        write(checkpoints, step, fail if step == full_at else fill)

    usual = trainer.take_steps, resumable.write_checkpoint
    trainer.take_steps = partial(own_copy, usual[0])
    resumable.write_checkpoint = partial(full_disk, usual[1])
    try:
        fixture = build_or_reuse(loaded, own_rows, recipe, Workplace(folder / "workspace", said.append, listen))
    finally:
        trainer.take_steps, resumable.write_checkpoint = usual
    return {"folder": str(fixture.folder), "reused": fixture.reused, "log": fixture.log, "said": said}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
