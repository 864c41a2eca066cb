"""The benchmark session: its comparison finds planted faults, and a small run of it fills its table."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
DATA_ROOT = Path(os.environ.get("HARNESS_DATA_ROOT", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the folder, which is no package."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("outcomes")


def outcome(outcomes: Any, *options: tuple[float, ...], accuracy: float = 0.5) -> Any:
    items = {f"task, row {number}": values for number, values in enumerate(options)}
    return outcomes.Outcome(items, options=items, metrics={"task acc": accuracy})


def test_rounding_is_no_difference(outcomes: Any) -> None:
    """1e-4 nats are allowed, and 1e-6 of a long sum."""
    ours, theirs = (
        outcome(outcomes, (-3.0, -4.0), (-2000.0, -9.0)),
        outcome(outcomes, (-3.00009, -4.0), (-2000.0019, -9.0)),
    )

    agreed = outcomes.agreement(ours, theirs)

    assert agreed.holds
    assert agreed.difference_nats == pytest.approx(0.0019)
    assert agreed.n_responses == 4


@pytest.mark.parametrize("wrong", [-3.0002, float("nan")])
def test_another_log_probability_is_found(outcomes: Any, wrong: float) -> None:
    """A little too much, and no number at all."""
    agreed = outcomes.agreement(outcome(outcomes, (wrong, -4.0)), outcome(outcomes, (-3.0, -4.0)))

    assert (agreed.n_outside, agreed.holds) == (1, False)


def test_another_metric_is_found(outcomes: Any) -> None:
    """The same log-probabilities and yet another accuracy."""
    ours, theirs = outcome(outcomes, (-3.0, -4.0)), outcome(outcomes, (-3.0, -4.0), accuracy=0.6)

    assert not outcomes.agreement(ours, theirs).holds


def test_only_a_near_tie_may_be_decided_differently(outcomes: Any) -> None:
    """Then it is listed, and excuses the metric of its task."""
    ours, theirs = outcome(outcomes, (-3.0, -3.00005)), outcome(outcomes, (-3.00005, -3.0), accuracy=0.6)

    agreed = outcomes.agreement(ours, theirs)

    assert (agreed.near_choices, agreed.wrong_choices, agreed.holds) == (("task, row 0",), (), True)

    clear = outcomes.agreement(outcome(outcomes, (-3.0, -9.0)), outcome(outcomes, (-9.0, -3.0)))

    assert (clear.near_choices, clear.wrong_choices, clear.holds) == ((), ("task, row 0",), False)


def test_sides_that_measured_something_else_are_refused(outcomes: Any) -> None:
    """Rather than compared where they overlap."""
    with pytest.raises(ValueError, match="same items"):
        outcomes.agreement(outcome(outcomes, (-3.0, -4.0)), outcome(outcomes, (-3.0, -4.0), (-1.0, -2.0)))


@pytest.mark.slow
def test_a_small_run_fills_the_table(tmp_path: Path) -> None:
    """Every kind of workload has its row, and all numbers agree."""
    if not (DATA_ROOT / "datasets.yaml").is_file():
        pytest.skip(f"no rows in {DATA_ROOT}: set HARNESS_DATA_ROOT")
    table = tmp_path / "bench.md"
    options = [
        "engine",
        "--quick",
        "--threads",
        "1",
        "--model",
        "tiny",
        "--only",
        "truthfulqa,hh_rlhf",
        "--only",
        "reward",
        "--out",
        table,
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

    subprocess.run(
        [sys.executable, FOLDER / "bench.py", *map(str, options), "--data-root", DATA_ROOT],
        check=True,
        env=environment,
    )

    rows = [line.split("|")[1:-1] for line in table.read_text().splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in row] for row in rows]
    assert [row[0].split(",")[0] for row in body] == [
        "TruthfulQA mc1 + mc2", "hh-rlhf pairs", "reward accuracy", "everything again with a full cache"
    ]  # fmt: skip
    assert [row[1].split(",")[0] for row in body] == ["HFLM", "HFLM", "DPOTrainer.evaluate", "itself"]
    assert {row[header.index("numbers equal")] for row in body[:-1]} == {"yes"}
    for row in body:
        assert float(row[header.index("ratio")].rstrip("x")) > 0
