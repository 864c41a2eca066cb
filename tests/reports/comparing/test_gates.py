"""Gates: three results from the intervals, bounds at other levels, and how often a check errs."""

import importlib.resources
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.comparing.compare import Comparison, compare
from reports.comparing.gates import ERROR_RATE, GateError, allowed_loss, check_gates, is_stopped, stretched
from reports.comparing.inference import Inference
from reports.comparing.statistics import (
    Interval,
    agreement_interval,
    cluster_t_interval,
    is_equivalent,
    linearised_ratio,
)
from reports.records import ExampleScore, Gate, Metric, MetricScores, Run, Subject

ACCURACY = Metric("truthfulness", "accuracy", "share", higher_is_better=True, display="percent", primary=True)
PERPLEXITY = Metric("truthfulness", "perplexity", "nats per token", higher_is_better=False, display="exp", primary=True)
LENGTH = Metric("answers", "length", "tokens", higher_is_better=None)
N_GROUPS = 50


def row(
    difference: float, standard_error: float = 0.01, metric: Metric = ACCURACY, candidate: str = "dpo"
) -> Comparison:
    """A comparison with a baseline of 0.5, by cluster-t over fifty groups."""

    def interval(confidence: float) -> Interval:
        half = stats.t.ppf(0.5 + confidence / 2, N_GROUPS - 1) * standard_error
        return Interval(difference - half, difference + half, "cluster-t")

    return Comparison(
        metric=metric,
        candidate=candidate,
        against="baseline",
        baseline="base",
        baseline_value=0.5,
        candidate_value=0.5 + difference,
        difference=difference,
        n=N_GROUPS,
        n_groups=N_GROUPS,
        inference=Inference(interval=interval(0.95), bounds=interval(0.90)),
    )


def gate(metric: Metric, largest_loss: float, *, relative: bool = False) -> Gate:
    return Gate(f"{metric.evaluation}/{metric.name}", largest_loss, relative=relative)


@pytest.mark.parametrize("metric", [ACCURACY, PERPLEXITY])
@pytest.mark.parametrize(
    ("lost", "outcome"),
    [
        (-0.2, "pass"),
        (0.0, "pass"),
        (0.05 - 1.70 * 0.01, "pass"),  # t at one-sided 95 % is 1.677, at 97.5 % 2.010
        (0.05 - 1.65 * 0.01, "cannot tell"),
        (0.05, "cannot tell"),
        (0.05 + 1.98 * 0.01, "cannot tell"),
        (0.05 + 2.04 * 0.01, "fail"),
        (0.4, "fail"),
    ],
)
def test_a_loss_is_judged_by_its_bounds(metric: Metric, lost: float, outcome: str) -> None:
    """Passes within the one-sided 95 % bound, fails beyond the whole 95 % interval, and cannot tell in between."""
    difference = -lost if metric.higher_is_better else lost
    (result,) = check_gates([gate(metric, 0.05)], [row(difference, metric=metric)])

    assert outcome == result.outcome
    assert is_stopped([result]) == (outcome == "fail")
    assert is_stopped([result], strict=True) == (outcome != "pass")


@given(difference=st.floats(-1, 1), standard_error=st.floats(1e-3, 0.5), margin=st.floats(0, 1), wider=st.floats(0, 1))
def test_a_wider_margin_is_never_harder(difference: float, standard_error: float, margin: float, wider: float) -> None:
    """Allowing more never turns a pass into anything else, nor anything else into a fail."""
    order = ["fail", "cannot tell", "pass"]
    rows = [row(difference, standard_error)]
    (narrow,), (wide,) = (check_gates([gate(ACCURACY, allowed)], rows) for allowed in (margin, margin + wider))

    assert order.index(wide.outcome) >= order.index(narrow.outcome)


@given(difference=st.floats(-1, 1), standard_error=st.floats(1e-3, 0.5), margin=st.floats(1e-3, 1))
def test_without_a_better_direction_a_pass_is_an_equivalence_test(
    difference: float, standard_error: float, margin: float
) -> None:
    """Any change is a loss then: a pass is two one-sided tests, and a fail lies wholly outside of the margins."""
    compared = row(difference, standard_error, LENGTH)
    (result,) = check_gates([gate(LENGTH, margin)], [compared])

    assert compared.inference.bounds is not None
    assert compared.interval is not None
    assert is_equivalent(compared.inference.bounds, margin) == (result.outcome == "pass")
    outside = compared.interval.low > margin or compared.interval.high < -margin
    assert outside == (result.outcome == "fail")


def test_a_relative_loss_is_what_the_tables_show() -> None:
    """5 % lets a perplexity rise by 5 %, and takes 5 % of a share away."""
    perplexity, accuracy = check_gates(
        [gate(PERPLEXITY, 0.05, relative=True), gate(ACCURACY, 0.05, relative=True)],
        [row(0.0, metric=PERPLEXITY), row(0.0)],
    )

    assert perplexity.limit is not None
    assert math.exp(perplexity.limit) == pytest.approx(1.05)
    assert accuracy.limit == pytest.approx(-0.05 * 0.5)


def test_a_relative_loss_of_an_exponential_that_should_rise() -> None:
    """Half of it may go where that is allowed; all of it where a loss of 100 % is."""
    likelihood = replace(PERPLEXITY, higher_is_better=True)
    half, everything = check_gates(
        [gate(likelihood, 0.5, relative=True), gate(likelihood, 1.0, relative=True)], [row(-3.0, metric=likelihood)]
    )

    assert half.limit is not None
    assert math.exp(half.limit) == pytest.approx(0.5)
    assert (half.outcome, everything.outcome) == ("fail", "pass")


@pytest.mark.parametrize("error_rate", [0.05, 0.01, 0.05 / 24])
def test_cluster_t_is_stretched_to_its_own_interval_at_another_level(error_rate: float) -> None:
    """Drawn out from 95 %, a cluster-t interval is the one that is computed at that level."""
    influences = linearised_ratio(np.random.default_rng(0).normal(size=N_GROUPS), np.ones(N_GROUPS))
    expected = cluster_t_interval(0.2, influences, confidence=1 - 2 * error_rate)
    found = stretched(replace(row(0.2), inference=Inference(cluster_t_interval(0.2, influences))), error_rate)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize("error_rate", [0.05, 0.01, 0.05 / 24])
def test_exact_bounds_are_stretched_to_their_own_at_another_level(error_rate: float) -> None:
    """Drawn out from 95 %, exact bounds are the ones that are computed at that level."""
    make = partial(agreement_interval, -0.5, N_GROUPS, lowest=-0.5, highest=0.5)
    expected = make(confidence=1 - 2 * error_rate)
    found = stretched(replace(row(-0.5), inference=Inference(make())), error_rate)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_more_results_take_more_to_fail_and_no_more_to_pass() -> None:
    """A loss that fails a single gate cannot be told among twelve, and a pass stays one."""
    beyond, within = row(-0.05 - 2.3 * 0.01), row(-0.05 + 1.8 * 0.01, candidate="other")
    others = [row(0.0, candidate=f"candidate {position}") for position in range(10)]
    (alone,) = check_gates([gate(ACCURACY, 0.05)], [beyond])
    among = check_gates([gate(ACCURACY, 0.05)], [beyond, within, *others])

    assert alone.outcome == "fail"
    assert [result.outcome for result in among[:2]] == ["cannot tell", "pass"]


def test_only_the_baseline_is_looked_at() -> None:
    """What a ruler or another candidate has is no loss."""
    against_ruler = replace(row(-0.4), against="ruler", baseline="longest")
    (result,) = check_gates([gate(ACCURACY, 0.05)], [against_ruler, row(0.0)])

    assert result.outcome == "pass"


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    """A gate that would silently judge nothing is an error that names what was measured."""
    with pytest.raises(
        GateError, match=r"did you mean truthfulness/accuracy\?.*measured metrics are: truthfulness/accuracy"
    ):
        check_gates([Gate("truthfulness/acuracy", 0.1)], [row(0.0)])


def test_the_same_model_twice_passes(fakes: SimpleNamespace) -> None:
    """Equal scores are no loss, even where nothing may be lost: continuous ones as such, outcomes by exact bounds."""
    won = fakes.scores([1, 0, 1, 1] * 20)
    nats = fakes.scores(np.random.default_rng(0).gamma(2, 20, 80), np.full(80, 20))
    measured = {
        (metric, name): scores
        for metric, scores in ((ACCURACY, won), (PERPLEXITY, nats))
        for name in ("base", "candidate")
    }
    results = check_gates([gate(PERPLEXITY, 0.0), gate(ACCURACY, 0.05)], compare(fakes.small_run(measured)))

    assert [result.outcome for result in results] == ["pass", "pass"]
    assert results[0].reason == "identical scores"
    assert results[1].worst == pytest.approx(-(1 - ERROR_RATE ** (1 / 80)))


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (lambda fakes: fakes.scores([2.0, 3, 4, 5, 6]), "5 groups; an interval needs 10"),
        (lambda fakes: fakes.scores([2.0, 3, 4, 5, math.nan]), "1 of 5 scores are not finite"),
    ],
)
def test_without_an_interval_nothing_can_be_told(
    fakes: SimpleNamespace, scores: Callable[..., tuple[ExampleScore, ...]], reason: str
) -> None:
    """Few groups and missing numbers neither pass nor fail, and say why."""
    measured = {(PERPLEXITY, "base"): fakes.scores([1.0, 2, 3, 4, 5]), (PERPLEXITY, "candidate"): scores(fakes)}
    (result,) = check_gates([gate(PERPLEXITY, 5.0)], compare(fakes.small_run(measured)))

    assert result.outcome == "cannot tell"
    assert result.reason is not None
    assert result.reason.startswith(reason)


FOUR_GATES = (
    Gate("preferences/reward_accuracy", 0.1),
    *(Gate(f"{evaluation}/perplexity", 0.1, relative=True) for evaluation in ("truthfulness", "coreference", "safety")),
)
SHAPES = {"preferences": (63, 4), "coreference": (64, 2)}
"""Evaluation of the embedded default -> groups, examples a group; the others have about as many of one example."""


def shipped_gates() -> tuple[Gate, ...]:
    """The gates of the suite that ships with the project."""
    text = (importlib.resources.files("suites") / "definitions" / "alignment.yaml").read_text(encoding="utf-8")
    return tuple(Gate(**each) for each in yaml.safe_load(text).get("gates", ()))


def run_at_the_margin(fakes: SimpleNamespace, gates: Sequence[Gate], rng: np.random.Generator) -> Run:
    """A run whose candidate has truly lost just what is allowed on every metric, with clustered and skewed scores."""
    measurements = []
    for each in gates:
        evaluation, _, name = each.metric.rpartition("/")
        n_groups, a_group = SHAPES.get(evaluation, (60, 1))
        groups = np.repeat(np.arange(n_groups), a_group)
        if name == "perplexity":
            metric = replace(PERPLEXITY, evaluation=evaluation)
            tokens = rng.integers(4, 40, len(groups))
            swing = 0.2 * (rng.gamma(1.5, 1, n_groups) - 1.5)[groups] + 0.05 * rng.normal(size=len(groups))
            nats = tokens * rng.gamma(4, 0.5, len(groups))
            lost = nats + tokens * (allowed_loss(each, metric, 0.0) + swing)
            sides = {"base": fakes.scores(nats, tokens, groups), "candidate": fakes.scores(lost, tokens, groups)}
        else:
            metric = replace(ACCURACY, evaluation=evaluation, name=name, chance=0.5)
            mean = 0.5 - allowed_loss(each, metric, 0.5)
            chances = rng.beta(10 * mean, 10 * (1 - mean), n_groups)[groups]
            sides = {"candidate": fakes.scores(rng.random(len(groups)) < chances, groups=groups)}
        measurements += [MetricScores(metric, subject, scores) for subject, scores in sides.items()]
    subjects = (Subject("base", "baseline", ""), Subject("candidate", "candidate", ""))
    return replace(fakes.small_run({}), subjects=subjects, measurements=tuple(measurements))


@pytest.mark.slow
@pytest.mark.parametrize("gates", [FOUR_GATES, shipped_gates()], ids=["four", "shipped"])
def test_gates_together_raise_a_false_alarm_in_5_percent_at_most(fakes: SimpleNamespace, gates: Sequence[Gate]) -> None:
    """With a loss that is just allowed on every metric at once, the worst there is, a check stops in 5 % at most.

    A gate by itself passes then in about 5 %, which is its one-sided level; unadjusted, fails would add up to more.
    """
    if not gates:
        pytest.skip("the suite alignment has no gates")
    n_checks = 400
    rng = np.random.default_rng(11)
    alarms, unadjusted, passes = 0, 0, 0
    for _ in range(n_checks):
        comparisons = compare(run_at_the_margin(fakes, gates, rng))
        results = check_gates(gates, comparisons)
        alarms += is_stopped(results)
        unadjusted += any(is_stopped([check_gates([each.gate], [each.comparison])[0]]) for each in results)
        passes += sum(result.outcome == "pass" for result in results)

    assert alarms / n_checks < 0.05 + 2 * math.sqrt(0.05 * 0.95 / n_checks)
    assert alarms < unadjusted
    assert passes / n_checks / len(gates) == pytest.approx(0.05, abs=0.02)
