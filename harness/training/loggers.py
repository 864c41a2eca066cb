"""Log every step of a training to Weights & Biases or TensorBoard, in addition to training.jsonl."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.training.recipe import TrainingError
from reports.errors import first_line

_PACKAGES = {"wandb": ("wandb",), "tensorboard": ("tensorboard", "tensorboardX")}
"""Logger -> packages, any one of which is enough."""


def check_loggers(names: Sequence[str]) -> None:
    """Check that the package of every logger is installed.

    Raises:
        TrainingError: a package is missing; names what to install.
    """
    for name in names:
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise TrainingError(
                f"training.report_to: {name} is not installed; pip install {name}, or 'dpo-harness[logging]'"
            )


@contextmanager
def logged(names: Sequence[str], folder: Path) -> Iterator[None]:
    """Open a W&B run around one training and close it; TensorBoard needs neither.

    Without it W&B would write all trainings of a process into one run. A training that continues from a checkpoint
    continues its W&B run.

    Args:
        names: names of the loggers to use.
        folder: folder of this training's logs, whose name is also the run's name and id.

    Raises:
        TrainingError: W&B cannot start a run.
    """
    if "wandb" not in names:
        yield
        return
    wandb: Any = import_module("wandb")  # not one of the project's own requirements
    project = os.environ.get("WANDB_PROJECT", "harness")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(project=project, dir=str(folder), name=folder.name, id=folder.name, resume="allow")
    except wandb.errors.Error as error:
        raise TrainingError(
            f"training.report_to: W&B cannot start a run ({first_line(error)}); "
            f"call `wandb login`, or set WANDB_MODE=offline"
        ) from error
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        run.finish(exit_code=0 if succeeded else 1)
