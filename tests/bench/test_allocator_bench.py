"""The benchmark of freed memory: two ways of one command."""

import importlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the benchmark."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("allocator")


def test_medians_and_the_ratio_of_each_turn_stand_in_a_table(allocator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept first; a turn that was slow both ways does not move the ratio."""
    costs = iter([(10.0, True), (15.0, False), (100.0, True), (150.0, False), (10.0, True), (20.0, False)])

    def train(options: Any, *, keeps: bool) -> Any:
        assert options == ("-o", "training.max_steps=30")
        seconds, expected = next(costs)
        assert keeps is expected
        return allocator.Cost(seconds, seconds / 2, 2_500_000, 3 * 2**30 if keeps else 2**30)

    monkeypatch.setattr(allocator, "train", train)
    result = CliRunner().invoke(allocator.allocator, [], standalone_mode=False)

    assert result.return_value is True
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines() if "|" in line]
    assert lines[2:] == [
        ["kept", "10.0", "5.0", "2.50 M", "3,072 MiB", "1.50x"],
        ["given back", "20.0", "10.0", "2.50 M", "1,024 MiB", "1.00x"],
    ]


@pytest.mark.slow
def test_both_ways_train_the_same_adapter(allocator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Byte by byte: where memory comes from changes no number."""
    options, weights = ("-o", "training.max_steps=1", "-o", "data.training.limit=24"), []
    for name in ("kept", "given back"):
        monkeypatch.setattr(allocator.tempfile, "TemporaryDirectory", lambda name=name: nullcontext(tmp_path / name))
        cost = allocator.train(options, keeps=name == "kept")
        assert 0 < cost.kernel_seconds < cost.cpu_seconds
        (file,) = (tmp_path / name).glob("fixtures/*/adapter_model.safetensors")
        weights.append(file.read_bytes())
    assert weights[0] == weights[1]
