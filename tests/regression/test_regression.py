"""`nox -s regression`: adapter and default are what they were, and a planted fault is found."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scipy import stats

from harness.commands.gate_check import EXIT_STOPPED, CheckOptions, CheckResult, check
from reports.comparing.calibration import Spread
from reports.records import ExampleScore, Metric, MetricScores
from reports.run_folder import read_run


@pytest.fixture(scope="module")
def first(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the committed adapter, measured now."""
    folder = tmp_path_factory.mktemp("first") / "run"
    reference.measure(reference.ADAPTER, folder)
    return folder


def measured_against(first: Path, adapter: Path, reference: Any, folder: Path) -> CheckResult:
    """An adapter, measured now, against the committed one by the calibrated gates."""
    reference.measure(adapter, folder)
    return check(folder, CheckOptions(against=first, gates_file=reference.GATES, strict=True))


@pytest.mark.slow
def test_the_committed_adapter_scores_as_it_did(reference: Any, first: Path) -> None:
    """Every response of every evaluation has its committed log-probability to 1e-3 nats."""
    assert reference.changes(reference.read_scores(), reference.scores_of(read_run(first))) == []


@pytest.mark.slow
def test_the_same_adapter_twice_passes(reference: Any, first: Path, tmp_path: Path) -> None:
    """Measured again it passes every gate, strictly."""
    checked = measured_against(first, reference.ADAPTER, reference, tmp_path / "again")

    assert {result.outcome for result in checked.results} == {"pass"}
    assert checked.exit_code == 0


@pytest.mark.slow
def test_an_adapter_trained_on_swapped_pairs_fails(
    reference: Any, first: Path, swapped_adapter: Path, tmp_path: Path
) -> None:
    """A planted regression is stopped by the gate on reward accuracy."""
    checked = measured_against(first, swapped_adapter, reference, tmp_path / "swapped")

    assert checked.exit_code == EXIT_STOPPED
    assert "preferences/reward_accuracy" in {
        result.gate.metric for result in checked.results if result.outcome == "fail"
    }


@pytest.mark.slow
def test_the_embedded_default_trains_as_it_did(reference: Any, tmp_path: Path) -> None:
    """Trained anew, it lies within the calibrated spread over training seeds on every primary metric."""
    spreads, run = reference.read_spreads(), reference.train(tmp_path)

    assert reference.outside_prediction_interval(spreads, run, reference.NAME) == []


def test_an_adapter_of_the_same_recipe_lies_within_the_prediction_interval(reference: Any) -> None:
    """A value within t(N-1) x s x sqrt(1 + 1/N) of the mean agrees; one beyond it is named with its reach."""
    metric = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, primary=True)
    spreads = (Spread("truthfulness/perplexity", mean=2.0, standard_deviation=0.1, n_seeds=4),)
    reach = stats.t.ppf(0.975, 3) * 0.1 * math.sqrt(1 + 1 / 4)

    def outside(*values: float) -> list[str]:
        scores = tuple(ExampleScore(f"e{n}", "g", value, 1) for n, value in enumerate(values))
        run = SimpleNamespace(measurements=[MetricScores(metric, "adapter", scores)] if scores else [])
        return list(reference.outside_prediction_interval(spreads, run, "adapter"))

    assert outside(2.0 + 0.999 * reach) == []
    (line,) = outside(2.0 - 1.001 * reach)
    assert line.startswith("truthfulness/perplexity: ")
    assert len(outside(math.nan)) == 1
    assert outside() == [f"truthfulness/perplexity: None is not within 2 -/+ {reach:.3g}"]


def test_scores_that_moved_are_shown(reference: Any) -> None:
    """A score beyond the tolerance, one of other tokens, a lost and a new one are listed; rounding is not."""
    before = reference.read_scores()
    keys = sorted(before)
    after = dict(before)
    after[keys[0]] = before[keys[0]]._replace(total=before[keys[0]].total + 0.0009)
    assert reference.changes(before, after) == []

    after[keys[1]] = before[keys[1]]._replace(total=before[keys[1]].total + 0.002)
    after[keys[2]] = before[keys[2]]._replace(count=before[keys[2]].count + 1)
    del after[keys[3]]
    after["coreference", "perplexity", "adapter", "new"] = before[keys[0]]
    lines = [line.split(", such as")[0] for line in reference.changes(before, after)]
    assert lines == [
        "coreference perplexity adapter: 1 disappeared",
        "coreference perplexity adapter: 1 appeared",
        "coreference perplexity adapter: 2 moved",
    ]


def test_a_score_that_is_no_number_is_shown(reference: Any) -> None:
    """NaN agrees with nothing."""
    before = reference.read_scores()
    key = min(before)
    (line,) = reference.changes(before, before | {key: before[key]._replace(total=float("nan"))})

    assert "-> nan" in line


def test_what_is_committed_is_small(reference: Any) -> None:
    """The adapter and its scores take less than 2 MB."""
    files = [*reference.ADAPTER.iterdir(), reference.SCORES]

    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_scores_are_written_as_they_are_read(reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewing without a change leaves the file as it is."""
    before, text = reference.read_scores(), reference.SCORES.read_text()
    monkeypatch.setattr(reference, "SCORES", tmp_path / "scores.csv")
    reference.write_scores(before)

    assert reference.SCORES.read_text() == text
