"""What the check of the packed engine found is kept for other adapters on the same model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.models.base import LoadedModel
from harness.training import trainer
from harness.training.fixture import Workplace, build_or_reuse
from harness.training.packed_step.check import StepCheck
from harness.training.packed_step.kept_check import keep_check, read_check
from harness.training.recipe import EncodedRows, Recipe

CHECK = StepCheck(4, 2e-6, 1e-4, "q_proj", kernel="flex")


@pytest.mark.parametrize("check", [CHECK, StepCheck(4, None, 1e-4, problem="no mask of four dimensions")])
def test_what_is_written_is_read(check: StepCheck, tmp_path: Path) -> None:
    """With every figure."""
    keep_check(tmp_path / "check.json", check)

    assert read_check(tmp_path / "check.json") == check


def test_a_check_that_ran_out_of_memory_is_not_kept(tmp_path: Path) -> None:
    """It would come out otherwise where more is free."""
    keep_check(tmp_path / "check.json", replace(CHECK, difference=None, is_lasting=False))

    assert read_check(tmp_path / "check.json") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"check": 1}', b"\xff", b"[" * 5000, b'{"check": {"n_requests": 4}}'],
)
def test_a_damaged_file_is_as_none(content: bytes, tmp_path: Path) -> None:
    """The check is made again."""
    (tmp_path / "check.json").write_bytes(content)

    assert read_check(tmp_path / "check.json") is None
    assert read_check(tmp_path / "missing.json") is None
    assert read_check(None) is None


def test_values_of_another_type_are_as_none(tmp_path: Path) -> None:
    """Such as a kernel that there is not."""
    keep_check(tmp_path / "check.json", CHECK)
    kept = json.loads((tmp_path / "check.json").read_text())
    for name, odd in (("kernel", "tree"), ("difference", "small"), ("is_lasting", 1), ("tolerance", None)):
        (tmp_path / "odd.json").write_text(json.dumps({"check": kept["check"] | {name: odd}}))

        assert read_check(tmp_path / "odd.json") is None


def test_adapters_of_one_shape_on_one_base_are_checked_once(
    llama_folder: Path, load: Callable[..., LoadedModel], encode: Callable[[LoadedModel], EncodedRows], recipe: Recipe,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Other learning rates and seeds take over what was found, and its figures; another rank is checked anew."""
    check, n_checks = trainer.check_packed_step, []

    def counted(*arguments: object) -> StepCheck:
        n_checks.append(1)
        return check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "check_packed_step", counted)
    few = replace(recipe, training=replace(recipe.training, max_steps=1))
    figures = []
    for each in (
        few,
        replace(few, seed=7),
        replace(few, training=replace(few.training, learning_rate=1e-4)),
        replace(few, lora=replace(few.lora, rank=2)),
    ):
        loaded = load(llama_folder)
        built = build_or_reuse(loaded, encode(loaded), each, Workplace(tmp_path, str))
        figures.append(built.log[-1]["packed_step_check"])

    assert len(n_checks) == 2
    assert len(set(figures[:3])) == 1
