"""What the command line makes of an experiment before anything is loaded."""

from pathlib import Path

import pytest

from harness.measuring.preparation import Options, _resolve


def types_of(tmp_path: Path, *overrides: str, model: str | None = None, **options: Path | str) -> tuple[str, str]:
    """The types of weights and of 4-bit layers after everything the command line says."""
    _, config = _resolve(Options(suite="alignment", workspace=tmp_path, overrides=overrides, model=model, **options))
    return config.model.dtype, config.model.compute_dtype


def test_the_embedded_presets_compute_in_float32(tmp_path: Path) -> None:
    """On every machine, unless -o says otherwise."""
    assert types_of(tmp_path) == ("float32", "float32")
    assert types_of(tmp_path, "model.compute_dtype=auto") == ("float32", "auto")


@pytest.mark.parametrize("given", ["option", "override"])
def test_another_model_in_their_place_computes_in_what_is_fast(given: str, tmp_path: Path) -> None:
    """An 8B model measured with the default preset is not computed in float32 on a GPU; what -o names is kept."""
    model = {"model": "some/model"} if given == "option" else {}
    overrides = () if given == "option" else ("model.name=some/model",)
    assert types_of(tmp_path, *overrides, **model) == ("auto", "auto")
    assert types_of(tmp_path, *overrides, "model.dtype=float32", **model) == ("float32", "auto")
