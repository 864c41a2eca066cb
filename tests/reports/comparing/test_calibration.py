"""Margins from the spread over training seeds: closed forms, and what they promise by simulation."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from reports.comparing.against import compare_adapters
from reports.comparing.calibration import CalibrationError, propose_gates
from reports.comparing.gates import check_gates
from reports.records import Metric, MetricScores, Run, Subject

PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
ACCURACY = Metric("preferences", "accuracy", "wins", higher_is_better=True, display="percent", primary=True, chance=0.5)
LENGTH = Metric("answers", "length", "tokens", higher_is_better=None, primary=True)


def seeds_run(fakes: SimpleNamespace, shifts: list[float], metrics: tuple[Metric, ...] = (PERPLEXITY, ACCURACY)) -> Run:
    """Adapters of one recipe on forty examples, each shifted as a whole and a little for itself."""
    rng = np.random.default_rng(0)
    names = [f"adapter, seed {seed}" for seed in range(len(shifts))]
    measurements = []
    for metric in metrics:
        common = rng.normal(2, 0.5, 40)
        for name, shift in zip(names, shifts, strict=True):
            values = common + shift + 0.05 * rng.normal(size=40)
            measurements.append(MetricScores(metric, name, fakes.scores(values)))
    subjects = (Subject("base", "baseline", ""), *(Subject(name, "candidate", "", recipe="adapter") for name in names))
    return replace(fakes.small_run({}), subjects=subjects, measurements=tuple(measurements))


SHIFTS = [0.0, 0.1, -0.1, 0.05]


def test_a_margin_is_what_seeds_and_rows_take(fakes: SimpleNamespace) -> None:
    """The margin is t(N-1) x sqrt(2) x s and the widest one-sided arm among the pairs, rounded up to two digits."""
    run = seeds_run(fakes, SHIFTS)
    perplexity, accuracy = propose_gates(run)
    values = [sum(score.total for score in each.scores) / 40 for each in run.measurements if each.metric is PERPLEXITY]
    expected = stats.t.ppf(1 - 0.05 / 2, 3) * math.sqrt(2) * np.std(values, ddof=1)
    rows = compare_adapters(run, [f"adapter, seed {seed}" for seed in range(4)])
    arms = [
        float(row.paired.interval(0.9)[1]) - row.difference
        for row in rows
        if row.metric == PERPLEXITY and row.paired and row.difference is not None
    ]

    assert perplexity.between_seeds == pytest.approx(expected)
    assert perplexity.between_rows == pytest.approx(max(arms))
    assert perplexity.gate.relative
    assert math.log1p(perplexity.gate.largest_loss) >= perplexity.between_seeds + perplexity.between_rows
    assert perplexity.gate.largest_loss == pytest.approx(math.expm1(expected + max(arms)), rel=0.06)
    assert not accuracy.gate.relative
    assert len(arms) == 3


def test_any_change_counts_where_no_direction_is_better(fakes: SimpleNamespace) -> None:
    """The longer of both arms makes the margin."""
    run = seeds_run(fakes, SHIFTS, (LENGTH,))
    (proposal,) = propose_gates(run)
    rows = compare_adapters(run, [f"adapter, seed {seed}" for seed in range(4)])
    arms = [
        abs(float(end) - row.difference)
        for row in rows
        if row.paired and row.difference is not None
        for end in row.paired.interval(0.9)
    ]

    assert proposal.between_rows == pytest.approx(max(arms))


def test_seeds_that_agree_allow_nothing(fakes: SimpleNamespace) -> None:
    """Adapters without any spread give a margin of 0, which they pass."""
    run = seeds_run(fakes, [0.0], (PERPLEXITY,))
    (only,) = run.measurements
    names = ["a", "b", "c"]
    run = replace(
        run,
        subjects=tuple(Subject(name, "candidate", "", recipe="adapter") for name in names),
        measurements=tuple(replace(only, subject=name) for name in names),
    )
    (proposal,) = propose_gates(run)

    assert proposal.gate.largest_loss == 0
    assert all(result.outcome == "pass" for result in check_gates([proposal.gate], compare_adapters(run, names)))


@pytest.mark.slow
def test_another_seed_passes_proposed_gates_with_95_percent(fakes: SimpleNamespace) -> None:
    """Of recipes that did not change, calibrated on five seeds, two new adapters pass all gates about as often."""
    rng = np.random.default_rng(5)
    n_recipes, n_passed = 150, 0
    for _ in range(n_recipes):
        run = seeds_run(fakes, list(0.1 * rng.normal(size=7)))
        known = replace(run, subjects=run.subjects[:6], measurements=_of(run, run.subjects[:6]))
        gates = [proposal.gate for proposal in propose_gates(known)]
        results = check_gates(gates, compare_adapters(run, [run.subjects[6].name, run.subjects[7].name]))
        n_passed += all(result.outcome == "pass" for result in results)

    assert n_passed / n_recipes >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / n_recipes)


def _of(run: Run, subjects: tuple[Subject, ...]) -> tuple[MetricScores, ...]:
    names = {subject.name for subject in subjects}
    return tuple(each for each in run.measurements if each.subject in names)


def test_too_few_seeds_are_refused(fakes: SimpleNamespace) -> None:
    """Two adapters have no spread to speak of."""
    with pytest.raises(CalibrationError, match="2 training seeds; a spread needs at least 3"):
        propose_gates(seeds_run(fakes, [0.0, 0.1]))


def test_several_recipes_are_refused(fakes: SimpleNamespace) -> None:
    """A sweep has no one recipe whose seeds could be told apart."""
    with pytest.raises(CalibrationError, match="adapters of 2 recipes"):
        propose_gates(fakes.sweep_run())


def test_an_adapter_without_a_number_is_refused(fakes: SimpleNamespace) -> None:
    """A margin from fewer adapters than were trained would be another one."""
    run = seeds_run(fakes, SHIFTS, (PERPLEXITY,))
    lacking = replace(run.measurements[0], scores=(), missing="out of memory")

    with pytest.raises(CalibrationError, match="truthfulness/perplexity: not every adapter"):
        propose_gates(replace(run, measurements=(lacking, *run.measurements[1:])))


def test_a_metric_without_example_scores_gets_no_gate(fakes: SimpleNamespace) -> None:
    """What an outside library computes as a whole has no interval, so that no gate on it could ever pass."""
    run = seeds_run(fakes, SHIFTS, (PERPLEXITY,))
    whole = [MetricScores(LENGTH, subject.name, (), value=1.0) for subject in run.subjects]
    proposals = propose_gates(replace(run, measurements=(*run.measurements, *whole)))

    assert [proposal.gate.metric for proposal in proposals] == ["truthfulness/perplexity"]
