"""Processes take equal parts of the batches that one process would take, or say why they cannot."""

import pytest

from harness.config.schema import TrainingConfig
from harness.training.recipe import TrainingError
from harness.training.shares import SharedBatches, check_shares, line_on_last_batch


@pytest.mark.parametrize("n_rows", [1, 3, 8, 9, 14, 16, 17])
def test_the_parts_of_a_batch_are_the_batch(n_rows: int) -> None:
    """In order and of equal size; only a last batch that cannot be divided has rows of the first one behind it."""
    order = [(7 * row) % n_rows for row in range(n_rows)] if n_rows % 7 else list(range(n_rows))
    parts = [list(SharedBatches(order, 8, 4, index)) for index in range(4)]
    batches = [[row for part in step for row in part] for step in zip(*parts, strict=True)]
    assert [row for batch in batches for row in batch][:n_rows] == order
    assert all(len(batch) == 8 for batch in batches[:-1])
    assert len(batches[-1]) % 4 == 0
    assert len(batches[-1]) - (n_rows - 8 * (len(batches) - 1)) < 4
    assert all(len({len(part) for part in step}) == 1 for step in zip(*parts, strict=True))
    shared = SharedBatches(order, 8, 4, 0)
    assert len(shared) == len(batches)
    assert list(shared.whole()) == batches


def test_one_process_has_whole_batches() -> None:
    """And nothing is added to the last one."""
    assert list(SharedBatches(range(5), 2, 1, 0)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("n_rows", "line"),
    [(16, ""), (12, ""), (10, "has 2 of 8 rows, which 4 processes cannot share: it is filled up with 2 of")],
)
def test_rows_that_are_taken_twice_are_said(n_rows: int, line: str) -> None:
    """Only where there are some."""
    said = line_on_last_batch(n_rows, 8, 4)
    assert line in said
    assert bool(said) == bool(line)


@pytest.mark.parametrize(
    ("training", "router", "named"),
    [
        (
            TrainingConfig(batch_size=6),
            None,
            "training.batch_size: 6 rows of a step cannot be divided among 4 processes",
        ),
        (TrainingConfig(method="kto"), None, "training.method: kto compares every answer with the others of its batch"),
        (TrainingConfig(loss_type=("sigmoid", "aot")), None, "training.loss_type: aot is a loss over a whole batch"),
        (TrainingConfig(loss_type=("sft",)), None, "training.loss_type: sft is a loss over a whole batch"),
        (TrainingConfig(), 0.01, "training.router_aux_loss_coef: 0.01: the router's loss is over a whole batch"),
    ],
)
def test_what_is_no_mean_over_rows_is_refused(training: TrainingConfig, router: float | None, named: str) -> None:
    """One line names the setting; one process does all of it."""
    with pytest.raises(TrainingError) as caught:
        check_shares(training, 4, router)
    assert str(caught.value).startswith(named)
    check_shares(training, 1, router)


def test_what_can_be_shared_passes() -> None:
    """DPO's means over rows, and SFT's over tokens, which are counted over all processes."""
    for training in (TrainingConfig(batch_size=8), TrainingConfig(batch_size=8, method="sft", loss_type=("sft",))):
        check_shares(training, 4, 0.0)
