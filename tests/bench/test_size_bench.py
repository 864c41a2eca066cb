"""The benchmark of many rows: rows as long as hh-rlhf's, and bounds that end it."""

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.config.schema import DatasetConfig
from harness.data.load import load_pairs

FOLDER = Path(__file__).parent
GIB = 2**30


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the benchmark."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("size")


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Two small files in place of hh-rlhf's."""
    for part, n_words in (("helpful-base", 30), ("harmless-base", 10)):
        asked = "\n\nHuman: " + "why " * n_words
        rows = [
            {
                "chosen": f"{asked}\n\nAssistant: {'so ' * n_words}\n\nHuman: and {n}?\n\nAssistant: yes indeed {n}",
                "rejected": f"{asked}\n\nAssistant: {'so ' * n_words}\n\nHuman: and {n}?\n\nAssistant: no",
            }
            for n in range(50)
        ]
        file = tmp_path / "data" / "Anthropic" / "hh-rlhf" / part / "test.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def run(size: Any, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the block with commands that took what is said."""
    bench = importlib.import_module("bench")

    def run_with(*costs: tuple[int, float, int]) -> Result:
        left = iter(costs)

        def took(file: Path, options: Sequence[str], _workspace: Path) -> Any:
            assert file.is_file()
            assert options in (["--dry-run"], ["-o", "training.max_steps=3"])
            n_bytes, seconds, exit_code = next(left)
            return size.Cost(n_bytes, seconds, 2 * seconds, exit_code)

        monkeypatch.setattr(size, "run_command", took)
        return CliRunner().invoke(bench.bench, ["size", "--pairs", "1000", "--data-root", str(data_root)])

    return run_with


def test_peak_and_time_of_both_commands_stand_in_a_table(run: Callable[..., Result]) -> None:
    """The bound is the head of the last column."""
    result = run((3 * GIB, 500, 0), (4 * GIB, 600, 0))

    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][-1] == "4 GiB and 10 minutes"
    assert cells[2:] == [
        ["harness train --dry-run", "3.00 GiB", "500 s", "1000 s", "within"],
        ["harness train, 3 steps", "4.00 GiB", "600 s", "1200 s", "within"],
    ]


@pytest.mark.parametrize("cost", [(4 * GIB + 1, 500, 0), (3 * GIB, 601, 0), (3 * GIB, 500, 2)])
def test_a_bound_that_is_exceeded_ends_it(run: Callable[..., Result], cost: tuple[int, float, int]) -> None:
    """With exit code 1, as does a command that fails."""
    result = run((3 * GIB, 500, 0), cost)

    assert result.exit_code == 1
    assert result.stdout.count("NOT within") == 1


def test_made_up_pairs_are_as_long_as_real_ones(size: Any, data_root: Path, tmp_path: Path) -> None:
    """As many words a turn, the same speakers, one prompt for both sides; the same file for the same seed."""
    files = [tmp_path / name for name in ("one.jsonl", "two.jsonl", "other.jsonl")]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        size.write_pairs(file, data_root, 400, seed)

    pairs = load_pairs(DatasetConfig(str(files[0])), data_root=None).rows
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    assert len(pairs) > 300
    assert {tuple(turn.speaker for turn in pair.prompt) for pair in pairs} == {("user", "assistant", "user")}
    assert {len(pair.prompt[0].text.split()) for pair in pairs} == {10, 30}
    assert {(len(pair.chosen.split()), len(pair.rejected.split())) for pair in pairs} == {(3, 1)}
    assert mean(len(pair.prompt[1].text.split()) for pair in pairs) == pytest.approx(20, rel=0.2)
