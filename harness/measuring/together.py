"""Trains the adapters of an experiment in the processes that a launcher started, or in this one alone."""

import os
from collections.abc import Callable
from functools import partial

from harness.config.load import load_experiment
from harness.measuring.experiment import Experiment
from harness.measuring.lineup import TrainedAdapter, train
from harness.measuring.preparation import Options, prepare
from harness.models.base import choose_device
from harness.processes import by_all, is_launched, joined


def train_together(
    options: Options, train_in: Callable[[Experiment], tuple[TrainedAdapter, ...]] = train
) -> tuple[TrainedAdapter, ...]:
    """Trains the adapters of an experiment, or finds them, as one of the processes of a launcher or as the only one.

    Whatever sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT may start it, and may have made torch's
    process group already. Every process calls it with the same options. All of them load the model and read the rows;
    each computes a part of every step.

    Args:
        options: those of the command line.
        train_in: trains in the prepared experiment; all of its adapters unless given.

    Returns:
        The adapters; nothing in any process but the first, which speaks for all.

    Raises:
        UserError: a mistake in options, configuration, data or model, or processes that cannot train together.
        FollowedExit: in any process but the first, where the first says why.
    """
    with joined(_device(options) if is_launched(os.environ) else "") as here:
        experiment = by_all(partial(prepare, options))
        trained = train_in(experiment)
        return trained if here.is_first else ()


def _device(options: Options) -> str:
    """The device that the configuration asks for, found before anything is loaded on it."""
    return choose_device(load_experiment(options.preset, options.config_file, options.overrides).model.device)
