"""A base that is spread over two GPUs scores and trains as on one; where there are no two, this was never run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.config.schema import ModelConfig
from harness.models import base
from harness.models.base import LoadedModel, load_model
from harness.models.provenance import computed_on
from harness.training.recipe import EncodedRows, LogLine, Recipe, requests_of
from suites.engine.plan import ScoringState, plan_for
from suites.engine.scoring import ModelScorer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]


@pytest.fixture
def spread(wide_llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """A small base over two GPUs, as if neither held it."""
    n_bytes = (wide_llama_folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(base, "bytes_by_gpu", lambda *_: {0: int(0.7 * n_bytes), 1: n_bytes})
    return load_model(ModelConfig(name=str(wide_llama_folder), quantization="none", dtype="float32"))


def scores(loaded: LoadedModel, rows: EncodedRows) -> list[float]:
    scorer = ModelScorer(
        loaded.base, pad_token_id=loaded.pad_token_id, state=ScoringState(plan_for(loaded.base), pytest.fail)
    )
    return [each.log_probability for each in scorer.score(requests_of(rows.training))]


def test_a_spread_base_scores_and_trains_as_on_one_gpu(
    spread: LoadedModel,
    wide_llama_folder: Path,
    encode: Callable[[LoadedModel], EncodedRows],
    recipe: Recipe,
    train: Callable[..., tuple[LogLine, ...]],
) -> None:
    """By the path tree, with the map in its keys, and packs that pass their check."""
    one = load_model(ModelConfig(name=str(wide_llama_folder), quantization="none", dtype="float32", device="cuda"))
    assert (spread.gpus, one.gpus) == ((0, 1), ())
    assert computed_on(spread)["device_map"] != computed_on(one).get("device_map")
    rows = encode(one)
    assert scores(spread, rows) == pytest.approx(scores(one, rows), abs=1e-3)

    logs = [train(loaded, rows, recipe, name) for name, loaded in (("spread", spread), ("one", one))]
    losses = [[line["loss"] for line in log if line["kind"] == "train"] for log in logs]
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-4)
    assert losses[0][-1] < losses[0][0]
    assert "packed_step_check" in logs[0][-1]
