"""How several processes share the batches of one training, so that a step sees the rows that one process would see.

Each process computes an equal part of a step's batch, and torch averages their gradients. That equals the gradient of
the batch where the loss is a mean over rows or over tokens, and nothing else does.
"""

from collections.abc import Iterator
from itertools import cycle, islice
from math import ceil
from typing import Any

from harness.config.schema import TrainingConfig
from harness.training.recipe import TrainingError

LOSSES_OF_A_BATCH = ("aot", "aot_unpaired", "sft")
"""Losses of DPO that compare the rows of a batch, or weigh them by the batch's tokens."""


def check_shares(training: TrainingConfig, n_ranks: int, router: float | None = None) -> None:
    """Check that so many processes can share the steps of a training.

    Args:
        training: settings of the training.
        n_ranks: number of processes.
        router: weight of the router's loss; None where there is none, or where the model is not known yet.

    Raises:
        TrainingError: they cannot; names the setting.
    """
    if n_ranks == 1:
        return
    alone = "train it in one process, without a launcher and without --gpus-per-adapter"
    if training.method == "kto":
        raise TrainingError(
            f"training.method: kto compares every answer with the others of its batch, which {n_ranks} processes would "
            f"each estimate from their own part; {alone}"
        )
    if training.method == "dpo" and (odd := [loss for loss in training.loss_type if loss in LOSSES_OF_A_BATCH]):
        raise TrainingError(
            f"training.loss_type: {', '.join(odd)} is a loss over a whole batch, of which {n_ranks} processes see a "
            f"part each; {alone}"
        )
    if router:
        raise TrainingError(
            f"training.router_aux_loss_coef: {router:g}: the router's loss is over a whole batch, of which {n_ranks} "
            f"processes see a part each; set it to 0, or {alone}"
        )
    if training.batch_size % n_ranks:
        raise TrainingError(
            f"training.batch_size: {training.batch_size} rows of a step cannot be divided among {n_ranks} processes; "
            f"set it to a multiple of {n_ranks}, or take another number of processes"
        )


def rows_at_once(training: TrainingConfig, n_ranks: int) -> int:
    """Return the rows of a batch that one process computes."""
    return training.batch_size // n_ranks


def line_on_last_batch(n_rows: int, batch_size: int, n_ranks: int) -> str:
    """Return a line on rows that a step takes twice because they cannot be divided; empty where all can."""
    n_last = n_rows % batch_size
    n_added = -n_last % n_ranks
    if not n_added:
        return ""
    return (
        f"The last batch of an epoch has {n_last} of {batch_size} rows, which {n_ranks} processes cannot share: it is "
        f"filled up with {n_added} of the epoch's first rows."
    )


class SharedBatches:
    """One process's part of each batch: whole batches cut into equal parts, in order."""

    def __init__(self, sampler: Any, batch_size: int, n_ranks: int, index: int) -> None:
        """Takes the order of the rows.

        Args:
            sampler: gives the places of all rows in the order of an epoch, the same in every process.
            batch_size: rows of a whole batch, a multiple of the number of processes.
            n_ranks: number of processes.
            index: which of them this is.
        """
        self.sampler, self.batch_size = sampler, batch_size
        self._n_ranks, self._index = n_ranks, index

    def __len__(self) -> int:
        """Number of batches of an epoch, as one process alone has it."""
        return ceil(len(self.sampler) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the part of each batch."""
        for batch in self.whole():
            size = len(batch) // self._n_ranks
            yield batch[size * self._index : size * (self._index + 1)]

    def whole(self) -> Iterator[list[int]]:
        """Yield the batches that all processes compute together.

        The last one is filled up with the first rows of the epoch, as far as it needs to be divided.
        """
        order, first = iter(self.sampler), list[int]()
        while batch := list(islice(order, self.batch_size)):
            first = first or batch
            n_added = -len(batch) % self._n_ranks
            yield [*batch, *islice(cycle(first), n_added)]


def share_batches(dealt: Any, n_ranks: int, index: int) -> None:
    """Let accelerate's sampler of a process take its part of each batch.

    It would deal out whole batches of a part's size, and fill up the last ones of an epoch with rows of its start.

    Args:
        dealt: accelerate's BatchSamplerShard, which then passes on the parts as they are.
        n_ranks: number of processes.
        index: which of them this is.
    """
    own = dealt.batch_sampler
    dealt.batch_sampler = SharedBatches(own.sampler, own.batch_size * n_ranks, n_ranks, index)
    dealt.num_processes, dealt.process_index, dealt.batch_size = 1, 0, None
